"""The outline of a detection: a coarse map of the cells that show the thing itself, and the mask that is made of it.

The map divides the detection's surroundings, its box grown by REACH about its centre and clipped to the image, into
OUTLINE_SIDE x OUTLINE_SIDE cells of equal size, so that it is the same in any size of the image.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from anon_batch.face_outline import Box
from anon_batch.records import OUTLINE_SIDE, BoolArray, FloatArray

REACH = 1.15  # because arms and feet may reach beyond the box

Extent = tuple[int, int, int, int]
_Weights = tuple[npt.NDArray[np.intp], FloatArray]


def frame_of(box: Box, width: int, height: int) -> Box:
    """Return what the map of a box (x1, y1, x2, y2) covers, at least a pixel wide and high; px of the image."""
    (x1, x2), (y1, y2) = _span(box[0], box[2], width), _span(box[1], box[3], height)
    return x1, y1, x2, y2


def _span(low: float, high: float, size: int) -> tuple[float, float]:
    middle, half = (low + high) / 2, (high - low) / 2 * REACH
    first = min(max(middle - half, 0.0), size - 1.0)
    return first, max(min(middle + half, float(size)), first + 1.0)


def outline_mask(outline: BoolArray, box: Box, width: int, height: int, margin_px: float) -> tuple[Extent, BoolArray]:
    """Return the box around a mask, px, and the mask on it.

    It holds the cells of the outline and a margin around them. The distances, to the middles of the cells, are
    taken once for each cell and interpolated, so that the mask's border is smooth, and its time grows with its pixels alone.

    Args:
        outline: (OUTLINE_SIDE, OUTLINE_SIDE) bool, not empty.
        box: of the detection, px.
        width: of the image, px.
        height: of the image, px.
        margin_px: width of the band around the cells; a cell is added, so that each cell lies in the mask with all of its pixels.
    """
    from scipy.ndimage import distance_transform_edt  # slow to import

    x1, y1, x2, y2 = frame_of(box, width, height)
    cell = (x2 - x1) / OUTLINE_SIDE, (y2 - y1) / OUTLINE_SIDE
    distances = np.asarray(distance_transform_edt(~outline, sampling=cell[::-1]), np.float32)
    left, top = math.floor(x1), math.floor(y1)
    right, bottom = min(math.ceil(x2), width), min(math.ceil(y2), height)
    at, share = _weights(top, bottom, y1, cell[1])
    rows = distances[at] * (1 - share)[:, None] + distances[at + 1] * share[:, None]
    at, share = _weights(left, right, x1, cell[0])
    limit = np.float32(margin_px + max(cell))
    mask = np.asarray(rows[:, at] * (1 - share) + rows[:, at + 1] * share <= limit, np.bool_)
    if not mask.any():  # an outline between pixels
        mask[:] = True
    across, down = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    mask = np.ascontiguousarray(mask[down[0] : down[-1] + 1, across[0] : across[-1] + 1])
    extent = (left + int(across[0]), top + int(down[0]), left + int(across[-1]) + 1, top + int(down[-1]) + 1)
    return extent, mask


def _weights(start: int, stop: int, low: float, cell: float) -> _Weights:
    """Return the cell before the middle of each pixel start .. stop - 1, and how far it is from there to the next."""
    places = np.clip((np.arange(start, stop) + 0.5 - low) / cell - 0.5, 0, OUTLINE_SIDE - 1)
    before = np.minimum(places.astype(np.intp), OUTLINE_SIDE - 2)
    return before, (places - before).astype(np.float32)


def outline_of_box(box: Box, width: int, height: int) -> BoolArray:
    """Return the outline that is the whole box."""
    frame = frame_of(box, width, height)
    spans = []
    for axis in (1, 0):
        cell = (frame[axis + 2] - frame[axis]) / OUTLINE_SIDE
        starts = frame[axis] + np.arange(OUTLINE_SIDE) * cell
        spans.append((starts + cell > box[axis]) & (starts < box[axis + 2]))
    cells = np.asarray(spans[0][:, None] & spans[1][None, :], np.bool_)
    return cells if cells.any() else np.ones_like(cells)
