"""Bringing treated pixels back into the file's own mode and depth."""

from __future__ import annotations

import numpy as np

from anon_batch.imaging.decode import palette_in
from anon_batch.imaging.modes import Samples
from anon_batch.records import AnonymizedImage, DecodedImage, PixelArray


def merge_native(decoded: DecodedImage, anonymized: AnonymizedImage) -> Samples:
    """The picture in its native mode: outside `touched` every sample is the decoded one, inside it is the
    treated RGB.

    Grey is luma (ITU-R BT.601), 16 bits are v * 257, a palette index is the nearest opaque entry by squared
    RGB distance, one bit is luma at half, CMYK is (255 - R, 255 - G, 255 - B, 0), the inverse of what
    decoding did. Alpha is opaque there.

    Returns:
        An array of the shape and dtype of `decoded.native`, or of `decoded.pixels` when that is None.
    """
    touched, mode = anonymized.touched, decoded.native_mode
    if decoded.native is None:
        out = decoded.pixels.copy()
        out[touched] = anonymized.pixels[touched]
        return out
    out = decoded.native.copy()
    treated = anonymized.pixels[touched]
    if len(treated):
        out[touched] = _in_mode(treated, mode, decoded)
    return out


def luma(rgb: PixelArray) -> PixelArray:
    """(N, 3) or (H, W, 3) uint8 RGB to grey: 0.299 R + 0.587 G + 0.114 B, rounded."""
    weights = np.asarray([19595, 38470, 7471], np.uint32)  # of 65536
    return ((rgb.astype(np.uint32) @ weights + 32768) >> 16).astype(np.uint8)


def _in_mode(rgb: PixelArray, mode: str, decoded: DecodedImage) -> Samples:
    """Treated pixels (N, 3) as native samples (N,) or (N, C)."""
    if mode == "P":
        return _nearest(rgb, palette_in(decoded.source))
    if mode == "CMYK":
        return np.concatenate([255 - rgb, np.zeros((len(rgb), 1), np.uint8)], axis=1)
    colour: Samples = luma(rgb) if mode in ("1", "L", "LA", "I;16") else rgb
    if mode == "1":
        return colour >= 128
    opaque = 255
    if mode.endswith(";16"):
        colour, opaque = colour.astype(np.uint16) * np.uint16(257), 65535
    if mode in ("LA", "RGBA", "RGBA;16"):
        planes = colour[:, None] if colour.ndim == 1 else colour
        return np.concatenate([planes, np.full((len(rgb), 1), opaque, colour.dtype)], axis=1)
    return colour


def _nearest(rgb: PixelArray, palette: PixelArray) -> Samples:
    """Indices (N,) uint8 of the nearest opaque entries; of the nearest of all where none is opaque."""
    entries = palette[:, :3].astype(np.int32)
    usable = palette[:, 3] == 255
    penalty = np.where(usable, 0, 1 << 20)
    colours, places = np.unique(rgb, axis=0, return_inverse=True)
    found = np.empty(len(colours), np.uint8)
    for start in range(0, len(colours), 4096):  # bounds the (4096, 256, 3) table of differences
        part = colours[start : start + 4096].astype(np.int32)
        distance = ((part[:, None] - entries[None]) ** 2).sum(axis=2) + penalty
        found[start : start + 4096] = distance.argmin(axis=1)
    return found[places.ravel()]
