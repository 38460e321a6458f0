"""Where a plate is: its four corners, from the detection, or the box where there are none that can be right."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from anon_batch.records import Region

Corners = npt.NDArray[np.float64]  # (4, 2) px: top left, top right, bottom right, bottom left in reading direction

_LEAST_SHARE = 0.35  # of the box that a plate with these corners fills
_BEYOND = 0.25  # of the box's sides by which a corner may lie outside
_LARGER = np.array([1.12, 1.06])  # because the detector's corners lie within the frames of most plates


def corners_of(region: Region) -> Corners:
    """Return the corners of the plate to draw in a region, px of the image, at least 1 px apart."""
    x1, y1, x2, y2 = region.box
    x2, y2 = max(x2, x1 + 1), max(y2, y1 + 1)
    box = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
    if region.landmarks is None:
        return box
    found = np.asarray(region.landmarks, np.float64)[[0, 1, 4, 3]]
    return _enlarged(found) if _can_be_a_plate(found, box) else box


def aspect_of(corners: Corners) -> float:
    """Return width by height, means of opposite sides."""
    sides = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1)
    return float((sides[0] + sides[2]) / (sides[1] + sides[3]))


def _enlarged(corners: Corners) -> Corners:
    """Return the corners moved outwards along the plate's own axes."""
    middle = corners.mean(axis=0)
    across = (corners[1] + corners[2] - corners[0] - corners[3]) / 4
    down = (corners[2] + corners[3] - corners[0] - corners[1]) / 4
    axes = np.column_stack([across, down])
    own = np.linalg.solve(axes, (corners - middle).T)
    return np.asarray((axes @ (own * _LARGER[:, None])).T + middle, np.float64)


def _can_be_a_plate(corners: Corners, box: Corners) -> bool:
    """Return whether the corners go clockwise around a convex area that lies in the box and fills enough of it."""
    sides = np.roll(corners, -1, axis=0) - corners
    following = np.roll(sides, -1, axis=0)
    turns = sides[:, 0] * following[:, 1] - sides[:, 1] * following[:, 0]
    x, y = corners.T
    area = float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
    size = box[2] - box[0]
    margin = _BEYOND * size
    inside = bool(((corners >= box[0] - margin) & (corners <= box[2] + margin)).all())
    return inside and bool((turns > 0).all()) and area >= _LEAST_SHARE * float(size.prod())
