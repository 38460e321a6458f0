"""`pixelate`: each cell of a coarse grid becomes its mean.

A grid of 8 x 8 cells over a face is what the literature on pixelation attacks counts as strong (McPherson, Shokri and
Shmatikov 2016, "Defeating image obfuscation with deep learning"). The number of cells, not their size in pixels, limits what is
left of a face.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import Field

from anon_batch.anonymize.protocol import Method, Patch, Refusal, Target
from anon_batch.geometry import longer_side_px
from anon_batch.models.runtime import Runtime
from anon_batch.plugins import PluginOptions
from anon_batch.records import PixelArray, Region

# Cells of one pixel would leave the smallest regions as they are.
MIN_CELL_PX = 2


class PixelateOptions(PluginOptions):
    """Options of `pixelate`."""

    cells: int = Field(
        8,
        ge=2,
        le=64,
        description=f"Cells across the region's longer side; fewer where a cell would be smaller than {MIN_CELL_PX} px.",
    )


class Pixelate(Method):
    """Renders the means of a region's cells."""

    name = "pixelate"
    sees_original = True
    Options = PixelateOptions

    def __init__(self, options: PixelateOptions, runtime: Runtime) -> None:
        super().__init__(options, runtime)
        self._cells = options.cells

    def render(self, targets: Sequence[Target]) -> list[Patch | Refusal]:
        """Return a patch for every target, except for a single pixel, whose mean is the pixel itself."""
        return [self._render_one(target) for target in targets]

    def _render_one(self, target: Target) -> Patch | Refusal:
        if _is_single_pixel(target.region):
            return Refusal("a single pixel cannot be pixelated")
        return Patch(cell_means(target.pixels, target.region, self._cells))


def cell_means(pixels: PixelArray, region: Region, cells: int) -> PixelArray:
    """Return the means of a region's cells on its extent, (h, w, 3) uint8: a function of these means alone.

    The cells divide the mask's extent into parts of about the same size; the soft edge outside continues the nearest cell.

    Args:
        pixels: (H, W, 3) uint8, the image.
        region: to divide into cells.
        cells: across the longer side.
    """
    x1, y1, x2, y2 = region.mask_extent
    extent = region.extent
    cell_px = max(longer_side_px(region) / cells, MIN_CELL_PX)
    rows = _cell_starts(y2 - y1, cell_px, cells)
    columns = _cell_starts(x2 - x1, cell_px, cells)
    sums = np.add.reduceat(pixels[y1:y2, x1:x2], rows, axis=0, dtype=np.uint32)
    sums = np.add.reduceat(sums, columns, axis=1, dtype=np.uint64)
    counts = np.diff(rows, append=y2 - y1)[:, None] * np.diff(columns, append=x2 - x1)[None, :]
    means = np.rint(sums / counts[:, :, None]).astype(np.uint8)
    at_row = _cells_at(rows, extent[1] - y1, extent[3] - y1)
    at_column = _cells_at(columns, extent[0] - x1, extent[2] - x1)
    return np.asarray(np.take(np.take(means, at_row, axis=0), at_column, axis=1), np.uint8)


def _cells_at(starts: npt.NDArray[np.intp], low: int, high: int) -> npt.NDArray[np.intp]:
    """Return the cell of each pixel low .. high - 1, counted from the mask's first pixel; beyond the ends the nearest cell."""
    return np.searchsorted(starts, np.maximum(np.arange(low, high), 0), side="right") - 1


def _cell_starts(side_px: int, cell_px: float, cells: int) -> npt.NDArray[np.intp]:
    """Return the first pixel of each cell along one side; every cell spans at least `cell_px`, or the whole side."""
    count = min(max(int(side_px / cell_px), 1), cells)
    return np.arange(count, dtype=np.intp) * side_px // count


def _is_single_pixel(region: Region) -> bool:
    x1, y1, x2, y2 = region.mask_extent
    return (x2 - x1) * (y2 - y1) == 1
