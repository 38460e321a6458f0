"""SHA256SUMS: `sha256sum -c` reads it, in every layout; `verify` compares it; what `release` writes is whole or named."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline_fixtures import DyingStorage, Killed, job, release, write_dataset
from typer.testing import CliRunner

from anon_batch.cli.app import app
from anon_batch.formats import layout as names
from anon_batch.formats.release import Release
from anon_batch.release import checksums
from anon_batch.release.checksums import checksum_line
from anon_batch.release.describe import describe_release
from anon_batch.release.report.finished import read_finished
from anon_batch.release.signature.signing_key import new_signing_key
from anon_batch.storage import Storage

IDS = ['a b/it\'s "x".png', "ä/日本.png", " lead.png", "-c.png", "*.png"]
LAYOUTS = ("files", "webdataset", "parquet")
_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=20)
NAMES = _TEXT.filter(lambda own: own not in (".", ".."))
needs_coreutils = pytest.mark.skipif(shutil.which("sha256sum") is None, reason="coreutils are not installed")


def run(*args: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(arg) for arg in args])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sums")
    write_dataset(str(folder), IDS)
    assert run("keys", "new", "--sign", folder / "sign")[0] == 0
    for layout in LAYOUTS:
        release(job(str(folder), layout, write__layout=layout))
        code, said = run("release", folder / layout, "--sign-key", folder / "sign")
        assert code == 0, said
    return folder


@pytest.fixture
def copy(base, tmp_path):
    shutil.copytree(base, tmp_path / "c")
    return tmp_path / "c"


def contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_by_hand(folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["sha256sum", "--strict", "-c", "SHA256SUMS"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@needs_coreutils
@pytest.mark.parametrize("layout", LAYOUTS)
def test_sha256sum_checks_every_file(copy, layout):
    folder = copy / layout
    done = check_by_hand(folder)
    assert (done.returncode, done.stderr) == (0, "")
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    listed = {line.rpartition(":")[0].strip("'") for line in done.stdout.splitlines()}
    assert len(listed) == len(files) - 2
    assert files - {"SHA256SUMS", "attestation.json"} >= {name for name in listed if "'" not in name}
    image = next(path for path in folder.rglob("*") if path.suffix in (".png", ".tar") or path.parent.name == "shards")
    image.write_bytes(image.read_bytes() + b"x")
    assert check_by_hand(folder).returncode == 1
    shutil.rmtree(folder)  # because all images of releases are scanned in the end


@needs_coreutils
@settings(max_examples=20, deadline=None)
@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=20).filter(
        lambda own: own not in "..."
    )
)
def test_any_name_of_a_file_is_read_back(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("names", numbered=True)
    (folder / name).write_bytes(b"")
    digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    (folder / "SHA256SUMS").write_bytes(checksum_line(f"./{name}", digest).encode())
    assert check_by_hand(folder).returncode == 0
    shutil.rmtree(folder)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_verify_names_a_line_that_is_wrong_stale_missing_or_too_much(copy, layout):
    folder = copy / layout
    assert run("verify", folder)[0] == 0
    (folder / "README.md").write_text("another card")
    code, said = run("verify", folder)
    assert code == 3
    assert (
        "README.md: not as SHA256SUMS says; if it was changed on purpose, `anon-batch release` writes it again" in said
    )
    sums = folder / "SHA256SUMS"
    lines = sums.read_text().splitlines(keepends=True)
    sums.write_text("".join(lines[1:]) + f"{'0' * 64}  nothing.png\n")
    code, said = run("verify", folder)
    assert code == 3
    assert "SHA256SUMS: no line for README.md" in said
    assert "SHA256SUMS: names 'nothing.png', which is no file of the release" in said
    sums.write_bytes(b"\xff\xfe no such file")
    assert run("verify", folder)[0] == 3
    assert run("release", folder, "--sign-key", copy / "sign")[0] == 0
    assert run("verify", folder)[1].endswith("verified\n")
    assert sums.read_text() == (copy.parent / "c" / layout / "SHA256SUMS").read_text()


@pytest.mark.parametrize("name", names.WRITTEN_AT_RELEASE)
def test_verify_names_a_file_that_release_did_not_come_to(copy, name):
    (copy / "files" / name).unlink()
    code, said = run("verify", copy / "files")
    assert code == 3
    assert f"{name}: missing, while" in said
    assert "`anon-batch release` did not get to its end" in said


def test_a_death_at_any_file_is_named_and_repaired(base, tmp_path):
    key = new_signing_key()
    shutil.copytree(base / "files", tmp_path / "whole")
    describe_release(read_finished(Release(Storage(), str(tmp_path / "whole"))), key)
    whole = {
        path.relative_to(tmp_path / "whole"): path.read_bytes()
        for path in (tmp_path / "whole").rglob("*")
        if path.is_file()
    }
    for dies_at in range(1, len(names.WRITTEN_AT_RELEASE) + 5):
        folder = tmp_path / f"o{dies_at}"
        shutil.copytree(base / "files", folder)
        for name in names.WRITTEN_AT_RELEASE:
            (folder / name).unlink()
        with pytest.raises(Killed):
            describe_release(read_finished(Release(DyingStorage(dies_at=dies_at), str(folder))), key)
        there = [name for name in names.WRITTEN_AT_RELEASE if (folder / name).exists()]
        assert there == list(names.WRITTEN_AT_RELEASE[: max(0, dies_at - 5)])
        code, said = run("verify", folder, "--no-ledger")
        assert code == (3 if there else 0)
        assert not there or "did not get to its end" in said
        describe_release(read_finished(Release(Storage(), str(folder))), key)
        assert contents(folder) == whole


def test_a_release_of_too_many_images_lists_the_provenance_alone(copy, monkeypatch):
    monkeypatch.setattr(checksums, "MOST_IMAGES", len(IDS) - 1)
    assert run("release", copy / "files", "--sign-key", copy / "sign")[0] == 0
    listed = (copy / "files/SHA256SUMS").read_text()
    assert "images/ä" not in listed
    assert "provenance/" in listed
    assert run("verify", copy / "files")[0] == 0


def test_the_checksums_are_signed(copy):
    (copy / "files/SHA256SUMS").write_text("")
    said = run("verify", copy / "files", "--key", copy / "sign.pub")[1]
    assert "SHA256SUMS: changed since the release was signed" in said
