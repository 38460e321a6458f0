"""Move a donor's outline to where the face that it replaces ends: jaw and cheeks reach the mask's border.

A narrower face would leave a gap between jaw and ear for which nothing is known, and a wider one would be cut off. Along rays
from the mask's middle the outer part of the donor is stretched or shrunk; eyes, nose and mouth stay where they are.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from anon_batch.anonymize.faces.align import Crop
from anon_batch.anonymize.faces.seam import RAYS, around, ray_pixels
from anon_batch.records import FloatArray

_FILLED = 0.97  # share of the mask's radius that a face takes at the cheeks and the corners of the jaw
_CHIN = 0.84  # the same straight below, because the mask reaches further down than the chin
_CHIN_WIDTH = 0.5  # radians from straight down at which half of the way between both is left
_MOST, _LEAST = 1.25, 0.85  # factors between the outlines
_FIXED = 0.55  # share of the outline's radius within which nothing moves
_BEND = 1.5  # power of the displacement between there and the outline
_SMOOTH = 1.6  # rays, of the outline


def fill_outline(image: FloatArray, matte: FloatArray, crop: Crop) -> FloatArray:
    """Return a donor's image (side, side, c) with its outline moved.

    Args:
        image: fitted to the crop, float32.
        matte: (side, side) float32 0 .. 1, where it shows its face.
        crop: the place of the new face.
    """
    y, x = ray_pixels(crop.side)
    own = _smooth(_first(matte[y, x] < 0.5))
    mask = _first(crop.distance[y, x] > 0)
    asked = mask * _share()
    lower = _lower()
    target = np.clip(np.clip(own, asked, np.maximum(asked, mask)), own * _LEAST, own * _MOST)
    moved = _smooth(np.asarray((target - own) * lower, np.float32))
    if float(np.abs(moved).max()) < 0.5:
        return image
    own, target = around(own, crop.side), around(own + moved, crop.side)
    grid = np.arange(crop.side, dtype=np.float32) + np.float32(0.5 - crop.side / 2)
    radius = np.maximum(np.hypot(grid[None, :], grid[:, None]), np.float32(0.5))
    fixed = np.minimum(own, target) * np.float32(_FIXED)
    share = np.clip((radius - fixed) / (target - fixed), 0, 1) ** np.float32(_BEND)
    factor = 1 + (own - target) * share / radius
    middle = np.float32(crop.side / 2 - 0.5)
    to_x = np.asarray(grid[None, :] * factor + middle, np.float32)
    to_y = np.asarray(grid[:, None] * factor + middle, np.float32)
    return np.asarray(cv2.remap(image, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _first(beyond: npt.NDArray[np.bool_]) -> FloatArray:
    """Return the radius, px, of the first sample of each ray (rays, samples) that lies beyond; the last one's if none does."""
    found = beyond.any(axis=1)
    return np.asarray(np.where(found, beyond.argmax(axis=1), beyond.shape[1] - 1) + 0.5, np.float32)


def _smooth(values: FloatArray) -> FloatArray:
    reach = math.ceil(3 * _SMOOTH)
    wide = np.concatenate([values[-reach:], values, values[:reach]])
    return np.asarray(cv2.GaussianBlur(wide[None], (0, 0), _SMOOTH)[0, reach:-reach], np.float32)


def _share() -> FloatArray:
    """Return the share of the mask's radius that the face takes along each ray."""
    below = np.arange(RAYS) * (2 * np.pi / RAYS) - np.pi / 2
    near = np.exp(-np.log(2) * (np.arctan2(np.sin(below), np.cos(below)) / _CHIN_WIDTH) ** 2)
    return np.asarray(_FILLED + (_CHIN - _FILLED) * near, np.float32)


def _lower() -> FloatArray:
    """Return 1 for rays to the cheeks and below, falling to 0 for those to the forehead."""
    down = np.sin(np.arange(RAYS) * (2 * np.pi / RAYS))
    return np.asarray(np.clip((down + 0.85) / 0.4, 0, 1), np.float32)
