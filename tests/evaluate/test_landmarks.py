"""Landmarks that are found, moved, or not found."""

from __future__ import annotations

import numpy as np
import pytest

from anon_batch.evaluate.landmarks import LandmarkErrors, LandmarkMeasures, face_at, normalized_error
from anon_batch.records import Detections, FloatArray

BOX = np.array([10, 10, 50, 60], np.float32)
MARKS = np.array([[20, 25], [40, 25], [30, 38], [22, 48], [38, 48]], np.float32)


def _found(*faces: tuple[FloatArray, FloatArray]) -> Detections:
    if not faces:
        return Detections.empty()
    count = len(faces)
    boxes, marks = np.stack([f[0] for f in faces]), np.stack([f[1] for f in faces])
    return Detections(boxes, np.full(count, 0.9, np.float32), marks, ("x",) * count)


def test_the_error_is_in_units_of_the_asked_distance_of_the_eyes() -> None:
    assert normalized_error(MARKS, MARKS) == 0
    assert normalized_error(MARKS, MARKS + np.float32([3, 4])) == pytest.approx(5 / 20)
    one_off = MARKS.copy()
    one_off[2] += [0, 10]
    assert normalized_error(MARKS, one_off) == pytest.approx(10 / 20 / 5)
    assert normalized_error(np.tile(MARKS[:1], (5, 1)), MARKS) is None


def test_the_face_is_the_one_that_overlaps_most() -> None:
    far, near, nearest = BOX + 500, BOX + 8, BOX + 1
    assert face_at(BOX, _found((far, MARKS), (near, MARKS), (nearest, MARKS))) == 2
    assert face_at(BOX, _found((far, MARKS))) is None
    assert face_at(BOX, _found((nearest, np.full_like(MARKS, np.nan)))) is None
    assert face_at(BOX, _found()) is None


def test_summary() -> None:
    errors = LandmarkErrors()
    assert errors.summary() == LandmarkMeasures(0, None, None, None)
    for shift in range(9):
        errors.add(BOX, MARKS, _found((BOX, MARKS + np.float32([shift, 0]))))
    errors.add(BOX, MARKS, _found())
    measures = errors.summary()
    assert (measures.faces, measures.undetected_share) == (10, 0.1)
    assert (measures.median, measures.p90) == pytest.approx((4 / 20, 7.2 / 20))
