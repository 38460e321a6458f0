"""Fit a donor's image to a crop: a similarity by landmarks, then each axis stretched a little towards the face's box."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from anon_batch.anonymize.faces import landmarks
from anon_batch.anonymize.faces.align import Crop

STRETCH = (0.86, 1.2)  # least and most by which an axis is stretched
_SIDE_WEIGHT = 2.5  # of a side of the box, in units of a landmark's
_MOUTH_WEIGHT = 0.7  # of the height of the mouth's middle, because it moves with the expression

Array = npt.NDArray[np.float64]


def box_sides(box: Array) -> Array:
    """Return the middles of the top, bottom, left and right side of boxes (..., 4) xyxy: (..., 4, 2)."""
    x1, y1, x2, y2 = (box[..., i] for i in range(4))
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    return np.stack([np.stack(pair, -1) for pair in ((x, y1), (x, y2), (x1, y), (x2, y))], -2)


def fit_donor(points: landmarks.Points, box: Array, crop: Crop) -> landmarks.Points:
    """Return the affine transform (2, 3) from px of a donor's image to px of the crop.

    Args:
        points: (5, 2) landmarks of the donor, px of its image.
        box: (4,) xyxy of the donor, px of its image.
        crop: the place of the new face.
    """
    transform: landmarks.Points = landmarks.similarity(points[None], crop.points[None])[0]
    if crop.box is None:
        return transform
    own, own_sides = landmarks.apply(transform, points), landmarks.apply(transform, box_sides(box))
    asked_sides = box_sides(crop.box)
    fitted = transform.copy()
    for axis, (first, second) in enumerate(((2, 3), (0, 1))):
        source = _coordinates(own, own_sides[[first, second]], axis)
        target = _coordinates(crop.points, asked_sides[[first, second]], axis)
        weight = np.array([*([1.0] * 5 if axis == 0 else [1, 1, 1, _MOUTH_WEIGHT]), _SIDE_WEIGHT, _SIDE_WEIGHT])
        centre, asked = (weight * source).sum() / weight.sum(), (weight * target).sum() / weight.sum()
        spread = max(float((weight * (source - centre) ** 2).sum()), 1e-6)
        stretch = float(np.clip((weight * (source - centre) * (target - asked)).sum() / spread, *STRETCH))
        fitted[axis] = transform[axis] * stretch
        fitted[axis, 2] += asked - stretch * centre
    return fitted


def _coordinates(points: landmarks.Points, sides: landmarks.Points, axis: int) -> Array:
    """Return the coordinates of landmarks and sides along an axis; in y the corners of the mouth count as one."""
    values: Array = points[:, axis]
    if axis == 1:
        values = np.array([*values[:3], (values[3] + values[4]) / 2])
    return np.concatenate([values, sides[:, axis]])
