"""Surroundings and donors in small whole numbers, on a grid of 24 x 24 cells.

Both sides of a comparison are rounded alike, so that sums of their products are exact: see `retrieve`.
"""

from __future__ import annotations

import cv2
import numpy as np

from anon_batch.anonymize.faces.surroundings import ASPECT, CONTEXT
from anon_batch.records import BoolArray, FloatArray

CELLS = 24  # side of the grid, which covers the frame of `surroundings`
LAB_STEP = 2.0  # of L, a and b in whole numbers
MATTE_STEPS = np.float32(7)
_LAB_MIDDLE = np.array([50, 0, 0], np.float32)
_LAB_MOST = np.array([25, 31, 31], np.float32)
_SLOPE_MOST = np.float32(31)
_INNERMOST = 0.85  # radius, in units of the ideal box, inside which no surroundings are compared


def shrink(values: FloatArray) -> FloatArray:
    """Return means over areas, (24, 24, ...), of values in the frame (48, 48, ...)."""
    return np.asarray(cv2.resize(values, (CELLS, CELLS), interpolation=cv2.INTER_AREA), np.float32)


def whole_colours(lab: FloatArray) -> FloatArray:
    """Return Lab (48, 48, 3) as whole numbers of `LAB_STEP` from the middle, (24, 24, 3) float32, -31 .. 31."""
    steps = np.rint((shrink(lab) - _LAB_MIDDLE) * np.float32(1 / LAB_STEP))
    return np.asarray(np.clip(steps, -_LAB_MOST, _LAB_MOST), np.float32)


def whole_slopes(lab: FloatArray) -> FloatArray:
    """Return the gradient of L in x and y of Lab (48, 48, 3), lightly blurred, (24, 24, 2) float32, whole, -31 .. 31."""
    lightness = cv2.GaussianBlur(np.ascontiguousarray(lab[:, :, 0]), (0, 0), 0.8)
    sobel = [cv2.Sobel(lightness, cv2.CV_32F, *axis, scale=0.25) for axis in ((1, 0), (0, 1))]
    return np.asarray(np.clip(np.rint(shrink(np.dstack(sobel))), -_SLOPE_MOST, _SLOPE_MOST), np.float32)


def whole_matte(matte: FloatArray) -> FloatArray:
    """Return a matte (48, 48), 0 .. 1, as whole numbers, (24, 24) float32, 0 .. 7."""
    return np.asarray(np.clip(np.rint(shrink(matte) * MATTE_STEPS), 0, MATTE_STEPS), np.float32)


def compared_cells() -> BoolArray:
    """Return the cells that can lie outside a mask, (24, 24) bool."""
    grid = (np.arange(CELLS) + 0.5) / CELLS - 0.5
    half = 0.5 / CONTEXT
    return np.asarray(np.hypot(grid[None, :] / (half * ASPECT), grid[:, None] / half) > _INNERMOST, np.bool_)
