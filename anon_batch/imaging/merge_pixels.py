"""Write anonymized RGB pixels back into the file's own mode and depth."""

from __future__ import annotations

import numpy as np

from anon_batch.imaging.modes import FULL_RANGE, Samples, luma
from anon_batch.records import AnonymizedImage, DecodedImage, PixelArray


def merge_native(decoded: DecodedImage, anonymized: AnonymizedImage) -> Samples:
    """Return the image in its native mode, with anonymized pixels where `touched` is set and decoded samples elsewhere.

    Grey is luma (ITU-R BT.601), 16 bits are v * white / 255, a palette index is the nearest opaque entry by squared
    RGB distance, one bit is luma at half, CMYK is (255 - R, 255 - G, 255 - B, 0), the inverse of decoding.
    Touched pixels become opaque.

    Returns:
        An array of the shape and dtype of `decoded.native`, or of `decoded.pixels` when that is None.
    """
    touched = anonymized.touched
    if decoded.native is None:
        out = decoded.pixels.copy()
        out[touched] = anonymized.pixels[touched]
        return out
    out = decoded.native.copy()
    changed = anonymized.pixels[touched]
    if len(changed):
        out[touched] = _to_mode(changed, decoded.native_mode, decoded.palette, decoded.white)
    return out


def _to_mode(rgb: PixelArray, mode: str, palette: PixelArray | None, white: int) -> Samples:
    """Convert pixels (N, 3) to native samples (N,) or (N, C)."""
    if mode == "P":
        if palette is None:
            raise ValueError("an image of mode P without a palette")
        return _find_nearest(rgb, palette)
    if mode == "CMYK":
        return np.concatenate([255 - rgb, np.zeros((len(rgb), 1), np.uint8)], axis=1)
    colour: Samples = luma(rgb) if mode in ("1", "L", "LA", "I;16") else rgb
    if mode == "1":
        return colour >= 128
    opaque = 255
    if mode.endswith(";16"):
        colour, opaque = ((colour.astype(np.uint32) * white + 127) // 255).astype(np.uint16), FULL_RANGE
    if mode in ("LA", "RGBA", "RGBA;16"):
        planes = colour[:, None] if colour.ndim == 1 else colour
        return np.concatenate([planes, np.full((len(rgb), 1), opaque, colour.dtype)], axis=1)
    return colour


def _find_nearest(rgb: PixelArray, palette: PixelArray) -> Samples:
    """Return (N,) uint8: the index of the nearest opaque entry, or of the nearest one where none is opaque."""
    entries = palette[:, :3].astype(np.int32)
    penalty = np.where(palette[:, 3] == 255, 0, 1 << 20)
    colours, places = np.unique(rgb, axis=0, return_inverse=True)
    nearest = np.empty(len(colours), np.uint8)
    for start in range(0, len(colours), 4096):  # bounds the (4096, 256, 3) table of differences
        part = colours[start : start + 4096].astype(np.int32)
        distance = ((part[:, None] - entries[None]) ** 2).sum(axis=2) + penalty
        nearest[start : start + 4096] = distance.argmin(axis=1)
    return nearest[places.ravel()]
