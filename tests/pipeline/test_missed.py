"""Missed faces in real runs: the same figures for any sharding, in every layout; slices stay private."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pipeline_fixtures import image_bytes, job, release, verdict, write_dataset

from anon_batch.errors import ConfigError, ManifestError
from anon_batch.manifest.regions_column import REGIONS_TYPE
from anon_batch.pipeline.gates import evaluate_gates
from anon_batch.pipeline.run import Run
from anon_batch.stats import ShardStats
from anon_batch.storage import Storage, join

FACE, PLATE = (2.0, 2.0, 20.0, 8.0), (4.0, 12.0, 21.0, 18.0)
ONLY_FACES = {"detect.detectors": [{"name": "manifest", "labels": ["face"]}]}


def _region(box: tuple[float, ...], label: str) -> dict[str, Any]:
    return {**dict(zip(("x1", "y1", "x2", "y2"), box, strict=True)), "label": label}


def _dataset(base: str, count: int = 7, **extra: pa.Array) -> str:
    """Images with a face each; every third has a plate too, which nobody looks for. The fifth is damaged."""
    address = write_dataset(base, [f"{n}.png" for n in range(count)], extra=extra)
    rows = [[_region(FACE, "face"), *([_region(PLATE, "plate")] if n % 3 == 0 else [])] for n in range(count)]
    table = pq.read_table(io.BytesIO(Storage().read(address))).drop_columns(["faces"])
    buffer = io.BytesIO()
    pq.write_table(table.append_column("regions", pa.array(rows, REGIONS_TYPE)), buffer)
    Storage().put(address, buffer.getvalue())
    if count > 4:
        Storage().put(join(base, "src/4.png"), image_bytes(4)[:60])
    return address


def _missed(run: Run) -> dict[str, Any]:
    missed: dict[str, Any] = run.release.read_stats().summary["missed"]
    return missed


def _light(count: int = 7) -> pa.Array:
    return pa.array([("night", "day", None)[n % 3] for n in range(count)])


def test_figures_are_the_same_for_any_sharding_and_layout(tmp_path: Path) -> None:
    _dataset(str(tmp_path), slice_light=_light(), slice_tone=pa.array([1, 2, 3, 4, 5, 6, 7]))
    found = []
    for number, (rows, layout) in enumerate(
        [(1, "files"), (3, "files"), (100, "files"), (3, "webdataset"), (3, "parquet")]
    ):
        keys = {"engine.shard_rows": rows, "write.layout": layout, "gates.missed": 1.0, "gates.failed": 1.0}
        run = release(job(str(tmp_path), f"out{number}", **keys, **ONLY_FACES))
        assert not verdict(run).faults
        found.append(_missed(run))
    assert all(own == found[0] for own in found)
    missed = found[0]
    assert (missed["images"], missed["unpublished_images"], missed["unpublished_faces"]) == (6, 1, 1)
    overall = missed["groups"]["all"]["from_16_px"]
    assert (overall["uncovered"], overall["faces"], overall["images"]) == (0, 6, 6)
    assert overall["low"] == 0 < overall["high"]
    labels = {name: (own["uncovered"], own["faces"]) for name, own in missed["groups"]["label"].items()}
    assert labels == {"face": (0, 6), "plate": (3, 3)}
    light = {name: (own["uncovered"], own["faces"]) for name, own in missed["groups"]["slice_light"].items()}
    assert light == {"day": (0, 1), "night": (0, 3), "unknown": (0, 2)}
    assert list(missed["groups"]["slice_tone"]) == ["1", "2", "3", "4", "6", "7"]


def test_slices_and_faces_by_shard_are_in_no_public_file(tmp_path: Path) -> None:
    _dataset(str(tmp_path), slice_light=pa.array(["privateword"] * 7), caption=pa.array(["a cat"] * 7))
    for layout in ("files", "webdataset", "parquet"):
        run = release(job(str(tmp_path), layout, **{"write.layout": layout}))
        for spec in run.release.parts():
            table = run.release.read_part(spec).table
            assert "slice_light" not in table.column_names
            assert table.column("caption").to_pylist()[0] == "a cat"
        files = [path for path in (tmp_path / layout).rglob("*") if path.is_file()]
        holders = {
            path.relative_to(tmp_path / layout).parts[0] for path in files if b"privateword" in path.read_bytes()
        }
        assert holders == {"stats.json"}  # counts of the whole; a shard may be a single image
        for _, meta in run.release.read_metas(run.release.parts()):
            part = ShardStats.from_json(meta.stats)
            assert part.has_ground_truth
            assert part == part.public()
            assert (part.missed.groups, part.missed.slices, part.detection.labels) == ({}, {}, {})
        columns = json.loads((tmp_path / layout / "run.json").read_text())["columns"]
        assert columns["withheld"]["slice_light"] == "slice, only counted"
        assert "slice_light" not in columns["published"]


@pytest.mark.parametrize("rows", [1, 3])
def test_what_labels_tell_is_checked_with_the_ledger_and_believed_without(tmp_path: Path, rows: int) -> None:
    _dataset(str(tmp_path), slice_light=_light())
    run = release(job(str(tmp_path), **{"engine.shard_rows": rows}))
    assert not verdict(run).faults
    assert not verdict(run, with_ledger=False).faults
    stats = json.loads((tmp_path / "out/stats.json").read_text())
    stats["missed"]["groups"]["slice_light"]["night"]["uncovered"] += 1
    (tmp_path / "out/stats.json").write_text(json.dumps(stats))
    assert any("differs from the sum of the parts in missed" in fault for fault in verdict(run).faults)
    assert not verdict(run, with_ledger=False).faults
    stats["missed"]["images"] += 1
    (tmp_path / "out/stats.json").write_text(json.dumps(stats))
    assert any("differs from the sum" in fault for fault in verdict(run, with_ledger=False).faults)
    [first, *_] = sorted((tmp_path / "out-ledger/audit").iterdir())
    first.unlink()
    assert any("audit" in fault and "missing" in fault for fault in verdict(run).faults)


def test_the_gate_reads_the_upper_end_and_fails_closed(tmp_path: Path) -> None:
    _dataset(str(tmp_path))
    run = release(job(str(tmp_path), **{"gates.missed": 0.34}, **ONLY_FACES))
    [gate] = [own for own in evaluate_gates(run.release.read_stats(), run.config.gates).results if own.name == "missed"]
    assert not gate.passed  # the faces alone would
    assert gate.value == _missed(run)["groups"]["label"]["plate"]["high"]
    assert gate.note == "upper bound; 3 of 3 labelled regions “plate” from 16 px are uncovered"


def test_without_ground_truth_there_is_no_figure(tmp_path: Path) -> None:
    address = write_dataset(str(tmp_path), ["a.png", "b.png"])
    table = pq.read_table(io.BytesIO(Storage().read(address))).drop_columns(["faces"])
    pq.write_table(table, address)
    run = release(job(str(tmp_path), detect__detectors=["centerface"], gates__missed=1.0))
    assert run.release.read_stats().summary["missed"] is None
    assert not verdict(run).faults


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("slice_who", pa.array([f"p{n}" for n in range(40)]), "more than 32 values"),
        ("slice_who", pa.array(["anna@example.org"] * 40), "must not become public"),
        ("slice_who", pa.array(["/home/anna/1.jpg"] * 40), "must not become public"),
        ("slice_who", pa.array(["9f86d081884c7d65"] * 40), "must not become public"),
        ("slice_who", pa.array(["49 170 1234 567"] * 40), "must not become public"),
        ("slice_who", pa.array([1234567] * 40), "must not become public"),
        ("slice_who", pa.array(["a sentence that says much more than a word"] * 40), "must not become public"),
        ("slice_who", pa.array([0.5] * 40), "is double; slices are groups"),
        ("slice_who", pa.array([["a"]] * 40), "slices are groups"),
        ("slice_a b", pa.array(["a"] * 40), "the name is public"),
    ],
)
def test_slices_that_must_not_become_public_are_refused(tmp_path: Path, name: str, values: pa.Array, says: str) -> None:
    _dataset(str(tmp_path), 40, **{name: values})
    with pytest.raises(ManifestError, match=says) as refused:
        release(job(str(tmp_path)))
    assert "anna" not in str(refused.value)


def test_too_many_slices_and_published_ones_are_refused(tmp_path: Path) -> None:
    _dataset(str(tmp_path), 2, **{f"slice_{n}": pa.array(["a", "b"]) for n in range(9)})
    with pytest.raises(ManifestError, match=r"9 columns `slice_\*`, at most 8"):
        release(job(str(tmp_path)))
    _dataset(str(tmp_path), 2, slice_x=pa.array(["a", "b"]))
    with pytest.raises(ConfigError, match="`slice_x` is a slice, which is counted and never published"):
        release(job(str(tmp_path), **{"publish.columns": ["slice_x"]}))


def test_a_row_whose_labels_cannot_be_judged_is_withheld(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("anon_batch.anonymizer.judge_regions", fails)
    _dataset(str(tmp_path), 3)
    run = release(job(str(tmp_path)))
    assert run.release.read_stats().statuses["withheld"] == 3
    assert _missed(run)["unpublished_images"] == 3
