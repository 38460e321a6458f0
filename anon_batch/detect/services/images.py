"""Encode pixels as a service takes them: a JPEG without metadata, within the service's limits."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from anon_batch.detect.protocol import FAILURE
from anon_batch.errors import WithheldError
from anon_batch.imaging.downscale import fit_size, resize
from anon_batch.records import PixelArray

_QUALITIES = (95, 85)
_SMALLER = 0.8  # factor of the sides where the file is too large
_STEPS = 8


@dataclass(frozen=True, slots=True)
class Limits:
    """What a service takes.

    Args:
        max_side_px: longest side to send.
        min_side_px: shortest side that it takes; smaller images are padded with black, right and below.
        max_bytes: of the file.
    """

    max_side_px: int
    min_side_px: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class SentImage:
    """A file to send.

    Args:
        data: JPEG.
        width, height: of the file, px, with padding.
        stretch: factors (across, down) by which the image was resized.
    """

    data: bytes
    width: int
    height: int
    stretch: tuple[float, float]


def encode_for(pixels: PixelArray, limits: Limits) -> SentImage:
    """Return an image (H, W, 3) RGB as a file within limits. It holds pixels alone: no metadata, no name.

    Raises:
        WithheldError: it cannot be encoded small enough.
    """
    height, width = pixels.shape[:2]
    longest = min(max(width, height), limits.max_side_px)
    for _ in range(_STEPS):
        size = fit_size(width, height, longest)
        shown = _padded(resize(pixels, size), limits.min_side_px)
        for quality in _QUALITIES:
            encoded, file = cv2.imencode(
                ".jpg", np.ascontiguousarray(shown[:, :, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality]
            )
            if encoded and len(file) <= limits.max_bytes:
                stretch = size[0] / width, size[1] / height
                return SentImage(file.tobytes(), shown.shape[1], shown.shape[0], stretch)
        longest = round(longest * _SMALLER)
    raise WithheldError(FAILURE, f"no JPEG of at most {limits.max_bytes:,} bytes can be made of the image")


def _padded(pixels: PixelArray, side_px: int) -> PixelArray:
    missing = [max(0, side_px - side) for side in pixels.shape[:2]]
    return np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0))) if any(missing) else pixels
