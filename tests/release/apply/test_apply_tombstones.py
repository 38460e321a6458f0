"""`apply-tombstones`: a copy becomes the new version byte for byte, in every layout, without images of the new version."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pipeline_fixtures import DyingStorage, Killed, image_bytes, job, release, write_dataset
from typer.testing import CliRunner

from anon_batch.cli.app import app
from anon_batch.errors import AnonBatchError
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.release import Release
from anon_batch.formats.stored_folder import StoredFolder
from anon_batch.pipeline.versions.begin import begin_version
from anon_batch.pipeline.versions.finish import finish_version, publish_version
from anon_batch.pipeline.versions.rewrite import NewRow, rewrite_part
from anon_batch.release.apply.by_digest import remove_by_digest
from anon_batch.release.apply.news import read_news
from anon_batch.release.apply.whole_copy import update_copy
from anon_batch.storage import Storage

IDS = [f"folder/photo-{index}.png" for index in range(9)]
LAYOUTS = ["files", "webdataset", "parquet"]


def run_command(*args: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(arg) for arg in args])
    if isinstance(done.exception, AnonBatchError):
        return int(done.exception.exit_code), str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def erase(folder: Path, *ids: str) -> None:
    named = [word for image_id in ids for word in ("--ids", image_id)]
    code, said = run_command("erase", folder / "out", *named, "--yes", "--sign-key", folder / "sign.pem")
    assert code == 0, said


ALL_IN_FULL = pytest.mark.parametrize(
    "made", [LAYOUTS[0], *(pytest.param(own, marks=pytest.mark.full) for own in LAYOUTS[1:])], indirect=True
)


@pytest.fixture(params=LAYOUTS)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with a signed release `out`, of version 1, and a copy of it."""
    write_dataset(str(tmp_path), IDS)
    release(job(str(tmp_path), write__layout=request.param))
    run_command("keys", "new", "--sign", tmp_path / "sign.pem")
    assert run_command("release", tmp_path / "out", "--sign-key", tmp_path / "sign.pem")[0] == 0
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    return tmp_path


def news(folder: Path) -> Path:
    """Return a copy of the new release without its images."""
    target = folder / "news"
    shutil.rmtree(target, ignore_errors=True)
    for name, data in files(folder / "out").items():
        if not name.startswith(("images/", "shards/")) or name.endswith("/metadata.parquet"):
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return target


def apply(folder: Path, *more: object) -> tuple[int, str]:
    return run_command("apply-tombstones", folder / "copy", "--from", folder / "news", *more)


def test_a_copy_becomes_the_new_version(made: Path) -> None:
    erase(made, IDS[1], IDS[6])
    news(made)
    before, key = files(made / "copy"), made / "sign.pem.pub"
    code, said = apply(made, "--key", key, "--dry-run")
    assert (code, "2 images to remove" in said, files(made / "copy") == before) == (0, True, True)
    code, said = apply(made, "--key", key)
    assert (code, "was version 1, is now version 2" in said, "2 images removed" in said) == (0, True, True), said
    assert files(made / "copy") == files(made / "out")
    assert run_command("verify", made / "copy", "--no-ledger", "--key", key)[0] == 0
    code, said = apply(made)
    assert (code, "is version 2" in said) == (0, True)
    assert files(made / "copy") == files(made / "out")


@ALL_IN_FULL
def test_a_copy_follows_a_chain(made: Path) -> None:
    erase(made, IDS[1])
    shutil.copytree(made / "out", made / "second")
    erase(made, IDS[0], IDS[2], IDS[3])
    erase(made, IDS[8])
    news(made)
    for name in ("copy", "second"):
        code, said = run_command("apply-tombstones", made / name, "--from", made / "news", "--json")
        assert (code, json.loads(said)["removed"]) == (0, 5 if name == "copy" else 4)
        assert files(made / name) == files(made / "out")


@ALL_IN_FULL
@pytest.mark.parametrize("after", [pytest.param(False, marks=pytest.mark.full), True])
def test_the_same_command_ends_what_a_killed_one_began(made: Path, after: bool) -> None:
    erase(made, IDS[1], IDS[6])
    erase(made, IDS[2])
    known = read_news(Storage(), str(news(made)), None)
    dies_at, changes = 0, 1
    while dies_at <= changes:
        place = made / f"copy-{dies_at}"
        shutil.copytree(made / "copy", place)
        dying = DyingStorage(None, dies_at or None, after=after)
        if dies_at:
            with pytest.raises(Killed):
                update_copy(Release(dying, str(place)), known, dry_run=False)
            update_copy(Release(Storage(), str(place)), known, dry_run=False)
        else:
            update_copy(Release(dying, str(place)), known, dry_run=False)
            changes = len(dying.changes)
        assert files(place) == files(made / "out")
        shutil.rmtree(place)
        dies_at += 3


