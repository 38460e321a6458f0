"""Boxes that people drew around something that the detectors missed: detections that no network found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anon_batch.records import BoolArray, Detections, FloatArray

NAME = "drawn"
SAME_PX = 0.5  # edges of a box that was drawn, stored and read again


def drawn_boxes(boxes: FloatArray, labels: Sequence[str]) -> Detections:
    """Return drawn boxes as detections: score 1, no landmarks, found by no detector, so that none is credited with them.

    Args:
        boxes: (N, 4) float32 xyxy, px of the upright image.
        labels: N labels.
    """
    n = len(boxes)
    landmarks = np.full((n, 5, 2), np.nan, np.float32)
    finders = (frozenset[str](),) * n
    return Detections(
        boxes.astype(np.float32), np.ones(n, np.float32), landmarks, (NAME,) * n, tuple(labels), finders=finders
    )


def is_drawn(found: Detections) -> BoolArray:
    """Return which detections are drawn boxes, (N,) bool."""
    return np.array([name == NAME for name in found.detectors], np.bool_)


def without_repeats(drawn: Detections) -> Detections:
    """Return the drawn boxes, each once: one whose edges lie within `SAME_PX` of an earlier one of its label is left out."""
    kept: list[int] = []
    for at in range(len(drawn)):
        if not any(_is_same(drawn, at, other) for other in kept):
            kept.append(at)
    return drawn.take(np.array(kept, np.intp))


def _is_same(drawn: Detections, one: int, other: int) -> bool:
    apart = np.abs(drawn.boxes[one] - drawn.boxes[other]).max()
    return drawn.labels[one] == drawn.labels[other] and bool(apart <= SAME_PX)
