"""Verify finds every fault of a release, names its place and never raises for damage."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pipeline_fixtures import image_bytes, job, release, verdict, write_dataset
from typer.testing import CliRunner

from anon_batch.cli.app import app
from anon_batch.errors import AnonBatchError, IntegrityError
from anon_batch.formats.gates_json import GateResult, Gates
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.part import read_meta, read_part
from anon_batch.formats.provenance import PROVENANCE_SCHEMA
from anon_batch.formats.release import Release
from anon_batch.pipeline.run import Run
from anon_batch.release.status import read_status
from anon_batch.release.verify import verify
from anon_batch.storage import Storage

IDS = [f"d/{n}.png" for n in range(8)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Make a release of each layout, and a second run of the same job."""
    base = tmp_path_factory.mktemp("verify")
    write_dataset(str(base), IDS, label=pa.array(range(8)))
    out = {
        layout: release(job(str(base), layout, write__layout=layout)) for layout in ("files", "webdataset", "parquet")
    }
    return {"base": base, **out, "again": release(job(str(base), "again"))}


@pytest.fixture
def copy(made: dict[str, Any], tmp_path: Path) -> Callable[[str], tuple[Path, Path]]:
    """Return a function that copies (output, ledger) of a layout, so that a test may damage them."""

    def copied(layout: str) -> tuple[Path, Path]:
        run: Run = made[layout]
        shutil.copytree(run.release.uri, tmp_path / "o")
        shutil.copytree(run.ledger.uri, tmp_path / "o-ledger")
        return tmp_path / "o", tmp_path / "o-ledger"

    return copied


def _faults(output: Path, *args: str) -> list[str]:
    """Return the faults that the command prints; check its exit code and the number of faults."""
    done = CliRunner().invoke(app, ["verify", str(output), "--json", *args])
    if isinstance(done.exception, AnonBatchError):
        assert done.exception.exit_code == 3
        return [str(done.exception)]
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    said = json.loads(done.stdout)
    assert done.exit_code == (3 if said["faults_count"] else 0)
    assert said["faults_count"] >= len(said["faults"])
    return list(said["faults"])


@pytest.mark.parametrize("layout", ["files", "webdataset", "parquet"])
@pytest.mark.parametrize("args", [[], ["--no-ledger"]])
def test_a_complete_release_has_no_faults(
    copy: Callable[[str], tuple[Path, Path]], layout: str, args: list[str]
) -> None:
    output, ledger = copy(layout)
    if args:
        shutil.rmtree(ledger)
    assert _faults(output, *args) == []


