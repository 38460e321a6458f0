"""Turn what was found in an image that another reader shows in another position."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from anon_batch.imaging.orientation import turn_points, turn_upright
from anon_batch.records import BoolArray, Detections, FloatArray

_MIRRORED = frozenset({2, 4, 5, 7})
_OTHER_SIDE = [1, 0, 2, 4, 3]  # right and left eye, and the corners of the mouth, change places


def turn_detections(found: Detections, width: int, height: int, orientation: int) -> Detections:
    """Turn detections as `turn_upright` turns their image.

    Args:
        found: px of the image as it was shown.
        width: of that image, px.
        height: of that image, px.
        orientation: 1..8.
    """
    if orientation == 1:
        return found
    corners = turn_points(found.boxes.reshape(-1, 2, 2), width, height, orientation)
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)

    def turn(points: FloatArray) -> FloatArray:
        turned = turn_points(points, width, height, orientation).astype(np.float32)
        return turned[..., _OTHER_SIDE, :] if orientation in _MIRRORED else turned

    return replace(
        found,
        boxes=boxes.astype(np.float32),
        landmarks=turn(found.landmarks),
        witnesses=turn(found.witnesses),
        outlines=tuple(None if own is None else _turn_outline(own, orientation) for own in found.outlines),
    )


def _turn_outline(outline: BoolArray, orientation: int) -> BoolArray:
    cells = np.repeat(outline[:, :, None].astype(np.uint8), 3, axis=2)
    return np.ascontiguousarray(turn_upright(cells, orientation)[:, :, 0] > 0)
