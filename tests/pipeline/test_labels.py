"""A release of images with several labels: a policy for each label, regions that the owner keeps, statistics by label."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from pipeline_fixtures import image_bytes, job, release, verdict, write_dataset

from anon_batch.manifest.regions_column import REGIONS_TYPE
from anon_batch.pipeline.run import Run
from anon_batch.storage import Storage, join

FACE, PLATE, KEPT = (2, 2, 8, 8), (10, 2, 16, 6), (10, 10, 18, 18)


def _region(box: tuple[int, ...], label: str, *, keep: bool = False) -> dict[str, Any]:
    return {**dict(zip(("x1", "y1", "x2", "y2"), map(float, box), strict=True)), "label": label, "keep": keep}


def _dataset(base: str, *rows: list[dict[str, Any]]) -> None:
    ids = [f"{number}.png" for number in range(len(rows))]
    address = write_dataset(base, ids)
    table = pq.read_table(io.BytesIO(Storage().read(address))).drop_columns(["faces"])
    buffer = io.BytesIO()
    pq.write_table(table.append_column("regions", pa.array(list(rows), REGIONS_TYPE)), buffer)
    Storage().put(address, buffer.getvalue())


def _pixels(run: Run, name: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(Storage().read(join(run.release.uri, f"images/{name}")))).convert("RGB"))


def _inside(pixels: np.ndarray, box: tuple[int, ...]) -> np.ndarray:
    return pixels[box[1] : box[3], box[0] : box[2]]


def test_each_label_has_its_own_treatment_and_an_unknown_one_the_default(tmp_path: Path) -> None:
    regions = [_region(FACE, "face"), _region(PLATE, "licence_plate"), _region(KEPT, "person", keep=True)]
    _dataset(str(tmp_path), regions, [_region(KEPT, "person", keep=True)], [])
    options = {"solid": {"color": [9, 90, 200]}}
    run = release(job(str(tmp_path), anonymize__face__method="pixelate", anonymize__options=options))

    source, output = np.asarray(Image.open(io.BytesIO(image_bytes(0)))), _pixels(run, "0.png")
    assert (_inside(output, PLATE) == [9, 90, 200]).all()
    assert not (_inside(output, FACE) == _inside(source, FACE)).all()
    assert not (_inside(output, FACE) == [9, 90, 200]).all()
    np.testing.assert_array_equal(_inside(output, KEPT), _inside(source, KEPT))

    rows = [row for spec in run.release.parts() for row in run.release.read_part(spec).table.to_pylist()]
    assert [row["status"] for row in rows] == ["anonymized", "clean", "clean"]
    published = [(region["label"], region["method"], region["synthetic"]) for region in rows[0]["regions"]]
    assert published == [("face", "pixelate", False), ("licence_plate", "solid", False)]
    assert not verdict(run).faults

    stats = json.loads(Storage().read(join(run.release.uri, "stats.json")))
    assert (stats["detections"], stats["regions_anonymized"], stats["regions_kept"]) == (4, 2, 2)
    assert {label: own["methods"] for label, own in stats["labels"].items()} == {
        "face": {"pixelate": 1},
        "licence_plate": {"solid": 1},
        "person": {},
    }
    assert stats["labels"]["person"]["regions_kept"] == 2
    assert {label: bands["all"]["recall"] for label, bands in stats["detection"]["labels"].items()} == dict.fromkeys(
        ("face", "licence_plate", "person"), 1.0
    )


def test_labels_that_a_job_leaves_out_are_neither_anonymized_nor_counted(tmp_path: Path) -> None:
    _dataset(str(tmp_path), [_region(FACE, "face"), _region(PLATE, "licence_plate")])
    run = release(job(str(tmp_path), detect__detectors=[{"name": "manifest", "labels": ["licence_plate"]}]))
    source, output = np.asarray(Image.open(io.BytesIO(image_bytes(0)))), _pixels(run, "0.png")
    np.testing.assert_array_equal(_inside(output, FACE), _inside(source, FACE))
    assert (_inside(output, (11, 3, 15, 5)) == 0).all()
    stats = json.loads(Storage().read(join(run.release.uri, "stats.json")))
    assert list(stats["labels"]) == ["licence_plate"]
    assert stats["detection"]["labels"]["face"]["all"]["missed"] == 1
