"""Check a spliced JPEG by decoding it with another library.

Outside the replaced MCUs, and the pixel next to them, which shares in their chroma, every pixel must be the source's.
Inside they must be those of the patch, which was written from the new blocks alone and never held any of the source's;
and the patch's luma must be what was expected except for quantisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import simplejpeg

from anon_batch.imaging.jpeg.coefficients import SpliceError
from anon_batch.imaging.jpeg.mcu_patch import Area, McuPatch, McuRun
from anon_batch.records import FloatArray, PixelArray


class PatchPixels(NamedTuple):
    """The pixels of a coded patch: (height, width, 3) RGB, and (height, width) luma as it is coded."""

    rgb: PixelArray
    luma: PixelArray


def check_patch(coded: bytes, patch: McuPatch, expected: FloatArray, table: tuple[int, ...]) -> PatchPixels:
    """Decode a coded patch and check its luma.

    Args:
        coded: a JPEG of the patch's size.
        patch: the patch.
        expected: (height, width) luma around 0.
        table: luma's quantisation steps.

    Raises:
        SpliceError: an MCU differs from what is expected, or the file cannot be decoded.
    """
    luma = _decode(coded, "GRAY")[..., 0]  # because RGB is clipped
    if luma.shape != expected.shape:
        raise SpliceError("the patch has another size")
    error = cv2.subtract(luma, expected, dtype=cv2.CV_32F) - np.float32(128)
    # Rounding moves a coefficient by half its step at most, and the transform keeps sums of squares
    # (Parseval).
    bound = float(np.sqrt(np.mean(np.square(table, dtype=np.float64)) / 4)) + 2.0
    means = cv2.resize(np.square(error, out=error), (patch.columns, patch.rows), interpolation=cv2.INTER_AREA)
    if not bool((means <= bound**2).all()):
        raise SpliceError("anonymized pixels differ from what was expected")
    return PatchPixels(_decode(coded, "RGB"), luma)


def check_splice(out: bytes, before: PixelArray, patch: McuPatch, pixels: PatchPixels) -> None:
    """Compare a spliced file's pixels with those of the source and those of the patch.

    Args:
        out: the file.
        before: (H, W, 3) pixels of the source, as stored.
        patch: what was replaced.
        pixels: from `check_patch`.

    Raises:
        SpliceError: a pixel is neither, or the file cannot be decoded.
    """
    after = _decode(out, "RGB")
    if before.shape != after.shape:
        raise SpliceError("the size changed")
    places = [_place_run(patch, run, after.shape) for run in patch.runs]
    _check_inside(out, after, places, patch, pixels)
    for place in places:
        near = (
            slice(max(place.top - 1, 0), place.top + place.height + 1),
            slice(max(place.left - 1, 0), place.left + place.width + 1),
        )
        after[near] = before[near]
    if _differ(after, before):
        raise SpliceError("pixels outside the touched blocks changed")


class _Place(NamedTuple):
    """The part of a run that lies inside the image, px, and where it begins in the patch."""

    top: int
    left: int
    height: int
    width: int
    to_top: int
    to_left: int

    def inner(self, margin: int) -> tuple[Area, Area]:
        """Return the area in the image and in the patch without a margin at the sides; empty where nothing is left."""
        height, width = max(self.height - 2 * margin, 0), max(self.width - 2 * margin, 0)
        top, left, to_top, to_left = (at + margin for at in (self.top, self.left, self.to_top, self.to_left))
        source = slice(top, top + height), slice(left, left + width)
        return source, (slice(to_top, to_top + height), slice(to_left, to_left + width))


def _place_run(patch: McuPatch, run: McuRun, shape: tuple[int, ...]) -> _Place:
    high, wide = patch.mcu_height, patch.mcu_width
    top, left = run.row * high, run.column * wide
    height, width = min(high, shape[0] - top), min(run.columns * wide, shape[1] - left)
    return _Place(top, left, height, width, run.to_row * high, run.to_column * wide)


def _check_inside(
    out: bytes, after: PixelArray, places: Sequence[_Place], patch: McuPatch, pixels: PatchPixels
) -> None:
    # Subsampled chroma is mixed with that of the neighbours, except in the narrowest images.
    mixed = int(patch.finest != (1, 1))
    narrow = mixed == 1 and after.shape[1] <= 2 * patch.finest[0]
    thin: list[_Place] = []  # runs with so little inside the image that all of it is mixed
    for place in places:
        last = (place.width - 1) % patch.mcu_width + 1  # width of the last MCU
        if narrow or min(place.height, last) <= 2 * mixed:
            thin.append(place)
        source, target = place.inner(mixed)
        if not narrow and after[source].size and _differ(after[source], pixels.rgb[target]):
            raise SpliceError("touched blocks are not the new ones")
    luma = _decode(out, "GRAY")[..., 0] if thin else pixels.luma  # because luma is never mixed
    for place in thin:
        source, target = place.inner(0)
        if _differ(luma[source], pixels.luma[target]):
            raise SpliceError("touched blocks at the border are not the new ones")


def _differ(a: PixelArray, b: PixelArray) -> bool:
    return bool(cv2.norm(a, b, cv2.NORM_INF) != 0)  # the largest difference


def _decode(data: bytes, space: str) -> PixelArray:
    try:
        return np.asarray(simplejpeg.decode_jpeg(data, space, strict=False))
    except ValueError as exc:
        raise SpliceError(f"the result cannot be compared: {exc}") from exc
