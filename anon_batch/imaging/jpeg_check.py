"""Whether a spliced JPEG is what was meant, as its pixels tell: those that another library's decoder gives.

Outside the exchanged MCUs, and the pixel next to them, which shares in their chroma, every pixel is the source's.
Inside they are those of the sheet, which was written from the new blocks alone and never had any of the source's;
and the sheet's luma is what was meant but for quantisation.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import simplejpeg

from anon_batch.imaging.jpeg_coefficients import SpliceError
from anon_batch.imaging.jpeg_sheet import Area, Run, Sheet
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
    _check_inside(out, after, sheet, pixels)
    for run in sheet.runs:
        (rows, columns), _ = sheet.areas(run)
        near = slice(max(rows.start - 1, 0), rows.stop + 1), slice(max(columns.start - 1, 0), columns.stop + 1)
        after[near] = before[near]
    if _differ(after, before):
        raise SpliceError("pixels outside the touched blocks changed")


def _check_inside(out: bytes, after: PixelArray, sheet: Sheet, pixels: SheetPixels) -> None:
    # Chroma at a fraction of the resolution is mixed with that of the neighbours, but in the narrowest pictures.
    mixed = int(sheet.finest != (1, 1))
    narrow = mixed == 1 and after.shape[1] <= 2 * sheet.finest[0]
    thin: list[Run] = []  # so little of an MCU is in the picture that all of it is mixed
    for run in sheet.runs:
        (rows, columns), _ = sheet.areas(run)
        seen = min(after.shape[0] - rows.start, after.shape[1] - columns.stop + sheet.mcu_width)
        if narrow or seen <= 2 * mixed:
            thin.append(run)
        here, there = _inner(sheet, run, after.shape, mixed)
        if not narrow and after[here].size and _differ(after[here], pixels.rgb[there]):
            raise SpliceError("touched blocks are not the new ones")
    luma = _decoded(out, "GRAY")[..., 0] if thin else pixels.luma  # which is mixed with nothing
    for run in thin:
        here, there = _inner(sheet, run, after.shape, 0)
        if _differ(luma[here], pixels.luma[there]):
            raise SpliceError("touched blocks at the border are not the new ones")


def _inner(sheet: Sheet, run: Run, shape: tuple[int, ...], margin: int) -> tuple[Area, Area]:
    """Areas of a run in the picture and on the sheet, less a margin at its sides and at the picture's."""
    (rows, columns), (to_rows, to_columns) = sheet.areas(run)
    height = max(min(rows.stop, shape[0]) - rows.start - 2 * margin, 0)
    width = max(min(columns.stop, shape[1]) - columns.start - 2 * margin, 0)
    here = _from(rows.start + margin, height), _from(columns.start + margin, width)
    there = _from(to_rows.start + margin, height), _from(to_columns.start + margin, width)
    return here, there


def _from(start: int, length: int) -> slice:
    return slice(start, start + length)


def _differ(a: PixelArray, b: PixelArray) -> bool:
    return bool(cv2.norm(a, b, cv2.NORM_INF) != 0)  # the largest difference


def _decoded(data: bytes, space: str) -> PixelArray:
    try:
        return np.asarray(simplejpeg.decode_jpeg(data, space, strict=False))
    except ValueError as exc:
        raise SpliceError(f"the result cannot be compared: {exc}") from exc