@pytest.mark.parametrize("layout", ["files", "webdataset", "parquet"])
def test_names_with_equal_hashes_are_no_faults_and_hide_none(
    copy: Callable[[str], tuple[Path, Path]], layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anon_batch.release.output_names._hash", lambda name: bytes(8))
    output, _ = copy(layout)
    assert _faults(output) == []
    (output / "images").mkdir(exist_ok=True)
    (output / "images/new.png").write_bytes(image_bytes())
    assert _faults(output) == ["images/new.png: no provenance row names it"]


def _flip(path: Path, at: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if at < 0 else at] ^= 0xFF
    path.write_bytes(bytes(data))


def _part(output: Path, number: int = 0) -> Path:
    return sorted((output / "provenance").iterdir())[number]


def _change_json(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def _change_part(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def _set(column: str, value: Any, row: int = 0) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        values = table.column(column).to_pylist()
        values[row] = value
        at = table.schema.get_field_index(column)
        return table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))

    return change


def _other_run(made: dict[str, Any], output: Path) -> None:
    shutil.copy(_part(Path(made["again"].release.uri)), _part(output))


FILES: list[tuple[str, Callable[[dict[str, Any], Path, Path], Any], str]] = [
    ("deleted image", lambda m, o, g: (o / "images/d/3.png").unlink(), "images/d/3.png: missing"),
    ("flipped byte", lambda m, o, g: _flip(o / "images/d/3.png"), "images/d/3.png: sha256"),
    (
        "another valid image",
        lambda m, o, g: (o / "images/d/3.png").write_bytes(image_bytes(99)),
        "images/d/3.png: sha256",
    ),
    (
        "swapped by a neighbour",
        lambda m, o, g: shutil.copy(o / "images/d/1.png", o / "images/d/3.png"),
        "d/3.png: sha256",
    ),
    ("empty image", lambda m, o, g: (o / "images/d/3.png").write_bytes(b""), "images/d/3.png: sha256"),
    (
        "folder for an image",
        lambda m, o, g: ((o / "images/d/3.png").unlink(), (o / "images/d/3.png").mkdir()),
        "d/3.png: cannot",
    ),
    (
        "orphaned image",
        lambda m, o, g: (o / "images/d/new.png").write_bytes(image_bytes()),
        "images/d/new.png: no provenance row",
    ),
    (
        "half-written file",
        lambda m, o, g: (o / "images/.partial-a").write_bytes(b"x"),
        "images/.partial-a: no provenance",
    ),
    (
        "orphaned shard file",
        lambda m, o, g: ((o / "shards").mkdir(), (o / "shards/x.tar").write_bytes(b"x")),
        "shards/x.tar: no prov",
    ),
    (
        "other file in provenance",
        lambda m, o, g: (o / "provenance/x.parquet").write_bytes(b"x"),
        "provenance/x.parquet: not the name",
    ),
    (
        "part of no row",
        lambda m, o, g: (o / "provenance/0000000000-0.parquet").write_bytes(b"x"),
        "0000000000-0.parquet: not the name",
    ),
    (
        "second name of a part",
        lambda m, o, g: shutil.copy(_part(o), o / "provenance/0000000000-04.parquet"),
        "-04.parquet: not the name",
    ),
    ("original beside images", lambda m, o, g: (o / "a.jpg").write_bytes(b"x"), "a.jpg: not a file of the release"),
    (
        "original in a folder",
        lambda m, o, g: ((o / "2024").mkdir(), (o / "2024/a.jpg").write_bytes(b"x")),
        "2024/a.jpg: not a file of the release",
    ),
    (
        "other file beside the report",
        lambda m, o, g: ((o / "report").mkdir(), (o / "report/a.jpg").write_bytes(b"x")),
        "report/a.jpg: not a file of the release",
    ),
    ("half-written run.json", lambda m, o, g: (o / ".partial-a").write_bytes(b"x"), ".partial-a: not a file"),
    ("missing part", lambda m, o, g: _part(o).unlink(), "rows 0 to 3: no provenance part"),
    (
        "truncated part",
        lambda m, o, g: _part(o).write_bytes(_part(o).read_bytes()[:-30]),
        _PART0 := "0000000000-4.parquet",
    ),
    ("empty part", lambda m, o, g: _part(o).write_bytes(b""), _PART0),
    ("flipped byte in a page", lambda m, o, g: _flip(_part(o), 60), _PART0),
    ("foreign Parquet file", lambda m, o, g: pq.write_table(pa.table({"a": [1]}), _part(o)), _PART0),
    (
        "duplicated range",
        lambda m, o, g: shutil.copy(_part(o), o / "provenance/0000000001-1.parquet"),
        "another part commits its rows too",
    ),
    (
        "renamed part",
        lambda m, o, g: _part(o, 1).rename(o / "provenance/0000000004-3.parquet"),
        "holds shard 0000000004-4",
    ),
    (
        "part beyond the end",
        lambda m, o, g: shutil.copy(_part(o), o / "provenance/0000000008-4.parquet"),
        "beyond the last row 7",
    ),
    ("part of another run", lambda m, o, g: _other_run(m, o), "0000000000-4.parquet: of run"),
    ("a row less", lambda m, o, g: _change_part(_part(o), lambda t: t.slice(1)), "3 rows, expected 4"),
    (
        "another id",
        lambda m, o, g: _change_part(_part(o), _set("image_id", "d/9.png")),
        "row 0: provenance says 'd/9.png'",
    ),
    ("unknown status", lambda m, o, g: _change_part(_part(o), _set("status", "fine")), "unknown status 'fine'"),
    ("no output", lambda m, o, g: _change_part(_part(o), _set("output", None)), "with output None"),
    (
        "regions forgotten",
        lambda m, o, g: _change_part(_part(o), _set("regions", [])),
        "status anonymized with 0 regions",
    ),
    ("regions null", lambda m, o, g: _change_part(_part(o), _set("regions", None)), "status anonymized with 0 regions"),
    ("reason of a good one", lambda m, o, g: _change_part(_part(o), _set("reason", "x")), "with reason 'x'"),
    ("other size in px", lambda m, o, g: _change_part(_part(o), _set("width", 5)), "provenance says 5x20"),
    (
        "one image named twice",
        lambda m, o, g: _change_part(_part(o), _set("output", "images/d/1.png")),
        "another row names too",
    ),
    ("output outside", lambda m, o, g: _change_part(_part(o), _set("output", "../m.parquet")), "../m.parquet"),
    ("a column less", lambda m, o, g: _change_part(_part(o), lambda t: t.drop_columns(["sha256"])), "column sha256"),
    ("a column's type", lambda m, o, g: _change_part(_part(o), lambda t: t.cast(_as_text(t.schema))), "column width"),
    ("missing statistics", lambda m, o, g: (o / "stats.json").unlink(), "stats.json: missing"),
    ("damaged statistics", lambda m, o, g: (o / "stats.json").write_bytes(b"{\xff"), "stats.json: damaged"),
    (
        "other statistics",
        lambda m, o, g: _change_json(o / "stats.json", detections=0),
        "sum of the parts in detections",
    ),
    ("statistics of a list", lambda m, o, g: (o / "stats.json").write_text("[]"), "stats.json: damaged"),
    ("statistics with more", lambda m, o, g: _change_json(o / "stats.json", new=0), "further keys"),
    ("other row count", lambda m, o, g: _change_json(o / "run.json", rows=9), "rows 8 to 8: no provenance part"),
    ("fewer rows", lambda m, o, g: _change_json(o / "run.json", rows=7), "7 rows, the plan has 8"),
    ("other statuses", lambda m, o, g: _change_json(o / "run.json", statuses={"clean": 8}), "run.json: statuses"),
    ("odd statuses", lambda m, o, g: _change_json(o / "run.json", statuses=5), "run.json: damaged"),
    ("other run id", lambda m, o, g: _change_json(o / "run.json", run_id="x"), "of run"),
    ("not finished", lambda m, o, g: _change_json(o / "run.json", state="running"), "state is 'running'"),
    ("no run.json fields", lambda m, o, g: (o / "run.json").write_text('{"rows": 8}'), "run.json"),
    (
        "ledger's rows changed",
        lambda m, o, g: _change_rows(g),
        "row 2: provenance says 'd/2.png', the manifest 'd/x.png'",
    ),
    ("ledger's rows damaged", lambda m, o, g: _rows(g).write_bytes(b"x"), "ledger: "),
    ("ledger's rows lost", lambda m, o, g: _rows(g).unlink(), "ledger: not found"),
    ("ledger's plan damaged", lambda m, o, g: (g / "plan.json").write_text("{}"), "plan.json"),
    ("another run's ledger", lambda m, o, g: shutil.copy(Path(m["again"].ledger.uri) / "plan.json", g), "ledger"),
]


def _as_text(schema: pa.Schema) -> pa.Schema:
    at = schema.get_field_index("width")
    return schema.set(at, schema.field(at).with_type(pa.string()))


def _rows(ledger: Path) -> Path:
    [path] = (ledger / "rows").rglob("*.parquet")
    return path


def _change_rows(ledger: Path) -> None:
    _change_part(_rows(ledger), _set("image_id", "d/x.png", 2))


@pytest.mark.parametrize(("damage", "said"), [(d, s) for _, d, s in FILES], ids=[name for name, _, _ in FILES])
def test_damaged_files_are_found(
    made: dict[str, Any], copy: Callable[[str], tuple[Path, Path]], damage: Callable[..., Any], said: str
) -> None:
    output, ledger = copy("files")
    damage(made, output, ledger)
    faults = _faults(output)
    assert any(said in fault for fault in faults), faults


def test_a_flipped_byte_in_a_part_is_found_or_has_no_effect(
    copy: Callable[[str], tuple[Path, Path]],
) -> None:
    output, ledger = copy("files")
    part = _part(output)
    whole = part.read_bytes()
    table, meta = read_part(whole, "", PROVENANCE_SCHEMA), read_meta(whole, "")
    found = 0
    for position in range(0, len(whole), 41):
        _flip(part, position)
        with contextlib.suppress(IntegrityError):  # it says so or does not see it, but never breaks
            read_status(Release(Storage(), str(output)))
        for result in verify(Release(Storage(), str(output)), Ledger(Storage(), str(ledger))):
            last = result
        if last.faults:
            found += 1
        else:
            damaged = part.read_bytes()
            assert read_part(damaged, "", PROVENANCE_SCHEMA).equals(table)
            assert read_meta(damaged, "") == meta
        part.write_bytes(whole)
    assert found > len(whole) / 41 / 2


def test_metadata_in_an_image_is_found_even_if_its_digest_is_right(copy: Callable[[str], tuple[Path, Path]]) -> None:
    import hashlib

    from PIL import Image, PngImagePlugin

    output, _ = copy("files")
    path = output / "images/d/0.png"
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "where it was taken")
    Image.open(path).save(path, pnginfo=text)
    _change_part(_part(output), _set("sha256", hashlib.sha256(path.read_bytes()).hexdigest()))
    [fault] = _faults(output)
    assert "images/d/0.png: carries" in fault
    path.write_bytes(image_bytes(5) + b"trailing")
    _change_part(_part(output), _set("sha256", hashlib.sha256(path.read_bytes()).hexdigest()))
    assert any("images/d/0.png: carries" in fault for fault in _faults(output))
    path.write_bytes(b"not an image")
    _change_part(_part(output), _set("sha256", hashlib.sha256(b"not an image").hexdigest()))
    assert any("images/d/0.png: does not decode" in fault for fault in _faults(output))


