"""Faces and number plates in one run: detection, treatment, ground truth and statistics by label."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawn_plates import PLATE, car_with_plate
from PIL import Image
from pipeline_fixtures import job, release, verdict, write_dataset

from anon_batch.config import load_job
from anon_batch.manifest.schema import REGIONS_TYPE
from anon_batch.pipeline.gates import evaluate_gates
from anon_batch.pipeline.run import Run
from anon_batch.storage import Storage

FACE = (178, 62, 270, 177)  # of the astronaut
RIGHT = 512  # the car stands right of the astronaut
SHIPPED = Path(__file__).parents[2] / "jobs/faces-and-plates.yaml"
METHODS = {"anonymize__face__method": "pixelate", "anonymize__licence_plate__method": "plate"}


def street() -> np.ndarray:
    from skimage.data import astronaut

    return np.concatenate([astronaut(), car_with_plate()], axis=1)


def _region(box: tuple[float, ...], label: str, *, keep: bool = False) -> dict[str, Any]:
    return {**dict(zip(("x1", "y1", "x2", "y2"), map(float, box), strict=True)), "label": label, "keep": keep}


PLATE_HERE = (PLATE[0] + RIGHT, PLATE[1], PLATE[2] + RIGHT, PLATE[3])


@pytest.fixture
def base(tmp_path: Path) -> str:
    """Three images: with a face and a plate; the same, where the plate is to be kept; and without either."""
    address = write_dataset(str(tmp_path), ["both.png", "kept.png", "none.png"])
    rows = [
        [_region(FACE, "face"), _region(PLATE_HERE, "licence_plate")],
        [_region(FACE, "face"), _region(PLATE_HERE, "licence_plate", keep=True)],
        [],
    ]
    table = pq.read_table(io.BytesIO(Storage().read(address))).drop_columns(["faces"])
    buffer = io.BytesIO()
    pq.write_table(table.append_column("regions", pa.array(rows, REGIONS_TYPE)), buffer)
    Storage().put(address, buffer.getvalue())
    for name in ("both", "kept"):
        data = io.BytesIO()
        Image.fromarray(street()).save(data, "PNG")
        Storage().put(f"{tmp_path}/src/{name}.png", data.getvalue())
    return str(tmp_path)


def _run(base: str, output: str = "out", **keys: Any) -> Run:
    return release(job(base, output, detect__detectors=["centerface", "licence_plate"], **{**METHODS, **keys}))


def _pixels(run: Run, name: str) -> np.ndarray:
    data = Storage().read(f"{run.release.uri}/images/{name}.png")
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def _inside(pixels: np.ndarray, box: tuple[float, ...]) -> np.ndarray:
    x1, y1, x2, y2 = map(int, box)
    return pixels[y1:y2, x1:x2]


def test_faces_and_plates_get_their_own_treatment_and_a_kept_plate_stays(base: str) -> None:
    run = _run(base, gates__missed=1.0, gates__recall=0.9)
    rows = [row for spec in run.release.parts() for row in run.release.read_part(spec).table.to_pylist()]
    published = [[(own["label"], own["method"]) for own in row["regions"]] for row in rows]
    assert published == [[("face", "pixelate"), ("licence_plate", "plate")], [("face", "pixelate")], []]
    source, both, kept = street(), _pixels(run, "both"), _pixels(run, "kept")
    for box in (FACE, PLATE_HERE):
        changed = (_inside(both, box) != _inside(source, box)).any(axis=2)
        assert changed.mean() > 0.9
    np.testing.assert_array_equal(_inside(kept, PLATE_HERE), _inside(source, PLATE_HERE))
    assert not verdict(run).faults

    summary = run.release.read_stats().summary
    assert {label: own["methods"] for label, own in summary["labels"].items()} == {
        "face": {"pixelate": 2},
        "licence_plate": {"plate": 1},
    }
    assert summary["labels"]["licence_plate"]["regions_kept"] == 1
    assert {label: own["all"]["recall"] for label, own in summary["detection"]["labels"].items()} == {
        "face": 1.0,
        "licence_plate": 1.0,
    }
    missed = summary["missed"]["groups"]["label"]
    assert {label: (own["uncovered"], own["faces"]) for label, own in missed.items()} == {
        "face": (0, 2),
        "licence_plate": (0, 1),
    }
    results = {own.name: own for own in evaluate_gates(run.release.read_stats(), run.config.gates).results}
    assert results["recall"].passed
    assert "number plates" in results["missed"].note  # one plate proves less than two faces


def test_a_release_is_the_same_however_it_is_cut(base: str) -> None:
    runs = [_run(base, f"out{rows}", engine__shard_rows=rows) for rows in (1, 3)]
    for name in ("both", "kept"):
        np.testing.assert_array_equal(_pixels(runs[0], name), _pixels(runs[1], name))


def test_without_the_detector_a_labelled_plate_is_missed_and_exceeds_the_gate(base: str) -> None:
    run = release(job(base, detect__detectors=["centerface"], gates__missed=0.99, **METHODS))
    [gate] = [own for own in evaluate_gates(run.release.read_stats(), run.config.gates).results if own.name == "missed"]
    assert not gate.passed
    assert gate.note == "upper bound; 1 of 1 labelled number plates from 16 px are uncovered"


def test_the_shipped_job_does_both(base: str) -> None:
    shipped = load_job(SHIPPED, {})
    assert [own.name for own in shipped.detect.detectors] == ["centerface", "licence_plate"]
    run = release(job(base, detect=shipped.detect.model_dump(), anonymize=shipped.anonymize.model_dump()))
    methods = {label: own["methods"] for label, own in run.release.read_stats().summary["labels"].items()}
    assert methods == {"face": {"gan": 2}, "licence_plate": {"plate": 1}}
