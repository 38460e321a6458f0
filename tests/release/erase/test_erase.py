"""`erase`: rows are gone from every object in every layout, whatever dies, and no later command brings them back."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from leaks import assert_public
from pipeline_fixtures import DyingStorage, Killed, job, release, verdict, write_dataset
from typer.testing import CliRunner

from anon_batch.cli.app import app
from anon_batch.errors import AnonBatchError, ConfigError, ResumeRefusedError
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.release import Release
from anon_batch.formats.verdicts_json import DrawnBox, Verdict, Verdicts
from anon_batch.pipeline.finalize import finalize
from anon_batch.pipeline.run import Run, open_run
from anon_batch.release.erase.erase import Eraser
from anon_batch.release.erase.request import EraseRequest, is_of
from anon_batch.shards import effective
from anon_batch.storage import Storage

IDS = [f"folder/photo-{index}.png" for index in range(9)]
GONE = (IDS[1], IDS[6])
CAPTIONS = [f"caption of number {index}" for index in range(9)]
LAYOUTS = ["files", "webdataset", "parquet"]


def run_command(*args: object, typed: str = "") -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(arg) for arg in args], input=typed)
    if isinstance(done.exception, AnonBatchError):
        return int(done.exception.exit_code), str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def _review(run: Run) -> None:
    verdicts = tuple(Verdict(image_id, "missed", (DrawnBox(1, 1, 5, 5),)) for image_id in IDS[:3])
    own = Verdicts(run.plan.run_id, "r", "0" * 64, "2026-01-01T00:00:00+00:00", "1", ("me",), verdicts)
    run.storage.put(run.ledger.address("review/verdicts-r.json"), own.to_json())


ALL_IN_FULL = pytest.mark.parametrize(
    "made", [LAYOUTS[0], *(pytest.param(own, marks=pytest.mark.full) for own in LAYOUTS[1:])], indirect=True
)


@pytest.fixture(params=LAYOUTS)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    columns = {"caption": pa.array(CAPTIONS), "slice_light": pa.array([f"light {index}" for index in range(9)])}
    write_dataset(str(tmp_path), IDS, columns)
    run = release(job(str(tmp_path), write__layout=request.param))
    _review(run)
    return run


def _key(tmp_path: Path) -> Path:
    run_command("keys", "new", "--sign", tmp_path / "sign.pem")
    return tmp_path / "sign.pem"


def rows_of(uri: str) -> list[dict[str, Any]]:
    place = Release(Storage(), uri)
    return [row for spec in effective(place.parts()) for row in place.read_part(spec).table.to_pylist()]


def secrets(tmp_path: Path) -> list[str]:
    """Return what nothing may hold any more: ids, addresses, digests and columns of the erased rows."""
    found = []
    for image_id in GONE:
        digest = hashlib.sha256((tmp_path / "src" / image_id).read_bytes()).hexdigest()
        found += [image_id, Path(image_id).stem, digest, CAPTIONS[IDS.index(image_id)]]
    return found


def assert_forgotten(tmp_path: Path, *, folders: tuple[str, ...] = ("out", "out-ledger")) -> None:
    for path in (path for folder in folders for path in (tmp_path / folder).rglob("*") if path.is_file()):
        name = str(path.relative_to(tmp_path))
        assert not [own for own in secrets(tmp_path) if own in name], name
        assert_public(path.read_bytes(), secrets(tmp_path))
        if path.suffix == ".parquet":
            assert not [own for own in secrets(tmp_path) if own in str(pq.read_table(path).to_pylist())], name


def test_erased_rows_are_in_no_object_and_all_others_stay(made: Run, tmp_path: Path) -> None:
    before = {row["image_id"]: row for row in rows_of(made.release.uri)}
    key = _key(tmp_path)
    assert run_command("release", made.release.uri, "--sign-key", key)[0] in (0, 10)
    code, said = run_command("erase", made.release.uri, "--ids", GONE[0], "--ids", GONE[1], "--yes", "--sign-key", key)
    assert code == 0, said
    assert all(str(tmp_path / "src" / image_id) in said for image_id in GONE), "the owner sees what is left to delete"
    assert_forgotten(tmp_path)
    after = rows_of(made.release.uri)
    assert [row["image_id"] for row in after] == [f"erased/{n}" if n in (1, 6) else IDS[n] for n in range(9)]
    for number, row in enumerate(after):
        if number in (1, 6):
            left = {name: value for name, value in row.items() if value not in (None, [])}
            assert left.keys() <= {"image_id", "status", "reason", "models", "run_id", "tool_version"}
            assert (row["status"], row["reason"]) == ("withheld", "erased")
        else:
            assert {**row, "output": 0} == {**before[IDS[number]], "output": 0}
    for with_ledger in (True, False):
        assert verdict(made, with_ledger=with_ledger).faults == []
    code, said = run_command("verify", made.release.uri, "--no-ledger", "--key", f"{key}.pub")
    assert (code, "verified" in said) == (0, True), said
    version = json.loads((tmp_path / "out/versions/2.json").read_bytes())
    assert [own["row"] for own in version["tombstones"]] == [1, 6]
    outputs = [before[image_id]["sha256"] for image_id in GONE]
    assert [own["digest"] for own in version["tombstones"]] == [
        hashlib.sha256(bytes.fromhex(own)).hexdigest() for own in outputs
    ]
    verdicts = Verdicts.from_json((tmp_path / "out-ledger/review/verdicts-r.json").read_bytes(), "")
    assert [own.image_id for own in verdicts.verdicts] == [IDS[0], IDS[2]]


@ALL_IN_FULL
def test_a_resumed_run_does_not_bring_a_row_back(made: Run, tmp_path: Path) -> None:
    """The manifest still names the row, and its original is there."""
    assert run_command("erase", made.release.uri, "--ids", GONE[0], "--ids", GONE[1], "--yes")[0] == 0
    files = {
        path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file() and path.name != "run.json"
    }
    resumed, was = open_run(made.config, ())
    assert was
    finalize(resumed)
    assert files == {
        path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file() and path.name != "run.json"
    }
    assert_forgotten(tmp_path)
    assert verdict(made).faults == []


@ALL_IN_FULL
def test_the_same_command_again_says_what_it_did(made: Run) -> None:
    command = ("erase", made.release.uri, "--ids", GONE[0], "--yes")
    assert "version 2 erased 1 row; 8 images left" in run_command(*command)[1]
    code, said = run_command(*command)
    assert (code, "version 2 erased these before" in said) == (0, True)
    assert len(Release(Storage(), made.release.uri).versions) == 2
    code, said = run_command("erase", made.release.uri, "--ids", IDS[2], "--ids", GONE[0], "--yes")
    assert (code, GONE[0] in said, "nothing was done" in said) == (2, True, True)
    code, said = run_command("erase", made.release.uri, "--ids", IDS[2], "--ids", GONE[0], "--yes", "--ignore-missing")
    assert (code, "version 3 erased 1 row; 7 images left" in said) == (0, True)
    assert verdict(made).faults == []


@ALL_IN_FULL
def test_a_leftover_of_an_erased_row_is_found(made: Run, tmp_path: Path) -> None:
    old = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert run_command("erase", made.release.uri, "--ids", GONE[0], "--yes")[0] == 0
    for path, data in old.items():
        if not path.exists() and path.parent.name != "versions":
            path.write_bytes(data)
            assert verdict(made, with_ledger=False).faults, path
            path.unlink()
    chunk = next((tmp_path / "out-ledger/rows").rglob("*.parquet"))
    table = pq.read_table(chunk)
    pq.write_table(table.set_column(0, table.field(0), pa.array(IDS)), chunk)
    assert any("row 1" in fault for fault in verdict(made).faults)


@ALL_IN_FULL
def test_verify_compares_tombstones_with_rows(made: Run, tmp_path: Path) -> None:
    assert run_command("erase", made.release.uri, "--ids", GONE[0], "--yes")[0] == 0
    [part] = (tmp_path / "out/provenance").glob("*.v2.parquet")
    whole = part.read_bytes()
    table = pq.read_table(part)
    for column, value, said in (
        ("caption", "left", "row 1: erased, but caption is left"),
        ("image_id", "erased/2", "row 1: erased, but its id is 'erased/2'"),
        ("reason", "check", "row 1: a version erased it, but it is there"),
    ):
        values = table.column(column).to_pylist()
        values[1] = value
        at = table.column_names.index(column)
        pq.write_table(table.set_column(at, table.field(column), pa.array(values, table.field(column).type)), part)
        assert said in verdict(made, with_ledger=False).faults
    part.write_bytes(whole)
    assert verdict(made).faults == []
    version = tmp_path / "out/versions/2.json"
    own = json.loads(version.read_bytes())
    version.write_text(json.dumps({**own, "tombstones": []}, indent=1))
    assert "row 1: erased, but no version says so" in verdict(made, with_ledger=False).faults


@pytest.fixture
def flat(tmp_path: Path) -> Run:
    """A release in files."""
    write_dataset(str(tmp_path), IDS, {"album": pa.array(["ann", "bo", "bo"] * 3), "year": pa.array(range(9))})
    return release(job(str(tmp_path)))


def erased(flat: Run, *selection: object) -> list[int]:
    code, said = run_command("erase", flat.release.uri, *selection, "--dry-run", "--json")
    assert code == 0, said
    return [own["row"] for own in json.loads(said)["rows"]]


def test_rows_are_found_by_source_and_by_column(flat: Run, tmp_path: Path) -> None:
    base = tmp_path / "src/folder"
    assert erased(flat, "--source", base / "photo-1.png") == [1]
    assert erased(flat, "--source", f"file://{base}/photo-1.png") == [1]
    assert run_command("erase", flat.release.uri, "--source", f"{base}/photo-*", "--dry-run")[0] == 2, (
        "nothing would be left"
    )
    assert erased(flat, "--source", f"{base}/photo-3*", "--source", base / "photo-1.png") == [1, 3]
    assert erased(flat, "--column", "album=ann") == [0, 3, 6]
    assert erased(flat, "--column", "year=4", "--ids", IDS[0]) == [0, 4]
    for selection in (("--source", base / "photo"), ("--column", "album=cy"), ("--ids", "folder/photo-1")):
        code, said = run_command("erase", flat.release.uri, *selection, "--yes")
        assert (code, "nothing was done" in said) == (2, True)
    listed = tmp_path / "list.txt"
    listed.write_text(f"{IDS[2]}\r\n\n{IDS[5]}\n", encoding="utf-8")
    assert erased(flat, "--ids-file", listed) == [2, 5]
    assert not (tmp_path / "out/versions").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "name what to erase"),
        (("--source", "*"), "names everything"),
        (("--source", "/"), "names everything"),
        (("--column", "album"), "NAME=VALUE"),
        (("--column", "nobody=1"), "no such column"),
        (("--ids-file", "/not/there"), "cannot be read"),
        (("--ids", IDS[1], "--json"), "--json asks nothing"),
        (("--ids", IDS[1], "--sign-key", "/not/there"), "cannot be read"),
        (("--column", "album=ann", "--column", "album=bo"), "no image would be left"),
        (("--ids", IDS[1], "--ledger", "/not/there"), "no ledger here"),
    ],
)
def test_what_cannot_be_erased_is_refused(flat: Run, tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    code, text = run_command("erase", flat.release.uri, *options)
    assert (code, said in text) == (2, True), text
    assert files == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_nothing_is_erased_without_a_yes(flat: Run, tmp_path: Path) -> None:
    for typed in ("n\n", ""):
        code, _ = run_command("erase", flat.release.uri, "--ids", IDS[1], typed=typed)
        assert code != 0
    code, said = run_command("erase", flat.release.uri, "--ids", IDS[1], "--dry-run")
    assert (code, IDS[1] in said) == (0, True)
    assert not (tmp_path / "out/versions").exists()
    assert run_command("erase", flat.release.uri, "--ids", IDS[1], typed="y\n")[0] == 0
    assert (tmp_path / "out/versions/2.json").exists()


def test_names_like_those_of_erased_rows(tmp_path: Path) -> None:
    """An image `erased/1.png` must outlive a resumed run after row 1 was erased; `erased/2` clashes with row 2."""
    ids = ["x.png", "y.png", "z.png", "erased/1.png", "erased/2"]
    write_dataset(str(tmp_path), ids)
    run = release(job(str(tmp_path)))
    place = run.release.uri
    code, said = run_command("erase", place, "--ids", "z.png", "--yes")
    assert (code, "another image has the id 'erased/2'" in said) == (2, True)
    assert run_command("erase", place, "--ids", "y.png", "--yes")[0] == 0
    finalize(open_run(run.config, ())[0])
    assert (tmp_path / "out/images/erased/1.png").exists()
    assert run_command("erase", place, "--ids", "z.png", "--ids", "erased/2", "--yes")[0] == 0
    assert verdict(run).faults == []
    code, said = run_command("erase", place, "--ids", "erased/1", "--yes")
    assert (code, "erased before" in said) == (2, True)


def test_gates_count_no_erased_row(flat: Run) -> None:
    assert run_command("erase", flat.release.uri, "--ids", IDS[1], "--yes")[0] == 0
    gates = Release(Storage(), flat.release.uri).read_gates()
    assert gates is not None
    withheld = next(own for own in gates.results if own.name == "withheld")
    assert (withheld.value, withheld.passed, withheld.note) == (0.0, True, "0 of 8 rows")


def test_rows_with_the_same_original_are_named(tmp_path: Path) -> None:
    uris = [str(tmp_path / "src" / image_id) for image_id in (*IDS[:8], IDS[1])]
    write_dataset(str(tmp_path), IDS, uri=pa.array(uris))
    place = release(job(str(tmp_path))).release.uri
    code, said = run_command("erase", place, "--ids", IDS[1], "--dry-run")
    assert (code, f"not erased, though made of the same originals: {IDS[8]}" in said) == (0, True)
    code, said = run_command("erase", place, "--source", uris[1], "--yes")
    assert (code, "same originals" in said, "erased 2 rows" in said) == (0, False, True)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_odd_names_are_erased_too(tmp_path: Path, layout: str) -> None:
    ids = ['a b/it\'s "x".png', "-o.png", "ärger/ü.png", "x/y.v2.png", "100%.png", "last.png"]
    write_dataset(str(tmp_path), ids)
    run = release(job(str(tmp_path), write__layout=layout))
    for image_id in ids[:-1]:
        code, said = run_command("erase", f"{run.release.uri}/", f"--ids={image_id}", "--yes")
        assert code == 0, said
    assert [row["reason"] for row in rows_of(run.release.uri)] == [*["erased"] * 5, None]
    assert verdict(run).faults == []
    assert run_command("erase", run.release.uri, "--ids", "last.png", "--yes")[0] == 2


def test_a_row_without_an_output_is_erased_too(tmp_path: Path) -> None:
    write_dataset(str(tmp_path), IDS)
    (tmp_path / "src" / IDS[1]).write_bytes(b"no image")
    run = release(job(str(tmp_path)))
    code, said = run_command("erase", run.release.uri, "--ids", IDS[1], "--yes")
    assert (code, "8 images left" in said) == (0, True)
    version = json.loads((tmp_path / "out/versions/2.json").read_bytes())
    assert version["tombstones"] == [{"row": 1, "digest": ""}]
    assert verdict(run).statuses == {"anonymized": 5, "clean": 3, "withheld": 1}
    assert verdict(run).faults == []


def test_without_a_ledger_nothing_can_be_erased(flat: Run) -> None:
    code, said = run_command("keys", "destroy", "ledger", flat.release.uri, "--by", "Jane Doe", "--yes")
    assert code == 0, said
    code, said = run_command("erase", flat.release.uri, "--ids", IDS[1], "--yes")
    assert (code, "its ledger was destroyed" in said) == (2, True)


def test_members_of_a_tar_are_found_by_its_address() -> None:
    tar, parquet = "s3://b/a/x.tar", "s3://b/a/x.parquet#column=image&row=3"
    assert is_of(tar, "s3://b/a/x.tar")
    assert is_of(parquet, "s3://b/a/x.parquet")
    assert is_of(parquet, parquet)
    assert not is_of("s3://b/a/x.parquet#column=image&row=31", parquet)
    assert is_of(tar, "s3://b/a/")
    assert is_of(tar, "s3://b/a/*")
    assert not is_of("s3://b/ab/x.tar", "s3://b/a")
    assert is_of("s3://b/ab/x.tar", "s3://b/a*")
    assert is_of("https://h/x.jpg?sig=1", "https://h/x.jpg")
    assert is_of("https://h/x.jpg?sig=1", "https://h/x.jpg?***"), "as it is shown"
    assert not is_of("s3://b/x?y.jpg", "s3://b/x")


def _erase(base: Path, storage: Storage, request: EraseRequest) -> None:
    eraser = Eraser(Release(storage, str(base / "out")), Ledger(storage, str(base / "out-ledger")))
    eraser.finish()
    found = eraser.find(request)
    if found.rows:
        eraser.check(found)
        eraser.erase(request, found)
    assert eraser.erased_by(request) is not None


def test_the_same_command_goes_on_after_a_death(tmp_path: Path) -> None:
    _die_and_go_on(tmp_path, "files", after=True, step=11)


@pytest.mark.full
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_command_goes_on_after_a_death_at_every_change(tmp_path: Path, layout: str, after: bool) -> None:
    _die_and_go_on(tmp_path, layout, after=after, step=1)


def _die_and_go_on(tmp_path: Path, layout: str, *, after: bool, step: int) -> None:
    columns = {"caption": pa.array(CAPTIONS)}
    dies_at, changes = 0, 1
    while dies_at <= changes:
        base = tmp_path / str(dies_at)
        write_dataset(str(base), IDS, columns)
        run = release(job(str(base), write__layout=layout))
        _review(run)
        for name in ("README.md", "SHA256SUMS", "report/index.html"):  # as if it had been signed
            run.release.put(name, GONE[0].encode())
        request = EraseRequest(ids=GONE)
        dying = DyingStorage(run.config.storage, dies_at or None, after=after)
        if dies_at:
            with pytest.raises(Killed):
                _erase(base, dying, request)
            _erase(base, Storage(run.config.storage), request)
        else:
            _erase(base, dying, request)
            changes = len(dying.changes)
            assert changes > 15
        assert_forgotten(base)
        assert [row["image_id"] for row in rows_of(str(base / "out"))].count("erased/1") == 1
        assert verdict(run).faults == [], dying.changes[-1]
        dies_at += step


def test_a_dry_run_ends_nothing(flat: Run, tmp_path: Path) -> None:
    def files() -> dict[Path, bytes]:
        return {
            path: path.read_bytes()
            for name in ("out", "out-ledger")
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }

    whole = DyingStorage(flat.config.storage)
    shutil.copytree(tmp_path, tmp_path.parent / f"{tmp_path.name}-whole")
    _erase(tmp_path.parent / f"{tmp_path.name}-whole", whole, EraseRequest(ids=(IDS[1],)))
    published = next(at for at, (_, uri) in enumerate(whole.changes, 1) if uri.endswith("out/versions/2.json"))
    for dies_at in (published - 1, published + 1):
        with pytest.raises(Killed):
            _erase(tmp_path, DyingStorage(flat.config.storage, dies_at), EraseRequest(ids=(IDS[1],)))
        before = files()
        assert run_command("erase", flat.release.uri, "--ids", IDS[1], "--dry-run")[0] == 0
        assert files() == before
    assert run_command("erase", flat.release.uri, "--ids", IDS[1], "--yes")[0] == 0
    assert verdict(flat).faults == []


def test_another_erasure_waits_for_the_one_that_was_interrupted(flat: Run, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        _erase(tmp_path, DyingStorage(flat.config.storage, 3), EraseRequest(ids=(IDS[1],)))
    with pytest.raises(ResumeRefusedError, match="another `anon-batch erase` has begun version 2"):
        _erase(tmp_path, Storage(), EraseRequest(ids=(IDS[2],)))
    _erase(tmp_path, Storage(), EraseRequest(ids=(IDS[1],)))
    _erase(tmp_path, Storage(), EraseRequest(ids=(IDS[2],)))


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    write_dataset(str(tmp_path), IDS)
    run, _ = open_run(job(str(tmp_path)), ())
    with pytest.raises(ConfigError, match="not finished"):
        Eraser(run.release, run.ledger)