def _shard(output: Path) -> Path:
    return sorted((output / "shards").iterdir())[0]


def _rewrite_tar(path: Path, change: Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]]) -> None:
    with tarfile.open(path) as tar:
        members = [(info.name, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]
    with tarfile.open(path, "w") as tar:
        for name, data in change(members):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def _link(path: Path) -> None:
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo("0000000000.lnk")
        info.type, info.linkname = tarfile.SYMTYPE, "nowhere"
        tar.addfile(info)


def _append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"original image")


SHARD_DAMAGE: list[tuple[str, str, Callable[[Path], Any], str]] = [
    ("tar missing", "webdataset", lambda s: s.unlink(), ".tar: missing"),
    ("tar empty", "webdataset", lambda s: s.write_bytes(b""), ".tar: damaged"),
    ("tar truncated", "webdataset", lambda s: s.write_bytes(s.read_bytes()[:700]), ".tar:"),
    ("byte of an image", "webdataset", lambda s: _flip(s, 600), "d/0.png: sha256"),
    ("byte of a header", "webdataset", lambda s: _flip(s, 3), ".tar:"),
    ("byte of a JSON", "webdataset", lambda s: _flip(s, s.read_bytes().index(b"image_id")), ".tar: sha256"),
    ("member dropped", "webdataset", lambda s: _rewrite_tar(s, lambda m: m[2:]), "d/0.png: missing"),
    ("member added", "webdataset", lambda s: _rewrite_tar(s, lambda m: [*m, ("z.png", b"x")]), "member z.png is in no"),
    (
        "member twice",
        "webdataset",
        lambda s: _rewrite_tar(s, lambda m: [("d/0.png", b"face"), *m]),
        "occurs twice",
    ),
    ("link added", "webdataset", _link, "member 0000000000.lnk is in no"),
    ("bytes behind the end", "webdataset", _append, ".tar: sha256"),
    ("gzip", "webdataset", lambda s: s.write_bytes(b"\x1f\x8b\x08\0" + bytes(20)), ".tar: damaged"),
    (
        "orphaned tar",
        "webdataset",
        lambda s: shutil.copy(s, s.with_name("orphan.tar")),
        "orphan.tar: no provenance row",
    ),
    ("renamed tar", "webdataset", lambda s: s.rename(s.with_name("other.tar")), "other.tar: no provenance row"),
    ("parquet missing", "parquet", lambda s: s.unlink(), ".parquet: missing"),
    ("parquet empty", "parquet", lambda s: s.write_bytes(b""), ".parquet: damaged"),
    ("parquet byte", "parquet", lambda s: _flip(s, 200), ".parquet:"),
    (
        "parquet without image",
        "parquet",
        lambda s: pq.write_table(pq.read_table(s).drop_columns(["image"]), s),
        "damaged",
    ),
    ("parquet null cell", "parquet", lambda s: _change_part(s, _set("image", None)), "damaged"),
    ("parquet image of text", "parquet", lambda s: pq.write_table(pa.table({"image": ["a"]}), s), "damaged"),
    ("parquet row twice", "parquet", lambda s: _change_part(s, lambda t: pa.concat_tables([t, t])), "occurs twice"),
    ("parquet other label", "parquet", lambda s: _change_part(s, _set("label", 77)), ".parquet: sha256"),
]


