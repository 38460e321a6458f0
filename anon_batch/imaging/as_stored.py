"""What readers show that take the samples of a file as they are stored.

`np.asarray` of an image with a palette gives its indices; a cast of 16 bits to 8 keeps the low byte; and who takes three of the
four inks leaves out black. A face may stand in each of them that no composed image shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from anon_batch.records import PixelArray

_LOW = 0xFF


def seen_as_stored(native: npt.NDArray[Any], mode: str) -> list[PixelArray]:
    """Return the stored samples as images of 8 bits, (H, W, 3) uint8 each, where they may differ from the composed image.

    Args:
        native: samples in `mode`.
        mode: as DecodedImage.native_mode.
    """
    if mode == "P":
        return [_grey(native)]
    if mode == "CMYK":
        ink, black = native[..., :3], native[..., 3]
        return [255 - ink, _grey(255 - black)] if bool(black.any()) else []
    if mode.endswith(";16"):
        return _low_bytes(native)
    return []


def _low_bytes(native: npt.NDArray[Any]) -> list[PixelArray]:
    low = (native & _LOW).astype(np.uint8)
    high = (native >> 8).astype(np.uint8)
    if not bool(high.any()) or not bool(low.any()) or bool((low == high).all()):  # 8 bits, or 8 bits spread over 16
        return []
    if low.ndim == 2:
        return [_grey(low)]
    colours = np.ascontiguousarray(low[..., :3])
    return [colours, _grey(low[..., 3])] if low.shape[2] == 4 and bool((low[..., 3] != _LOW).any()) else [colours]


def _grey(plane: npt.NDArray[np.uint8]) -> PixelArray:
    return np.repeat(plane[..., None], 3, axis=2)
