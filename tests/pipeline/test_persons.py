"""Faces and persons in one run: detection, treatment, ground truth, statistics and audit by label."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pipeline_fixtures import job, release, verdict, write_dataset

from anon_batch.config import load_job
from anon_batch.manifest.schema import REGIONS_TYPE
from anon_batch.pipeline.run import Run
from anon_batch.storage import Storage

FACE = (178, 62, 270, 177)  # of the astronaut
PERSON = (20, 15, 375, 512)
SHIPPED = Path(__file__).parents[2] / "jobs/persons.yaml"


def _region(box: tuple[float, ...], label: str, *, keep: bool = False) -> dict[str, Any]:
    return {**dict(zip(("x1", "y1", "x2", "y2"), map(float, box), strict=True)), "label": label, "keep": keep}


def _astronaut() -> np.ndarray:
    from skimage.data import astronaut

    return astronaut()


@pytest.fixture
def base(tmp_path: Path) -> str:
    """Three images: of a person; the same, where the person is to be kept; and without anybody."""
    address = write_dataset(str(tmp_path), ["person.png", "kept.png", "none.png"])
    rows = [
        [_region(FACE, "face"), _region(PERSON, "person")],
        [_region(FACE, "face"), _region(PERSON, "person", keep=True)],
        [],
    ]
    table = pq.read_table(io.BytesIO(Storage().read(address))).drop_columns(["faces"])
    buffer = io.BytesIO()
    pq.write_table(table.append_column("regions", pa.array(rows, REGIONS_TYPE)), buffer)
    Storage().put(address, buffer.getvalue())
    for name in ("person", "kept"):
        data = io.BytesIO()
        Image.fromarray(_astronaut()).save(data, "PNG")
        Storage().put(f"{tmp_path}/src/{name}.png", data.getvalue())
    return str(tmp_path)


def _run(base: str, output: str = "out", **keys: Any) -> Run:
    methods = {"anonymize__face__method": "pixelate", "anonymize__person__method": "inpaint"}
    return release(job(base, output, **{"detect__detectors": ["centerface", "person"], **methods, **keys}))


def _pixels(run: Run, name: str) -> np.ndarray:
    data = Storage().read(f"{run.release.uri}/images/{name}.png")
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_a_face_goes_with_its_person_and_a_kept_person_stays(base: str) -> None:
    run = _run(base)
    rows = [row for spec in run.release.parts() for row in run.release.read_part(spec).table.to_pylist()]
    published = [[(own["label"], own["method"]) for own in row["regions"]] for row in rows]
    assert published == [[("face", "inpaint"), ("person", "inpaint")], [("face", "pixelate")], []]
    changed = (_pixels(run, "person") != _astronaut()).any(axis=2)
    assert changed[62:177, 178:270].mean() > 0.9
    assert changed[300:500, 60:340].mean() > 0.8
    kept = (_pixels(run, "kept") != _astronaut()).any(axis=2)
    assert not kept[300:500].any()
    assert not verdict(run).faults

    summary = run.release.read_stats().summary
    assert {label: own["methods"] for label, own in summary["labels"].items()} == {
        "face": {"inpaint": 1, "pixelate": 1},
        "person": {"inpaint": 1},
    }
    assert summary["labels"]["person"]["regions_kept"] == 1
    assert {label: own["all"]["recall"] for label, own in summary["detection"]["labels"].items()} == {
        "face": 1.0,
        "person": 1.0,
    }
    missed = summary["missed"]["groups"]["label"]
    assert {label: (own["uncovered"], own["faces"]) for label, own in missed.items()} == {
        "face": (0, 2),
        "person": (0, 1),
    }


def test_outlines_are_in_the_audit_alone(base: str) -> None:
    run = _run(base)
    [spec] = run.release.parts()
    part = run.release.read_part(spec)
    audit = run.ledger.read_audit(spec, part.meta.attempt)
    assert [[own is not None for own in row] for row in audit.column("outlines").to_pylist()] == [
        [False, True],
        [False, True],
        [],
    ]
    assert "outlines" not in part.table.column_names
    faces = _run(base, "faces", detect__detectors=["centerface"])
    [spec] = faces.release.parts()
    part = faces.release.read_part(spec)
    assert "outlines" not in faces.ledger.read_audit(spec, part.meta.attempt).column_names


@pytest.mark.full
def test_a_release_is_the_same_however_it_is_cut(base: str) -> None:
    runs = [_run(base, f"out{rows}", engine__shard_rows=rows) for rows in (1, 3)]
    for name in ("person", "kept"):
        np.testing.assert_array_equal(_pixels(runs[0], name), _pixels(runs[1], name))


def test_the_shipped_job_does_both(base: str) -> None:
    shipped = load_job(SHIPPED, {})
    assert [own.name for own in shipped.detect.detectors] == ["centerface", "person"]
    run = release(job(base, detect=shipped.detect.model_dump(), anonymize=shipped.anonymize.model_dump()))
    methods = {label: own["methods"] for label, own in run.release.read_stats().summary["labels"].items()}
    assert methods == {"face": {"solid": 2}, "person": {"solid": 1}}
