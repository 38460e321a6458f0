"""Boxes in shares of the image's sides: the release is the one of the same boxes in px, and wrong scales are withheld."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pipeline_fixtures import FACES, job, release, write_dataset
from releases import release_of

from anon_batch.anonymizer import Anonymizer
from anon_batch.config import AnonymizeConfig, DetectConfig
from anon_batch.decode_rows import decode_rows
from anon_batch.errors import ManifestError
from anon_batch.evaluate.release.job import open_release_job
from anon_batch.evaluate.release.rows import RowReader
from anon_batch.evaluate.subjects import labelled_faces
from anon_batch.manifest import open_manifest, rows_from_table
from anon_batch.manifest.allowed import AllowedSources
from anon_batch.manifest.fetch import SourceReader
from anon_batch.outcomes import Anonymized
from anon_batch.records import GroundTruth, ShardSpec
from anon_batch.storage import Storage

# of images of 24 x 20 px
IN_PX = [(6.0, 5.0, 12.0, 15.0), (12.0, 10.0, 24.0, 20.0)]
IN_SHARES = [(0.25, 0.25, 0.5, 0.75), (0.5, 0.5, 1.0, 1.0)]


def _dataset(base: Path, boxes: list[list[tuple[float, ...]]], size: tuple[int, int] | None = None) -> str:
    rows = [[dict(zip(("x1", "y1", "x2", "y2"), box, strict=True), ignore=False) for box in own] for own in boxes]
    extra = (
        {}
        if size is None
        else {n: pa.array([s] * len(boxes)) for n, s in zip(("regions_width", "regions_height"), size, strict=True)}
    )
    write_dataset(str(base), [f"{n:03}.png" for n in range(len(boxes))], faces=pa.array(rows, FACES), **extra)
    return str(base)


def _released(base: str, **keys: Any) -> dict[str, Any]:
    return release_of(Storage(), release(job(base, **keys)).release.uri)


@pytest.mark.parametrize("detectors", [["manifest"], ["centerface"]])
def test_the_release_is_that_of_the_same_boxes_in_px(tmp_path: Path, detectors: list[str]) -> None:
    shapes = [[0], [1], [0, 1], []]
    released = [
        _released(
            _dataset(tmp_path / name, [[boxes[n] for n in own] for own in shapes], size), detect__detectors=detectors
        )
        for name, boxes, size in (("px", IN_PX, None), ("shares", IN_SHARES, (1, 1)))
    ]
    px, shares = released
    assert [(row["status"], row["regions"]) for row in shares["rows"]] == [
        (row["status"], row["regions"]) for row in px["rows"]
    ]
    assert [row["sha256"] for row in shares["rows"]] == [row["sha256"] for row in px["rows"]]
    assert {key: shares["stats"][key] for key in ("detection", "missed")} == {
        key: px["stats"][key] for key in ("detection", "missed")
    }
    assert px["stats"]["detection"]["bands"]["all"]["regions"] == 4


@pytest.mark.parametrize("scale", [24, 100, 640])
def test_boxes_in_px_that_are_called_shares_are_refused_or_withheld(tmp_path: Path, scale: float) -> None:
    wrong = [(0.25 * scale, 0.25 * scale, 0.5 * scale, 0.75 * scale)]
    rows = _released(_dataset(tmp_path / "few", [wrong, [IN_SHARES[0]], []], (1, 1)))["rows"]
    assert [(row["status"], row["reason"]) for row in rows] == [
        ("withheld", "bad_box"),
        ("anonymized", None),
        ("clean", None),
    ]
    with pytest.raises(ManifestError, match="is said to be in shares of the image's sides, but reaches far beyond"):
        _released(_dataset(tmp_path / "many", [wrong] * 20, (1, 1)))


def test_shares_that_are_not_called_so_are_refused_and_many_of_them_pass_when_they_are(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="as if it were in shares of the image's size"):
        _released(_dataset(tmp_path / "plain", [IN_SHARES] * 20))
    rows = _released(_dataset(tmp_path / "said", [IN_SHARES] * 20, (1, 1)))["rows"]
    assert {row["status"] for row in rows} == {"anonymized"}


@pytest.mark.parametrize("side", [0.001, 0.02, 0.06])
def test_a_face_of_a_pixel_is_anonymized(tmp_path: Path, side: float) -> None:
    [row] = _released(_dataset(tmp_path, [[(0.3, 0.3, 0.3 + side, 0.3 + side)]], (1, 1)))["rows"]
    assert row["status"] == "anonymized"
    [region] = row["regions"]
    assert region["x1"] <= 0.3 * 24 < region["x2"]
    assert region["y1"] <= 0.3 * 20 < region["y2"]


def test_an_anonymizer_scales_what_it_is_given() -> None:
    anonymizer = Anonymizer(
        DetectConfig(detectors=["manifest"]), AnonymizeConfig(face={"method": "solid"}), key=bytes(32)
    )
    pixels = np.full((20, 24, 3), 90, np.uint8)
    truths = [
        GroundTruth(np.array(boxes, np.float32), np.zeros(2, np.bool_), size=size)
        for boxes, size in ((IN_PX, None), (IN_SHARES, (1, 1)))
    ]
    px, shares = anonymizer([pixels, pixels], ["a", "a"], truths)
    assert isinstance(px, Anonymized)
    assert isinstance(shares, Anonymized)
    assert shares.detections.boxes.tolist() == px.detections.boxes.tolist() == [list(box) for box in IN_PX]
    assert np.array_equal(shares.pixels, px.pixels)
    judged = [
        dataclasses.astuple(anonymizer.judge(own, truth)) for own, truth in ((px, truths[0]), (shares, truths[1]))
    ]
    assert all(map(np.array_equal, *judged))


def test_rows_that_are_evaluated_are_measured(tmp_path: Path) -> None:
    base = _dataset(tmp_path, [IN_SHARES], (1, 1))
    storage, config = Storage(), job(base)
    rows = [row for table in open_manifest(storage, config.manifest).iter_tables() for row in rows_from_table(table, 0)]
    reader = SourceReader(storage, AllowedSources.of(config.sources, config.manifest))
    [(row, _)] = decode_rows(reader, rows, 10**6, 10**6, Counter())
    faces = labelled_faces(row)
    assert faces is not None
    assert faces.boxes.tolist() == [list(box) for box in IN_PX]
    assert row.measured(48, 40) is row


def test_a_release_is_measured_against_boxes_in_px(tmp_path: Path) -> None:
    run = release(job(_dataset(tmp_path, [IN_SHARES, []], (1, 1))))
    reader = RowReader(open_release_job(run.release, run.ledger, run.config, sources={"allow": ["/"]}))
    [[row]] = reader.read(ShardSpec(0, 2), (0,), 8)
    assert row.truth is not None
    assert row.truth.boxes.tolist() == [list(box) for box in IN_PX]