@pytest.mark.parametrize(
    ("layout", "damage", "said"), [(a, d, s) for _, a, d, s in SHARD_DAMAGE], ids=[name for name, *_ in SHARD_DAMAGE]
)
def test_damaged_shard_files_are_found(
    copy: Callable[[str], tuple[Path, Path]], layout: str, damage: Callable[[Path], Any], said: str
) -> None:
    output, _ = copy(layout)
    damage(_shard(output))
    faults = _faults(output)
    assert any(said in fault for fault in faults), faults


def test_rows_that_name_the_file_of_another_attempt_are_found(copy: Callable[[str], tuple[Path, Path]]) -> None:
    output, _ = copy("webdataset")
    shutil.copy(_shard(output), output / "shards/loser.tar")
    _change_part(_part(output), _set("output", "shards/loser.tar"))
    assert any("shards/loser.tar: rows name it" in fault for fault in _faults(output))


def test_all_faults_are_counted_but_only_a_hundred_shown(tmp_path: Path) -> None:
    write_dataset(str(tmp_path), [f"{n}.png" for n in range(130)])
    run = release(job(str(tmp_path), engine__shard_rows=200))
    shutil.rmtree(Path(run.release.uri) / "images")
    result = verdict(run)
    assert (len(result.faults), result.faults_count) == (100, 130)
    done = CliRunner().invoke(app, ["verify", run.release.uri])
    assert done.exit_code == 3
    assert "VERIFICATION FAILED: 130 faults" in done.stdout
    assert "and 30 more" in done.stderr


