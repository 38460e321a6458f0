"""Transparency must hide no face: what a detector sees of it, and what is written of it.

A detector sees the picture over mid-grey. What lies under full transparency, and could be made visible by
anyone, is written as zeros (with a palette: as one entry), unless it is all one colour and so hides nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from anon_batch.records import PixelArray

MID_GREY = 128
ALPHA_MODES = frozenset({"LA", "RGBA", "RGBA;16"})


def over_mid_grey(colour: PixelArray, alpha: PixelArray) -> PixelArray:
    """RGB (H, W, 3) uint8 with alpha (H, W) uint8, as seen on a mid-grey ground."""
    if bool((alpha == 255).all()):
        return np.ascontiguousarray(colour)
    weight = alpha.astype(np.uint16)[..., None]
    # At most 255 * 255 + 127, which just fits 16 bits.
    mixed = colour * weight + MID_GREY * (255 - weight) + 127
    return (mixed // 255).astype(np.uint8)


def hides_colours(native: npt.NDArray[Any], mode: str, palette: PixelArray | None = None) -> bool:
    """Whether fully transparent samples differ among themselves."""
    if mode == "P":
        return palette is not None and len(_transparent_in_use(native, palette)) > 1
    if mode not in ALPHA_MODES:
        return False
    under = native[native[..., -1] == 0][:, :-1]
    return len(under) > 0 and bool((under != under[0]).any())


def without_hidden_colours(native: npt.NDArray[Any], mode: str, palette: PixelArray | None = None) -> npt.NDArray[Any]:
    """The samples with nothing under full transparency; the same array where there is nothing to remove.

    Args:
        native: samples in `mode`, see DecodedImage.
        mode: as DecodedImage.native_mode.
        palette: (N, 4) uint8 RGBA, of mode P.
    """
    if mode == "P" and palette is not None:
        hidden = _transparent_in_use(native, palette)
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


def _transparent_in_use(indices: npt.NDArray[Any], palette: PixelArray) -> npt.NDArray[np.intp]:
    counts = np.bincount(indices.ravel(), minlength=256)[: len(palette)]
    return np.flatnonzero((counts > 0) & (palette[:, 3] == 0))
