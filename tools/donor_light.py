"""Even out the light on a donor's face, because most faces that it will stand for are lit evenly."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from anon_batch.anonymize.faces import landmarks
from anon_batch.anonymize.faces.align import warp_affine
from anon_batch.anonymize.faces.surroundings import IDEAL, SIDE
from anon_batch.records import FloatArray, PixelArray

_BLUR = 0.06  # of shading, as a share of the landmark frame's side
_BALANCED = 0.75  # share of the difference between both sides of the face that is taken away
_FLATTENED = 0.2  # share of the remaining shading that is taken away
_FULL, _NONE = 0.8, 1.5  # radii, in units of the face's ellipse, up to which all is evened and from which nothing is
_MOST = 18.0  # of L, a or b by which a pixel changes


def even_light(pixels: PixelArray, points: landmarks.Points, *, balance: bool) -> PixelArray:
    """Return the image with softer shading on the face.

    Args:
        pixels: (side, side, 3) uint8 RGB.
        points: (5, 2) landmarks, px.
        balance: whether the face is seen from the front, so that both of its sides should be equally light.
    """
    to_frame = landmarks.similarity(points[None], IDEAL[None])[0]
    lab = cv2.cvtColor(pixels.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB)
    frame = warp_affine(lab, to_frame, SIDE, cv2.BORDER_REPLICATE)
    shading = cv2.GaussianBlur(frame, (0, 0), _BLUR * SIDE)
    change = _change(shading, balance).clip(-_MOST, _MOST) * _window()[:, :, None]
    back = warp_affine(change, landmarks.inverse(to_frame), pixels.shape[0], cv2.BORDER_REPLICATE)
    rgb = cv2.cvtColor(np.asarray(lab + back, np.float32), cv2.COLOR_LAB2RGB)
    return np.asarray(np.rint(rgb * 255).clip(0, 255), np.uint8)


def _change(shading: FloatArray, balance: bool) -> FloatArray:
    balanced: npt.NDArray[np.floating] = shading
    if balance:
        balanced = shading + _BALANCED * (shading[:, ::-1] - shading) / 2
    inner = _window() > 0.99
    flat = balanced + _FLATTENED * (balanced[inner].mean(axis=0) - balanced)
    return np.asarray(flat - shading, np.float32)


def _window() -> FloatArray:
    """Return where the face lies in the frame, (48, 48) float32, 1 to 0."""
    grid = (np.arange(SIDE) + 0.5) / SIDE - 0.5
    radius = np.hypot(grid[None, :] / (0.74 / 3), grid[:, None] / (1 / 3))
    return np.asarray(np.clip((_NONE - radius) / (_NONE - _FULL), 0, 1), np.float32)
