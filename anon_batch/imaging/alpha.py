"""Composite transparent images for detectors, and erase what transparency hides.

A detector sees the image over mid-grey. Anyone could make visible what lies under full transparency, so it is
written as zeros (in a palette image: as one entry), unless it is all one colour and so hides nothing. What lies under
little opacity stays, so detectors also see the colours alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from anon_batch.records import PixelArray

MID_GREY = 128
ALPHA_MODES = frozenset({"LA", "RGBA", "RGBA;16"})


def composite_over_grey(colour: PixelArray, alpha: PixelArray) -> PixelArray:
    """Composite RGB (H, W, 3) uint8 with alpha (H, W) uint8 over mid-grey."""
    if bool((alpha == 255).all()):
        return np.ascontiguousarray(colour)
    weight = alpha.astype(np.uint16)[..., None]
    # At most 255 * 255 + 127, which fits 16 bits.
    mixed = colour * weight + MID_GREY * (255 - weight) + 127
    return (mixed // 255).astype(np.uint8)


def seen_without_compositing(
    native: npt.NDArray[Any], mode: str, palette: PixelArray | None, to_8_bits: Callable[[npt.NDArray[Any]], PixelArray]
) -> list[PixelArray]:
    """Return what readers show that drop transparency instead of compositing: (H, W, 3) uint8 each.

    These are the colours as they would be published, without what `erase_hidden_colours` takes away, and, where alpha has
    more values than clear and opaque, alpha itself as grey over its range.

    Args:
        native: samples in `mode`.
        mode: as for `erase_hidden_colours`.
        palette: as for `erase_hidden_colours`.
        to_8_bits: converts samples of `native`'s dtype.

    Returns:
        Nothing for an image that is opaque everywhere.
    """
    if mode == "P" and palette is not None:
        entries = np.concatenate([palette, np.full((256 - len(palette), 4), (0, 0, 0, 255), np.uint8)])
        native, mode = entries[native], "RGBA"
    if mode not in ALPHA_MODES:
        return []
    alpha = native[..., -1]
    opaque = np.iinfo(alpha.dtype).max
    if bool((alpha == opaque).all()):
        return []
    visible = erase_hidden_colours(native, mode) if has_hidden_colours(native, mode) else native
    eight = to_8_bits(visible)
    views = [np.ascontiguousarray(eight[..., [0, 0, 0] if mode == "LA" else [0, 1, 2]])]
    if bool(((alpha != opaque) & (alpha != 0)).any()):
        least, most = int(alpha.min()), int(alpha.max())
        grey = ((alpha.astype(np.uint32) - least) * 255 // max(most - least, 1)).astype(np.uint8)
        views.append(np.repeat(grey[..., None], 3, axis=2))
    return views


def has_hidden_colours(native: npt.NDArray[Any], mode: str, palette: PixelArray | None = None) -> bool:
    """Return whether fully transparent samples differ among themselves. See `erase_hidden_colours` for the arguments."""
    if mode == "P":
        return palette is not None and len(_used_transparent_entries(native, palette)) > 1
    if mode not in ALPHA_MODES:
        return False
    hidden = native[native[..., -1] == 0][:, :-1]
    return len(hidden) > 0 and bool((hidden != hidden[0]).any())


def erase_hidden_colours(native: npt.NDArray[Any], mode: str, palette: PixelArray | None = None) -> npt.NDArray[Any]:
    """Return the samples with nothing under full transparency; the same array where there is nothing to erase.

    Args:
        native: samples in `mode`, see DecodedImage.
        mode: as DecodedImage.native_mode.
        palette: (N, 4) uint8 RGBA, of mode P.
    """
    if mode == "P" and palette is not None:
        hidden = _used_transparent_entries(native, palette)
        if len(hidden) < 2:
            return native
        merged: npt.NDArray[Any] = np.arange(256, dtype=np.uint8)
        merged[hidden] = hidden[0]
        return np.asarray(merged[native])
    if mode not in ALPHA_MODES:
        return native
    clear = native[..., -1] == 0
    if not bool(clear.any()):
        return native
    out = native.copy()
    out[clear] = 0
    return out


def _used_transparent_entries(indices: npt.NDArray[Any], palette: PixelArray) -> npt.NDArray[np.intp]:
    counts = np.bincount(indices.ravel(), minlength=256)[: len(palette)]
    return np.flatnonzero((counts > 0) & (palette[:, 3] == 0))
