"""Show one synthetic face as the bank of donors needs it: upright image, thumbnail in the landmark frame, and what is real."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from anon_batch.anonymize.faces import landmarks
from anon_batch.records import FloatArray, PixelArray
from anon_batch.train.face_crops import FaceCrop

SIDE = 208  # px of a donor's image
REACH = 1.6  # side of a donor's image in units of the box's longer side
FRAME_SIDE = 48  # px of the landmark frame
FRAME_POINTS = ((landmarks.CANONICAL - 0.5) * [0.74 / 1.5, 1 / 1.5] + 0.5) * FRAME_SIDE  # landmarks in the frame
_SAMPLES = 4  # per axis and pixel, averaged against aliasing
_INSIDE = 0.999  # share of a pixel that must be real
_LEAST_ROWS = 6  # of a mirrored border; fewer cannot be distinguished from a smooth background
_UNLIKE, _UNLIKE_LEVELS = (
    0.15,
    4.0,
)  # most by which a mirrored border differs: share of the unmirrored difference; of 255

Points = npt.NDArray[np.float64]


def donor_image(face: FaceCrop) -> tuple[PixelArray, Points, Points]:
    """Return the face as a donor: image (208, 208, 3) uint8 RGB, its box (4,) and its landmarks (5, 2), px.

    The box lies in the middle. Beyond the crop its last pixels are repeated.
    """
    box = face.box.astype(np.float64)
    scale = SIDE / (REACH * float((box[2:] - box[:2]).max()))
    shift = SIDE / 2 - scale * (box[:2] + box[2:]) / 2
    transform = np.concatenate([np.eye(2) * scale, shift[:, None]], axis=1)
    points = landmarks.apply(transform, face.points.astype(np.float64))
    return _warp_bytes(face.pixels, transform, SIDE), box * scale + np.tile(shift, 2), points


def thumbnail(face: FaceCrop) -> tuple[PixelArray, PixelArray]:
    """Return the face in the landmark frame, (48, 48, 3) 8-bit Lab, and which pixels are real, (48, 48) uint8 0 or 1."""
    to = landmarks.similarity(face.points.astype(np.float64), FRAME_POINTS)
    lab = cv2.cvtColor(_warp_bytes(face.pixels, to, FRAME_SIDE), cv2.COLOR_RGB2LAB)
    real = _warp(real_pixels(face.pixels), to, FRAME_SIDE, cv2.BORDER_CONSTANT)
    return np.asarray(lab, np.uint8), (real > _INSIDE).astype(np.uint8)


def lab_of(thumbnails: PixelArray) -> FloatArray:
    """Return 8-bit Lab (..., 3) as float32 with L 0 .. 100."""
    scale, shift = np.array([100 / 255, 1, 1], np.float32), np.array([0, 128, 128], np.float32)
    return np.asarray((thumbnails.astype(np.float32) - shift) * scale, np.float32)


def real_pixels(pixels: PixelArray) -> FloatArray:
    """Return (height, width) float32: 0 in borders that mirror what lies beside them, as padding does, and 1 elsewhere."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    real = np.ones(grey.shape, np.float32)
    for turns in range(4):
        np.rot90(real, turns)[: mirrored_rows(np.rot90(grey, turns))] = 0
    return real


def mirrored_rows(grey: FloatArray) -> int:
    """Return how many rows at the top of an image mirror those below them, at most a quarter; 0 where none do."""
    for count in range(len(grey) // 4, _LEAST_ROWS - 1, -1):
        border, plain = grey[:count], grey[count : 2 * count]
        mirrored = border[::-1]
        unlike = min(float(np.abs(mirrored - below).mean()) for below in (plain, grey[count + 1 : 2 * count + 1]))
        if unlike < min(_UNLIKE * float(np.abs(border - plain).mean()), _UNLIKE_LEVELS):
            return count
    return 0


def _warp_bytes(pixels: PixelArray, transform: Points, side: int) -> PixelArray:
    values = _warp(pixels.astype(np.float32), transform, side, cv2.BORDER_REPLICATE)
    return np.asarray(np.rint(values).clip(0, 255), np.uint8)


def _warp(values: FloatArray, transform: Points, side: int, border: int) -> FloatArray:
    """Warp by a transform (2, 3) of px whose origin is the image's corner; each pixel is the mean of its samples."""
    fine = transform * _SAMPLES
    fine[:, 2] += fine[:, :2] @ [0.5, 0.5] - 0.5  # because OpenCV's origin is the middle of the first pixel
    size = (side * _SAMPLES, side * _SAMPLES)
    large = cv2.warpAffine(values, fine, size, flags=cv2.INTER_LINEAR, borderMode=border)
    return np.asarray(cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA), np.float32)
