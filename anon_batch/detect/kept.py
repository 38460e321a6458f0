"""Detections that the dataset's owner asked to leave as they are."""

from __future__ import annotations

import numpy as np

from anon_batch.geometry import pairwise_iou
from anon_batch.records import BoolArray, Detections, GroundTruth

MIN_IOU = 0.5


def kept_by_owner(found: Detections, ground_truth: GroundTruth | None) -> BoolArray:
    """Return which detections the ground truth marks `keep`, (N,) bool.

    A detection is kept only if it overlaps a kept region of its own label by an IoU of at least 0.5, because everything else
    must be anonymized.

    Args:
        found: N detections, px of the upright image.
        ground_truth: the manifest's regions; None keeps nothing.
    """
    kept = np.zeros(len(found), np.bool_)
    if ground_truth is None or not ground_truth.keep.any() or not len(found):
        return kept
    regions = ground_truth.take(ground_truth.keep)
    overlaps = pairwise_iou(found.boxes, regions.boxes) >= MIN_IOU
    same = np.asarray(found.labels)[:, None] == np.asarray(regions.labels)[None, :]
    return np.asarray((overlaps & same).any(axis=1), np.bool_)
