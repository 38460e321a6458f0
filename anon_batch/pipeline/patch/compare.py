"""Tell whether what is found in an image differs from what its audit says was found."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from anon_batch.geometry import pairwise_iou
from anon_batch.records import Detections

# Boxes that overlap less are another detection. On other CPUs, or from other weights, the boxes of one face differ by single px.
SAME_IOU = 0.9


def audited_detections(audit: Mapping[str, Any], detectors: Collection[str] | None) -> Detections:
    """Return the detections of a row of the audit.

    Args:
        audit: the row, whose `detections` may be null.
        detectors: names of the detectors whose detections count; None for all.
    """
    found = [own for own in audit["detections"] or () if detectors is None or own["detector"] in detectors]
    n = len(found)
    boxes = np.array([[own[side] for side in ("x1", "y1", "x2", "y2")] for own in found], np.float32)
    return Detections(
        boxes.reshape(-1, 4),
        np.array([own["score"] for own in found], np.float32),
        np.full((n, 5, 2), np.nan, np.float32),
        tuple(own["detector"] for own in found),
        tuple(own["label"] for own in found),
    )


def is_other(before: Detections, after: Detections) -> bool:
    """Return whether one of two sets of detections has one that the other has not, by label and `SAME_IOU`.

    Args:
        before: clipped to the image.
        after: clipped to the image.
    """
    if len(before) != len(after):
        return True
    same = pairwise_iou(before.boxes, after.boxes) >= SAME_IOU
    same |= (before.boxes[:, None] == after.boxes[None, :]).all(axis=2)  # because an empty box overlaps nothing
    same &= np.array(before.labels, object)[:, None] == np.array(after.labels, object)[None, :]
    return not (same.any(axis=0).all() and same.any(axis=1).all())
