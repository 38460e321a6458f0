from __future__ import annotations

import numpy as np
import pytest

from anon_batch.detect.from_manifest import ManifestBoxes
from anon_batch.errors import WithheldError
from anon_batch.records import DecodedImage, GroundTruth

PIXELS = np.zeros((40, 40, 3), np.uint8)


def given(boxes, ignore):
    truth = GroundTruth(np.asarray(boxes, np.float32).reshape(-1, 4), np.asarray(ignore, np.bool_))
    return DecodedImage("picture", PIXELS, given=truth)


def test_every_given_box_comes_back_ignored_and_overlapping_ones_too():
    boxes = [[1, 2, 11, 12], [2, 2, 12, 12], [20, 20, 30, 30]]
    found = ManifestBoxes().detect([given(boxes, [False, True, True])])[0]
    assert found.boxes.tolist() == boxes
    assert found.scores.tolist() == [1, 1, 1]
    assert np.isnan(found.landmarks).all()


def test_no_face_is_an_answer_but_unknown_is_not():
    assert len(ManifestBoxes().detect([given([], [])])[0]) == 0
    with pytest.raises(WithheldError) as caught:
        ManifestBoxes().detect([DecodedImage("unknown", PIXELS)])
    assert caught.value.reason == "no_boxes"


def test_a_box_that_is_not_finite_withholds():
    with pytest.raises(WithheldError, match="not finite"):
        ManifestBoxes().detect([given([[0, 0, np.nan, 5]], [False])])
