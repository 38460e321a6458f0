"""Foresee how well donors would blend: how much of each would be painted over, and where its skin would end in a step.

The same rules as in `blend`, on the grid of `cells`, for many donors at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from anon_batch.anonymize.faces.cells import CELLS, LAB_STEP, MATTE_STEPS, shrink, whole_colours
from anon_batch.anonymize.faces.colour import skin_likeness
from anon_batch.anonymize.faces.surroundings import ASPECT, CONTEXT, Surroundings
from anon_batch.records import BoolArray, FloatArray

_KNOWN_SHARE = 0.98  # a cell is known when at least this share of it is
_REACH = 1.5  # radius, in units of the ideal box, within which unknown cells count as the new face's
_ANCHOR = 4.0  # cells of skin that count as much as the asked tone
_MISMATCH = (5.0, 14.0)  # Lab units left at the border from which, and at which, what is no face is painted over
_STEP = (9.0, 22.0)  # the same, from which, and at which, a step in skin shows fully
_LIGHTNESS_WEIGHT = np.float32(0.6)  # of a squared difference of L

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Border:
    """The cells around a mask, and which of them each cell inside is nearest to.

    Args:
        cells: (b,) indices into the flat grid of the known cells beside the mask.
        colours: (b, 3) float32 Lab.
        skin: (b,) float32, their likeness to skin.
        inner: (i,) indices of the cells inside the mask.
        nearest: (i,) for each of them, the position in `cells` of the nearest.
        beside: (i,) bool, whether it touches the border.
    """

    cells: npt.NDArray[np.intp]
    colours: FloatArray
    skin: FloatArray
    inner: npt.NDArray[np.intp]
    nearest: npt.NDArray[np.intp]
    beside: BoolArray


def border_of(place: Surroundings) -> Border:
    """Return the border of a face's mask."""
    from scipy.ndimage import distance_transform_edt  # slow to import

    known = shrink(place.known.astype(np.float32)) >= _KNOWN_SHARE
    inner = ~known & _reached()
    around = np.ones((3, 3), np.uint8)
    border = known & (cv2.dilate(inner.astype(np.uint8), around) > 0)
    if not border.any() or not inner.any():
        nothing = np.zeros(0, np.intp)
        return Border(nothing, np.zeros((0, 3), np.float32), np.zeros(0, np.float32), nothing, nothing, nothing > 0)
    cells, inside = np.flatnonzero(border), np.flatnonzero(inner)
    y, x = distance_transform_edt(~border, return_distances=False, return_indices=True)
    position = np.zeros(CELLS * CELLS, np.intp)
    position[cells] = np.arange(len(cells))
    nearest = position[(y * CELLS + x).ravel()[inside]]
    beside = (cv2.dilate(border.astype(np.uint8), around) > 0).ravel()[inside]
    colours = _lab(whole_colours(place.lab).reshape(-1, 3)[cells])
    return Border(cells, colours, skin_likeness(colours), inside, nearest, np.asarray(beside, np.bool_))


def foresee(
    border: Border, colours: FloatArray, faces: FloatArray, inside: BoolArray, asked: Array
) -> tuple[Array, Array, Array]:
    """Return how much of each donor would not fit, (n,) each 0 .. 1.

    The share that would be painted over; of its border, where skin would meet other skin in a step; and where its face would be
    cut off by something that is no skin.

    Args:
        border: of the place.
        colours: (n, 24, 24, 3) whole numbers, the donors.
        faces: (n, 24, 24) 0 .. 7, where they show face.
        inside: (n, 24, 24) bool, which cells lie inside their images.
        asked: (n, 3) Lab, what is added to a donor where its surroundings show no skin.
    """
    count = len(colours)
    if not len(border.cells):
        return np.zeros(count), np.zeros(count), np.zeros(count)
    flat = colours.reshape(count, -1, 3)
    face = faces.reshape(count, -1) / MATTE_STEPS
    valid = inside.reshape(count, -1)[:, border.cells]
    offset = border.colours - _lab(flat[:, border.cells])
    both = face[:, border.cells] * border.skin * valid
    total = _sum(both[:, None] * offset.transpose(0, 2, 1))
    reference = (_ANCHOR * asked + total) / (_ANCHOR + _sum(both)[:, None])
    left = offset - reference[:, None].astype(np.float32)
    residual = np.sqrt(_LIGHTNESS_WEIGHT * left[:, :, 0] ** 2 + left[:, :, 1] ** 2 + left[:, :, 2] ** 2)
    residual = np.where(valid, residual, np.float32(60))[:, border.nearest]
    own = face[:, border.inner]
    painted = _ramp(residual, *_MISMATCH) * (1 - own)
    # A bare forehead that ends at hair, or a cheek at a wall, ends where the mask does, and shows its shape.
    ends = _ramp(residual, *_STEP) * own * border.beside
    beside, skin = max(int(border.beside.sum()), 1), border.skin[border.nearest]
    return _sum(painted) / own.shape[1], _sum(ends * skin) / beside, _sum(ends * (1 - skin)) / beside


def _reached() -> BoolArray:
    grid = (np.arange(CELLS) + 0.5) / CELLS - 0.5
    half = 0.5 / CONTEXT
    return np.asarray(np.hypot(grid[None, :] / (half * ASPECT), grid[:, None] / half) < _REACH, np.bool_)


def _sum(values: FloatArray) -> Array:
    """Return sums over the last axis; each row is added alike, however many there are and however they lie in memory."""
    return np.asarray(np.ascontiguousarray(values, np.float64).sum(axis=-1), np.float64)


def _lab(steps: FloatArray) -> FloatArray:
    return np.asarray(steps * np.float32(LAB_STEP) + np.array([50, 0, 0], np.float32), np.float32)


def _ramp(values: FloatArray, low: float, high: float) -> FloatArray:
    return np.asarray(np.clip((values - low) / (high - low), 0, 1), np.float32)
