"""Detections that the dataset's owner asked to leave as they are."""

from __future__ import annotations

import numpy as np

from anon_batch.geometry import pairwise_iou
from anon_batch.records import BoolArray, Detections, GroundTruth

MIN_IOU = 0.5


def kept_by_owner(found: Detections, ground_truth: GroundTruth | None, min_iou: float = MIN_IOU) -> BoolArray:
    """Return which detections the ground truth marks `keep`, (N,) bool.

    A detection is kept only if the region of its own label that it overlaps most is a kept one, and by an IoU of at least
    `min_iou`. Where a kept and another region overlap it equally, it is not kept, because everything else must be anonymized.

    Args:
        found: N detections, px of the upright image.
        ground_truth: the manifest's regions; None keeps nothing.
        min_iou: 0.5 for the detectors of a job.
    """
    if ground_truth is None or not ground_truth.keep.any() or not len(found):
        return np.zeros(len(found), np.bool_)
    overlaps = pairwise_iou(found.boxes, ground_truth.boxes)
    overlaps[np.array(found.labels, object)[:, None] != np.array(ground_truth.labels, object)[None, :]] = 0
    best_kept = overlaps[:, ground_truth.keep].max(axis=1, initial=0)
    best_other = overlaps[:, ~ground_truth.keep].max(axis=1, initial=0)
    return np.asarray((best_kept >= min_iou) & (best_kept > best_other), np.bool_)
