"""Compare an output with its source outside the published regions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from anon_batch.geometry import Extent, grow_extent
from anon_batch.imaging.source import SourceImage
from anon_batch.records import BoolArray, PixelArray

Outcome = Literal["equal", "changed in regions", "encoded again", "changed outside", "other size"]
OUTCOMES: tuple[Outcome, ...] = ("equal", "changed in regions", "encoded again", "changed outside", "other size")

_CHROMA_PX = 2  # how far a decoder carries chroma into the next block
_CELL_PX = 16
# Mean difference in a cell, in levels of 255. JPEG of quality 75 to 95 stays below 6 on 212 photographs.
_MAX_CELL_DIFFERENCE = 10.0


def compare(source: SourceImage, output: SourceImage, regions: Sequence[Extent]) -> Outcome:
    """Return how an output differs from its source.

    A JPEG keeps the coefficients of all blocks that no region touches, so its pixels may differ up to one block from a region.
    Where the whole image was encoded again, because the job changes the format or the JPEG is of a kind that cannot be kept
    in part, no cell of 16 px may differ by more than coding does.

    Args:
        source: the image in the source.
        output: the image in the release.
        regions: of the output, px of the upright image.

    Raises:
        FailedError: one of both does not decode.
    """
    if (source.width, source.height) != (output.width, output.height):
        return "other size"
    before, after = source.decode().pixels, output.decode().pixels
    differs: BoolArray = np.any(before != after, axis=2)
    if not differs.any():
        return "equal"
    outside = _outside(source, output, regions)
    if not differs[outside].any():
        return "changed in regions"
    if source.format == output.format and source.format != "JPEG":
        return "changed outside"
    return "encoded again" if _is_coding_noise(before, after, outside) else "changed outside"


def count_inside(width: int, height: int, regions: Sequence[Extent]) -> int:
    """Return how many pixels of an image of this size lie in regions; of those nothing is claimed."""
    inside = np.zeros((height, width), np.bool_)
    for extent in regions:
        x1, y1, x2, y2 = grow_extent(extent, 0, width, height)
        inside[y1:y2, x1:x2] = True
    return int(inside.sum())


def _outside(source: SourceImage, output: SourceImage, regions: Sequence[Extent]) -> BoolArray:
    margin_px = 0
    if source.format == output.format == "JPEG":
        margin_px = max(source.block_px, output.block_px) + _CHROMA_PX
    outside = np.ones((source.height, source.width), np.bool_)
    for extent in regions:
        x1, y1, x2, y2 = grow_extent(extent, margin_px, source.width, source.height)
        outside[y1:y2, x1:x2] = False
    return outside


def _is_coding_noise(before: PixelArray, after: PixelArray, outside: BoolArray) -> bool:
    difference = np.abs(before.astype(np.int16) - after).mean(axis=2) * outside
    sums, counts = _cell_sums(difference), _cell_sums(outside.astype(np.float64))
    enough = counts >= _CELL_PX  # a few pixels of a cell say little
    return bool((sums[enough] <= _MAX_CELL_DIFFERENCE * counts[enough]).all())


def _cell_sums(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    height, width = (-(-side // _CELL_PX) * _CELL_PX for side in values.shape)
    padded = np.zeros((height, width))
    padded[: values.shape[0], : values.shape[1]] = values
    cells: npt.NDArray[np.float64] = padded.reshape(height // _CELL_PX, _CELL_PX, -1, _CELL_PX).sum(axis=(1, 3))
    return cells
