"""Brighten dark images, and spread pale ones, for detection: what a detector does not see, a viewer that stretches levels shows.

Some images are dark as a whole, or all of nearly one grey; others hold 10 or 12 bits in 16, and one dead pixel or a border at
the full range.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from anon_batch.imaging.modes import Samples, to_rgb
from anon_batch.records import DecodedImage, PixelArray

_SHARE = 0.999  # of the levels that are below what is shown as white, and above what is shown as black
_DARK = 0.08  # of the range: from there on CenterFace finds as many faces as in the light
_SAMPLES = 1 << 16


def brighten(pixels: PixelArray) -> PixelArray | None:
    """Return (H, W, 3) uint8 pixels with more contrast; None where they are neither dark nor of nearly one grey, or all equal."""
    low, high = _levels(pixels)
    if not 0 < high - low < _DARK * 255:
        return None
    table = np.clip((np.arange(256) - low) * 255 // (high - low), 0, 255).astype(np.uint8)
    return np.asarray(table[pixels])


def brighten_wide(decoded: DecodedImage) -> PixelArray | None:
    """Return an image of 16 bits as (H, W, 3) uint8 RGB with more contrast; None as for `brighten`."""
    native, mode = decoded.native, decoded.native_mode
    if native is None or not mode.endswith(";16"):
        return None
    colours = native[..., :3] if native.ndim == 3 else native
    low, high = _levels(colours)
    if not 0 < high - low < _DARK * decoded.white:
        return None
    spread = np.maximum(colours, low) - low
    if native.ndim == 3:  # with the alpha that it has
        spread = np.concatenate([spread, native[..., 3:]], axis=2)
    return to_rgb(spread, mode, white=high - low)


def _levels(samples: Samples) -> tuple[int, int]:
    """Return what is shown as black, and what as white."""
    step = max(1, math.isqrt(samples.shape[0] * samples.shape[1] // _SAMPLES))
    some = samples[::step, ::step].reshape(-1)
    # OpenCV counts bytes ten times faster, as float32, which is exact for these numbers.
    counts = np.cumsum(
        cv2.calcHist([some], [0], None, [256], [0, 256]) if some.dtype == np.uint8 else np.bincount(some)
    )
    low, high = (int(np.searchsorted(counts, share * counts[-1])) for share in (1 - _SHARE, _SHARE))
    return low, high
