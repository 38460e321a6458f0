"""Whether a spliced JPEG is what was meant, as its pixels tell: those that another library's decoder gives.

Outside the exchanged MCUs, and the pixel next to them, which shares in their chroma, every pixel is the source's.
Inside they are those of the sheet, which was written from the new blocks alone and never had any of the source's;
and the sheet's luma is what was meant but for quantisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import simplejpeg

from anon_batch.imaging.jpeg.coefficients import SpliceError
from anon_batch.imaging.jpeg.mcu_patch import Area, Run, Sheet
from anon_batch.records import FloatArray, PixelArray


class SheetPixels(NamedTuple):
    """What a coded sheet holds: (height, width, 3) RGB and (height, width) luma as it is coded."""

    rgb: PixelArray
    luma: PixelArray


def check_sheet(coded: bytes, sheet: Sheet, meant: FloatArray, table: tuple[int, ...]) -> SheetPixels:
    """The pixels of a coded sheet, whose luma is found to be right.

    Args:
        coded: a JPEG of the sheet's size.
        sheet: which it is.
        meant: (height, width) luma around 0.
        table: luma's quantisation steps.

    Raises:
        SpliceError: an MCU is not what was meant, or the file cannot be decoded.
    """
    luma = _decoded(coded, "GRAY")[..., 0]  # what RGB says of it is clipped
    if luma.shape != meant.shape:
        raise SpliceError("the sheet has another size")
    error = cv2.subtract(luma, meant, dtype=cv2.CV_32F) - np.float32(128)
    # Rounding moves a coefficient by half its step at most, and the transform keeps sums of squares
    # (Parseval).
    bound = float(np.sqrt(np.mean(np.square(table, dtype=np.float64)) / 4)) + 2.0
    means = cv2.resize(np.square(error, out=error), (sheet.columns, sheet.rows), interpolation=cv2.INTER_AREA)
    if not bool((means <= bound**2).all()):
        raise SpliceError("treated pixels are not what was meant")
    return SheetPixels(_decoded(coded, "RGB"), luma)


def check_splice(out: bytes, before: PixelArray, sheet: Sheet, pixels: SheetPixels) -> None:
    """Compares a spliced file's pixels with those of the source and those of the sheet.

    Args:
        out: the file.
        before: (H, W, 3) of the source as stored.
        sheet: what was exchanged.
        pixels: from `check_sheet`.

    Raises:
        SpliceError: a pixel is neither, or the file cannot be decoded.
    """
    after = _decoded(out, "RGB")
    if before.shape != after.shape:
        raise SpliceError("the size changed")
    places = [_place(sheet, run, after.shape) for run in sheet.runs]
    _check_inside(out, after, places, sheet, pixels)
    for place in places:
        near = (
            slice(max(place.top - 1, 0), place.top + place.height + 1),
            slice(max(place.left - 1, 0), place.left + place.width + 1),
        )
        after[near] = before[near]
    if _differ(after, before):
        raise SpliceError("pixels outside the touched blocks changed")


class _Place(NamedTuple):
    """What of a run lies in the picture, px, and where that begins on the sheet."""

    top: int
    left: int
    height: int
    width: int
    to_top: int
    to_left: int

    def inner(self, margin: int) -> tuple[Area, Area]:
        """In the picture and on the sheet, less a margin at the sides; empty where nothing is left."""
        height, width = max(self.height - 2 * margin, 0), max(self.width - 2 * margin, 0)
        top, left, to_top, to_left = (at + margin for at in (self.top, self.left, self.to_top, self.to_left))
        here = slice(top, top + height), slice(left, left + width)
        return here, (slice(to_top, to_top + height), slice(to_left, to_left + width))


def _place(sheet: Sheet, run: Run, shape: tuple[int, ...]) -> _Place:
    high, wide = sheet.mcu_height, sheet.mcu_width
    top, left = run.row * high, run.column * wide
    height, width = min(high, shape[0] - top), min(run.columns * wide, shape[1] - left)
    return _Place(top, left, height, width, run.to_row * high, run.to_column * wide)


def _check_inside(out: bytes, after: PixelArray, places: Sequence[_Place], sheet: Sheet, pixels: SheetPixels) -> None:
    # Chroma at a fraction of the resolution is mixed with that of the neighbours, but in the narrowest pictures.
    mixed = int(sheet.finest != (1, 1))
    narrow = mixed == 1 and after.shape[1] <= 2 * sheet.finest[0]
    thin: list[_Place] = []  # so little of an MCU is in the picture that all of it is mixed
    for place in places:
        last = (place.width - 1) % sheet.mcu_width + 1  # of the last MCU
        if narrow or min(place.height, last) <= 2 * mixed:
            thin.append(place)
        here, there = place.inner(mixed)
        if not narrow and after[here].size and _differ(after[here], pixels.rgb[there]):
            raise SpliceError("touched blocks are not the new ones")
    luma = _decoded(out, "GRAY")[..., 0] if thin else pixels.luma  # which is mixed with nothing
    for place in thin:
        here, there = place.inner(0)
        if _differ(luma[here], pixels.luma[there]):
            raise SpliceError("touched blocks at the border are not the new ones")


def _differ(a: PixelArray, b: PixelArray) -> bool:
    return bool(cv2.norm(a, b, cv2.NORM_INF) != 0)  # the largest difference


def _decoded(data: bytes, space: str) -> PixelArray:
    try:
        return np.asarray(simplejpeg.decode_jpeg(data, space, strict=False))
    except ValueError as exc:
        raise SpliceError(f"the result cannot be compared: {exc}") from exc
