from __future__ import annotations

import numpy as np

from anon_batch.detect.kept import kept_by_owner
from anon_batch.records import Detections, GroundTruth

FACE, FAR = (0, 0, 40, 40), (200, 200, 240, 240)


def found(*boxes, labels=None):
    n = len(boxes)
    landmarks = np.full((n, 5, 2), np.nan, np.float32)
    return Detections(np.array(boxes, np.float32).reshape(n, 4), np.ones(n, np.float32), landmarks, ("d",) * n, labels)


def truth(*boxes, keep, labels=None):
    n = len(boxes)
    return GroundTruth(
        np.array(boxes, np.float32).reshape(n, 4), np.zeros(n, np.bool_), labels, np.array(keep, np.bool_)
    )


def test_a_detection_of_a_kept_region_is_kept():
    assert kept_by_owner(found(FACE, FAR), truth(FACE, FAR, keep=[True, False])).tolist() == [True, False]
    assert kept_by_owner(found((0, 0, 40, 20)), truth(FACE, keep=[True])).tolist() == [True]


def test_a_detection_that_overlaps_less_is_not_kept():
    assert kept_by_owner(found((0, 0, 40, 19)), truth(FACE, keep=[True])).tolist() == [False]


def test_another_label_is_not_kept():
    person = truth(FACE, keep=[True], labels=("person",))
    assert kept_by_owner(found(FACE), person).tolist() == [False]
    assert kept_by_owner(found(FACE, labels=("person",)), person).tolist() == [True]


def test_a_detection_nearer_to_a_region_that_is_not_kept_is_anonymized():
    neighbour = (5, 0, 45, 40)
    regions = truth(FACE, neighbour, keep=[True, False])
    assert kept_by_owner(found(neighbour, FACE), regions).tolist() == [False, True]
    assert kept_by_owner(found(FACE), truth(FACE, FACE, keep=[True, False])).tolist() == [False]


def test_nothing_is_kept_without_ground_truth_or_detections():
    assert kept_by_owner(found(FACE), None).tolist() == [False]
    assert kept_by_owner(found(FACE), truth(FACE, keep=[False])).tolist() == [False]
    assert kept_by_owner(found(), truth(FACE, keep=[True])).tolist() == []