def _patch(folder: Path, number: int) -> None:
    """Give a row another image in a new version, in the layout `files`."""
    place, private = Release(Storage(), str(folder / "out")), Ledger(Storage(), str(folder / "out-ledger"))
    new = begin_version(place, private, "patch", {"row": number})
    spec = next(own for own in place.parts() if own.start <= number < own.stop)
    part = place.read_part(spec)
    public = part.table.slice(number - spec.start, 1).to_pylist()[0]
    audit = private.read_audit(spec, part.meta.attempt).slice(number - spec.start, 1).to_pylist()[0]
    data = image_bytes(99)
    row = {**public, "sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    rewrite_part(new, spec, {number: NewRow(row, audit, public["image_id"], data)})
    publish_version(new, [spec], changes={"anonymized": 1})
    finish_version(place, private)


@pytest.mark.parametrize("made", ["files"], indirect=True)
def test_images_that_a_patch_changed_come_from_the_new_release(made: Path) -> None:
    _patch(made, 3)
    erase(made, IDS[1])
    news(made)
    code, said = apply(made)
    assert (code, "images/folder/photo-3.v2.png: not in" in said) == (3, True), said
    assert not (made / "copy/images/folder/photo-1.png").exists(), "what was erased is removed all the same"
    shutil.copy(made / "out/images/folder/photo-3.v2.png", made / "copy/images/folder")
    assert files(made / "copy") == files(made / "out")


@pytest.mark.parametrize("made", ["files"], indirect=True)
def test_images_that_a_patch_changed_are_copied_where_they_are_there(made: Path) -> None:
    _patch(made, 3)
    erase(made, IDS[1])
    code, said = run_command("apply-tombstones", made / "copy", "--from", made / "out")
    assert (code, "1 image that a patch changed" in said) == (0, True), said
    assert files(made / "copy") == files(made / "out")


@ALL_IN_FULL
def test_what_is_no_copy_is_refused(made: Path) -> None:
    code, said = run_command("apply-tombstones", made / "copy", "--from", made / "out")
    assert (code, "no later version is here (no versions/1.json)" in said) == (2, True)
    erase(made, IDS[1])
    news(made)
    before = files(made / "copy")
    part = next(path for path in (made / "copy/provenance").iterdir())
    data = part.read_bytes()
    part.write_bytes(data[:-20])
    code, said = apply(made)
    assert (code, "not a copy of an earlier version" in said) == (2, True)
    part.write_bytes(data)
    assert files(made / "copy") == before
    for target, text in (("news", "the same folder"), ("nothing", "nothing is there")):
        code, said = run_command("apply-tombstones", made / target, "--from", made / "news")
        assert (code, text in said) == (2, True)
    code, said = run_command("apply-tombstones", made / "copy", "--from", made / "out/versions/")
    assert code == 0, said


@ALL_IN_FULL
def test_a_forged_version_is_refused(made: Path) -> None:
    erase(made, IDS[1])
    target, key = news(made), made / "sign.pem.pub"
    before = files(made / "copy")
    path = target / "versions/2.json"
    own = json.loads(path.read_bytes())
    path.write_text(json.dumps({**own, "tombstones": []}, indent=1))
    code, said = apply(made, "--key", key)
    assert (code, "versions/2.json: changed since" in said) == (3, True), said
    code, said = run_command(
        "apply-tombstones", made / "copy", "--from", target / "versions", "--key", key, "--by-digest"
    )
    assert (code, "versions/2.json: changed since" in said) == (3, True), said
    shutil.copytree(target / "versions", made / "v/versions")
    shutil.copy(target / "attestation.json", made / "v")
    alone = ("apply-tombstones", made / "copy", "--from", made / "v/versions", "--key", key, "--by-digest", "--dry-run")
    code, said = run_command(*alone)
    assert (code, "versions/2.json: changed since" in said) == (3, True), said
    shutil.copy(made / "out/versions/2.json", made / "v/versions/2.json")
    assert run_command(*alone)[0] == 0
    (made / "v/attestation.json").unlink()
    assert run_command(*alone)[0] == 3
    path.write_text(json.dumps({**own, "parent_sha256": "0" * 64}, indent=1))
    assert apply(made)[0] == 3
    assert files(made / "copy") == before


def _only(folder: Path, target: Path, names: tuple[str, ...]) -> Path:
    for name, data in files(folder).items():
        if name.startswith(names):
            path = target / "elsewhere" / Path(name).name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    (target / "notes.txt").write_text("mine")
    return target


@pytest.mark.parametrize("made", ["files"], indirect=True)
def test_addresses_may_be_relative(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    erase(made, IDS[1])
    monkeypatch.chdir(made / "out")
    code, said = run_command("apply-tombstones", "../copy/", "--from", "versions")
    assert code == 0, said
    assert files(made / "copy") == files(made / "out")


def test_a_folder_with_images_alone_loses_erased_ones_by_digest(made: Path) -> None:
    plain = _only(made / "copy", made / "plain", ("images/folder", "shards/"))
    count = len(files(plain))
    erase(made, IDS[1])
    versions = made / "v/versions"
    shutil.copytree(made / "out/versions", versions)
    code, said = run_command("apply-tombstones", plain, "--from", versions)
    assert (code, "has no provenance" in said) == (2, True)
    before = files(plain)
    code, said = run_command("apply-tombstones", plain, "--from", versions, "--by-digest", "--dry-run")
    assert (code, "1 of 1 erased image found" in said, files(plain) == before) == (0, True, True), said
    code, said = run_command("apply-tombstones", plain, "--from", versions, "--by-digest", "--json")
    assert (code, json.loads(said)["removed"]) == (0, 1)
    after = files(plain)
    assert after["notes.txt"] == b"mine"
    assert len(after) == count - ("elsewhere/photo-0.png" in before)
    for name, data in after.items():
        if name.endswith(".tar"):
            assert b"photo-1" not in data
        if name.endswith(".parquet"):
            assert IDS[1] not in pq.read_table(io.BytesIO(data)).column("image_id").to_pylist()
    assert "elsewhere/photo-1.png" not in after
    code, said = run_command("apply-tombstones", plain, "--from", versions, "--by-digest")
    assert (code, "0 of 1 erased image found" in said, files(plain) == after) == (0, True, True)


def test_a_folder_of_images_is_whole_after_a_death(tmp_path: Path) -> None:
    write_dataset(str(tmp_path), IDS)
    release(job(str(tmp_path)))
    images = tmp_path / "out/images"
    table = pa.table({"file_name": IDS, "label": [f"label {own}" for own in IDS]})
    shutil.copytree(images, tmp_path / "plain")
    pq.write_table(table, tmp_path / "plain/metadata.parquet")
    assert run_command("erase", tmp_path / "out", "--ids", IDS[1], "--ids", IDS[2], "--yes")[0] == 0
    versions = Release(Storage(), str(tmp_path / "out")).versions
    for dies_at in (1, 2, 3):
        place = tmp_path / f"plain-{dies_at}"
        shutil.copytree(tmp_path / "plain", place)
        with pytest.raises(Killed):
            remove_by_digest(StoredFolder(DyingStorage(None, dies_at), str(place)), versions, dry_run=False)
        remove_by_digest(StoredFolder(Storage(), str(place)), versions, dry_run=False)
        names = pq.read_table(place / "metadata.parquet").column("file_name").to_pylist()
        assert names == [IDS[0], *IDS[3:]] == sorted(own for own in files(place) if own.endswith(".png"))


@ALL_IN_FULL
def test_a_whole_copy_is_cleaned_by_digest_too(made: Path) -> None:
    erase(made, IDS[1])
    code, _ = run_command("apply-tombstones", made / "copy", "--from", made / "out/versions", "--by-digest")
    assert code == 0
    for path in (made / "copy").rglob("*.parquet"):
        assert IDS[1] not in str(pq.read_table(path).to_pylist()), path
    broken: Any = made / "copy/broken.tar"
    broken.write_bytes(b"no tar at all" * 100)
    code, said = run_command("apply-tombstones", made / "copy", "--from", made / "out/versions", "--by-digest")
    assert (code, "broken.tar: cannot be read" in said) == (3, True)
