"""Brighten dark images for detection: what a detector does not see, a viewer that stretches levels shows.

Some images are dark as a whole; others hold 10 or 12 bits in 16, and one dead pixel or a border at the full range.
"""

from __future__ import annotations

import math

import numpy as np

from anon_batch.imaging.modes import Samples, to_rgb
from anon_batch.records import DecodedImage, PixelArray

_SHARE = 0.999  # of the levels that are below what is shown as white
_DARK = 0.08  # of the range: from there on CenterFace finds as many faces as in the light
_SAMPLES = 1 << 16


def brighten(pixels: PixelArray) -> PixelArray | None:
    """Return (H, W, 3) uint8 pixels brighter; None where they are not dark, or all black."""
    level = _bright_level(pixels)
    if not 0 < level < _DARK * 255:
        return None
    table = np.minimum(np.arange(256) * 255 // level, 255).astype(np.uint8)
    return np.asarray(table[pixels])


def brighten_wide(decoded: DecodedImage) -> PixelArray | None:
    """Return an image of 16 bits as (H, W, 3) uint8 RGB, brighter; None where it is not dark, or all black."""
    native, mode = decoded.native, decoded.native_mode
    if native is None or not mode.endswith(";16"):
        return None
    level = _bright_level(native[..., :3] if native.ndim == 3 else native)
    return to_rgb(native, mode, white=level) if 0 < level < _DARK * decoded.white else None


def _bright_level(samples: Samples) -> int:
    step = max(1, math.isqrt(samples.shape[0] * samples.shape[1] // _SAMPLES))
    counts = np.cumsum(np.bincount(samples[::step, ::step].ravel()))
    return int(np.searchsorted(counts, _SHARE * counts[-1]))
