from __future__ import annotations

import numpy as np
import pytest

from anon_batch.records import Detections, GroundTruth
from anon_batch.stats import match


def found(*boxes, scores=None, labels=None):
    n = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(n, 4),
        np.linspace(0.9, 0.5, n).astype(np.float32) if scores is None else np.array(scores, np.float32),
        np.full((n, 5, 2), np.nan, np.float32),
        ("d",) * n,
        labels,
    )


def truth(*boxes, ignore=()):
    flags = np.zeros(len(boxes), bool)
    flags[list(ignore)] = True
    return GroundTruth(np.array(boxes, np.float32).reshape(len(boxes), 4), flags)


FACE, NEXT, FAR = (0, 0, 40, 40), (50, 0, 90, 40), (200, 200, 240, 240)


def test_matches_of_separate_boxes():
    matches = match(found(NEXT, FAR, FACE), truth(FACE, NEXT, (100, 100, 140, 140)))
    assert matches.detection_region.tolist() == [1, -1, 0]
    assert matches.region_detection.tolist() == [2, 0, -1]
    assert matches.true_positives.tolist() == [True, False, True]
    assert matches.false_positives.tolist() == [False, True, False]
    assert matches.missed.tolist() == [False, False, True]
    assert matches.iou.tolist() == [1, 0, 1]


def test_the_better_score_chooses_first():
    matches = match(found((0, 0, 40, 40), (0, 0, 40, 38), scores=[0.3, 0.8]), truth(FACE))
    assert matches.detection_region.tolist() == [-1, 0]
    assert matches.false_positives.tolist() == [True, False]


def test_overlap_below_the_threshold_finds_nothing():
    half = (0, 0, 40, 20)
    assert match(found(half), truth(FACE)).true_positives.all()
    assert not match(found((0, 0, 40, 19)), truth(FACE)).true_positives.any()
    assert not match(found(half), truth(FACE), iou_threshold=0.6).true_positives.any()


def test_an_ignored_region_absorbs_the_detections_inside():
    matches = match(found((5, 5, 15, 15), (20, 20, 30, 30), FAR), truth(FACE, ignore=[0]))
    assert matches.detection_ignored.tolist() == [True, True, False]
    assert matches.region_ignored.tolist() == [True]
    assert not matches.missed.any()


def test_a_region_that_counts_goes_before_an_ignored_one():
    matches = match(found((0, 0, 40, 30)), truth((0, 0, 40, 40), (0, 0, 80, 80), ignore=[1]))
    assert matches.detection_region.tolist() == [0]


def test_bands():
    small, large = (0, 0, 20, 20), (100, 100, 300, 300)
    wrong_small, wrong_large = (400, 400, 410, 410), (400, 400, 600, 600)
    matches = match(found(small, large, wrong_small, wrong_large), truth(small, large), "small")
    assert matches.region_ignored.tolist() == [False, True]
    assert matches.detection_ignored.tolist() == [False, True, False, True]
    sixteen = match(found((0, 0, 15, 15), (20, 0, 36, 4)), truth(), "from_16_px")
    assert sixteen.detection_ignored.tolist() == [True, False]
    with pytest.raises(KeyError):
        match(found(), truth(), "tiny")


def test_nothing_found_and_nothing_there():
    assert match(found(), truth(FACE)).missed.tolist() == [True]
    assert match(found(FACE), truth()).false_positives.tolist() == [True]
    empty = match(found(), truth())
    assert empty.iou.shape == empty.region_detection.shape == (0,)


def test_a_detection_matches_only_regions_of_its_label():
    plate = GroundTruth(np.array([FACE, FACE], np.float32), np.array([False, True]), ("licence_plate", "person"))
    assert match(found(FACE), plate).false_positives.tolist() == [True]
    matches = match(found(FACE, FACE, labels=("face", "licence_plate")), plate)
    assert matches.detection_region.tolist() == [-1, 0]
    assert matches.missed.tolist() == [False, False]
