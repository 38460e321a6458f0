"""Find where a new face ends outside the mask: a closed path along which old and new pixels differ least.

Dynamic programming over rays, as for the optimal boundary of drag-and-drop pasting (Jia, Sun, Tang and Shum 2006).
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from anon_batch.anonymize.faces.align import Crop
from anon_batch.records import BoolArray, FloatArray

RAYS = 64
STEPS = 10
FEATHER = 0.03  # width of the fade across the seam, as a share of the crop
_FAR_COST = 0.6  # of the outermost step, so that the seam stays near where nothing is gained
_BEND_COST = 25.0  # of a jump between rays by one side of the crop
_DIFFERENCE = 12.0  # Lab units that cost 1
_INVALID_COST = 8.0  # where the donor's image does not reach


def find_alpha(crop: Crop, difference: FloatArray, valid: BoolArray, reach: float) -> FloatArray:
    """Return the new face's share in the result, (side, side) float32: 1 inside the mask, 0 beyond the seam.

    Args:
        crop: the surroundings.
        difference: (side, side) float32, Lab distance of new and old pixels.
        valid: (side, side) bool, where the new face has pixels.
        reach: how far outside the mask the result may change, px of the crop.
    """
    side = crop.side
    feather = min(max(FEATHER * side, 1.0), 2 * reach)
    free = max(reach - feather / 2, 0.0)
    level = np.linspace(0, free, STEPS, dtype=np.float32)
    x, y = _points_at(crop.distance, level)
    invalid = np.where(valid[y, x], np.float32(0), np.float32(_INVALID_COST))
    cost: FloatArray = difference[y, x] / np.float32(_DIFFERENCE) + invalid
    cost += np.linspace(0, _FAR_COST, STEPS, dtype=np.float32)
    path = _cheapest_cycle(cost, free / (STEPS - 1) / side * _BEND_COST)
    depth = around(level[path], side)
    alpha = np.clip((depth + feather / 2 - crop.distance) / feather, 0, 1) * valid
    alpha[crop.unknown & (crop.distance <= 0.75)] = 1
    return np.asarray(alpha, np.float32)


def _points_at(distance: FloatArray, level: FloatArray) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the pixels (rays, steps) at which rays from the middle first reach each distance from the mask."""
    side = len(distance)
    y, x = ray_pixels(side)
    along = np.maximum.accumulate(distance[y, x], axis=1)
    at = np.stack([(along < value).sum(axis=1) for value in level], axis=1).clip(0, along.shape[1] - 1)
    rows = np.arange(RAYS)[:, None]
    return x[rows, at], y[rows, at]


@functools.cache
def ray_pixels(side: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    angle = np.arange(RAYS) * (2 * np.pi / RAYS)
    length = np.arange(0.5, side * 0.72)
    x = (side / 2 + np.cos(angle)[:, None] * length).astype(np.intp).clip(0, side - 1)
    y = (side / 2 + np.sin(angle)[:, None] * length).astype(np.intp).clip(0, side - 1)
    return y, x


def _cheapest_cycle(cost: FloatArray, bend: float) -> npt.NDArray[np.intp]:
    """Return the step of each ray, so that costs and jumps around the circle are least; twice around closes the path."""
    steps = np.arange(STEPS)
    jump = (np.abs(steps[:, None] - steps) * bend).astype(np.float32)
    total, came_from = cost[0].copy(), np.zeros((2 * RAYS, STEPS), np.intp)
    for ray in range(1, 2 * RAYS):
        reached = jump + total
        came_from[ray] = reached.argmin(axis=1)
        total = reached[steps, came_from[ray]] + cost[ray % RAYS]
    path = np.zeros(RAYS, np.intp)
    step = int(total.argmin())
    for ray in range(2 * RAYS - 1, RAYS // 2 - 1, -1):
        if ray < RAYS + RAYS // 2:
            path[ray % RAYS] = step
        step = int(came_from[ray, step])
    return path


def around(values: FloatArray, side: int) -> FloatArray:
    """Return values of the rays (rays,) between them on the whole crop, (side, side) float32."""
    first, share = _angles(side)
    return np.asarray(values[first] * (1 - share) + values[(first + 1) % RAYS] * share, np.float32)


@functools.cache
def _angles(side: int) -> tuple[npt.NDArray[np.intp], FloatArray]:
    grid = np.arange(side) + 0.5 - side / 2
    at = (np.arctan2(grid[:, None], grid[None, :]) / (2 * np.pi) * RAYS) % RAYS
    first = np.floor(at).astype(np.intp) % RAYS
    return first, np.asarray(at - np.floor(at), np.float32)