def test_no_release_and_no_ledger_are_usage_errors(copy: Callable[[str], tuple[Path, Path]], tmp_path: Path) -> None:
    output, ledger = copy("files")
    shutil.rmtree(ledger)
    for args, said in (
        (["verify", str(output)], "--no-ledger"),
        (["verify", str(tmp_path), "--no-ledger"], "no release"),
    ):
        done = CliRunner().invoke(app, args)
        assert isinstance(done.exception, AnonBatchError)
        assert done.exception.exit_code == 2
        assert said in str(done.exception)


def test_gates_must_exist_and_equal_those_of_the_statistics(copy: Callable[[str], tuple[Path, Path]]) -> None:
    output, ledger = copy("files")
    release = Release(Storage(), str(output))

    def faults() -> list[str]:
        for result in verify(release, Ledger(Storage(), str(ledger))):
            last = result
        return last.faults

    assert faults() == []
    gates = release.read_gates()
    assert gates is not None
    release.write_gates(Gates((gates.results[0], GateResult("failed", "at_most", 0.01, 0.001, True))))
    assert faults() == ["gates.json: differs from statistics and evidence in failed"]
    (output / "gates.json").write_text("{")
    assert "gates.json: damaged" in faults()[0]
    (output / "gates.json").unlink()
    assert faults() == ["gates.json: missing"]
