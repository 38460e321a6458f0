"""Downscale pixels for detection."""

from __future__ import annotations

import cv2
import numpy as np

from anon_batch.records import PixelArray, Preview

_AREA_BELOW = 0.5  # because bilinear sampling skips source pixels below this factor


def fit_size(width: int, height: int, max_side_px: int) -> tuple[int, int]:
    """Return width and height with the longer side at most `max_side_px`, each at least 1 px."""
    longest = max(width, height)
    if longest <= max_side_px:
        return width, height
    return max(1, round(width * max_side_px / longest)), max(1, round(height * max_side_px / longest))


def resize(pixels: PixelArray, size: tuple[int, int]) -> PixelArray:
    """Return (H, W, 3) uint8 pixels in another size (width, height); the same array if it has that size."""
    height, width = pixels.shape[:2]
    if (width, height) == size:
        return pixels
    method = cv2.INTER_AREA if max(size) < _AREA_BELOW * max(width, height) else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, size, interpolation=method), np.uint8)


def downscale(preview: Preview, max_side_px: int) -> Preview:
    """Return the preview with its longer side at most `max_side_px`; the same object if it is small enough."""
    size = fit_size(preview.width, preview.height, max_side_px)
    if size == (preview.width, preview.height):
        return preview
    return preview.resized(resize(preview.pixels, size))
