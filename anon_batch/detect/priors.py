"""Boxes and landmarks that a network gives relative to priors, as SSD does (Liu et al. 2016, arXiv 1512.02325, section 2.2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anon_batch.detect.protocol import RealArray
from anon_batch.records import FloatArray


def grid_priors(shape: tuple[int, int], stride_px: int, sides_px: Sequence[tuple[float, float]]) -> FloatArray:
    """Return priors (h * w * len(sides_px), 4) of a map: x and y of the middle, width and height, px; row by row, cell by cell.

    Args:
        shape: height and width of the map.
        stride_px: side of a cell.
        sides_px: width and height of each prior of a cell.
    """
    middles = (np.indices(shape)[::-1].reshape(2, -1).T + 0.5) * stride_px
    repeated = np.repeat(middles, len(sides_px), axis=0)
    return np.column_stack([repeated, np.tile(np.asarray(sides_px), (len(middles), 1))]).astype(np.float32)


def decode_boxes(values: RealArray, priors: FloatArray, variances: tuple[float, float]) -> RealArray:
    """Return boxes (N, 4) xyxy, px.

    Args:
        values: (N, 4): shift of the middle in shares of the prior's sides, and logarithm of the sides in shares of the prior's,
            each divided by its variance.
        priors: (N, 4), as `grid_priors` gives them.
        variances: of shift and sides.
    """
    centre = priors[:, :2] + values[:, :2] * variances[0] * priors[:, 2:]
    half = np.exp(values[:, 2:] * variances[1]) * priors[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def decode_landmarks(values: RealArray, priors: FloatArray, variances: tuple[float, float]) -> RealArray:
    """Return landmarks (N, 5, 2), px, of values (N, 10): shifts as those of a box's middle."""
    return priors[:, None, :2] + values.reshape(-1, 5, 2) * variances[0] * priors[:, None, 2:]
