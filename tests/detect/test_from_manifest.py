from __future__ import annotations

import numpy as np
import pytest

from anon_batch.config import DetectConfig, DetectorConfig
from anon_batch.detect.from_manifest import ManifestBoxes, ManifestOptions
from anon_batch.detect.protocol import DetectorSettings
from anon_batch.errors import WithheldError
from anon_batch.records import GroundTruth


def boxes_of(labels=None):
    settings = DetectorSettings(DetectorConfig(name="manifest", labels=labels), DetectConfig())
    return ManifestBoxes(ManifestOptions(), None, settings)


def given(boxes, ignore, labels=None):
    return GroundTruth(np.asarray(boxes, np.float32).reshape(-1, 4), np.asarray(ignore, np.bool_), labels)


def test_every_given_box_is_a_detection_also_ignored_and_overlapping_ones():
    boxes = [[1, 2, 11, 12], [2, 2, 12, 12], [20, 20, 30, 30]]
    [found] = boxes_of().detections([given(boxes, [False, True, True])])
    assert found.boxes.tolist() == boxes
    assert found.scores.tolist() == [1, 1, 1]
    assert found.labels == ("face", "face", "face")
    assert np.isnan(found.landmarks).all()


def test_each_box_keeps_its_label_and_a_job_may_use_some_labels():
    truth = given([[1, 2, 11, 12], [2, 2, 12, 12]], [False, False], ("face", "licence_plate"))
    assert boxes_of().detections([truth])[0].labels == ("face", "licence_plate")
    assert boxes_of(["licence_plate"]).detections([truth])[0].boxes.tolist() == [[2, 2, 12, 12]]


def test_an_empty_list_means_no_region_and_null_withholds():
    assert len(boxes_of().detections([given([], [])])[0]) == 0
    with pytest.raises(WithheldError) as caught:
        boxes_of().detections([None])
    assert caught.value.reason == "no_boxes"


def test_shares_that_nobody_scaled_withhold():
    truth = GroundTruth(np.array([[0.1, 0.1, 0.5, 0.5]], np.float32), np.zeros(1, np.bool_), size=(1, 1))
    with pytest.raises(WithheldError, match="nobody scaled") as caught:
        boxes_of().detections([truth])
    assert caught.value.reason == "bad_box"
    assert boxes_of().detections([truth.in_pixels(100, 10)])[0].boxes.round(3).tolist() == [[10, 1, 50, 5]]
