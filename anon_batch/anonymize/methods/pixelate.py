"""`pixelate`: each cell of a coarse grid becomes its mean.

A grid of 8 x 8 cells over a face is what the literature on pixelation attacks counts as strong (McPherson,
Shokri and Shmatikov 2016, "Defeating image obfuscation with deep learning"); the number of cells, not their
size in pixels, bounds what is left of a face.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from anon_batch.anonymize.compose import Extent, longer_side_px, paint
from anon_batch.anonymize.protocol import Batch
from anon_batch.config import AnonymizeConfig
from anon_batch.records import AnonymizedImage, DecodedImage, PixelArray, Region

# Cells of one pixel would leave the smallest faces as they are.
MIN_CELL_PX = 2


class Pixelate:
    """Paints regions with the means of their cells.

    Args:
        cells: across the longer side of the expanded box; fewer where a cell would fall below `MIN_CELL_PX`.
        soft_edge: width of the blend outside the mask, as a share of the region's longer side.
    """

    def __init__(self, cells: int = 8, soft_edge: float = 0.0) -> None:
        self.name = "pixelate"
        self.model_names: tuple[str, ...] = ()
        self._cells = cells
        self._soft_edge = soft_edge

    def anonymize(self, batch: Batch, run_key: bytes) -> list[AnonymizedImage]:
        """Treats every face but those of a single pixel, whose mean is the pixel itself: they are refused."""
        return [self._one(image, regions) for image, regions in batch]

    def _one(self, image: DecodedImage, regions: Sequence[Region]) -> AnonymizedImage:
        refused = {r.index: "a single pixel cannot be pixelated" for r in regions if _is_single_pixel(r)}
        treatable = [region for region in regions if region.index not in refused]

        def treat(region: Region, extent: Extent) -> PixelArray:
            return cell_means(image.pixels, region, extent, self._cells)

        return paint(image, treatable, self._soft_edge, self.name, treat, refused=refused)


def cell_means(pixels: PixelArray, region: Region, extent: Extent, cells: int) -> PixelArray:
    """Means of a region's cells, drawn on `extent`.

    Cells are laid on the region's own extent, all of about the same size; outside of it the nearest cell goes
    on.

    Args:
        pixels: (H, W, 3) uint8, the original picture.
        region: whose cells.
        extent: half-open, holds the region's extent.
        cells: across the longer side.

    Returns:
        (h, w, 3) uint8 on `extent`: a function of the cells' means alone.
    """
    x1, y1, x2, y2 = region.extent
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
    """Cell of each pixel low .. high - 1, counted from the region's first; the nearest cell beyond the
    ends.
    """
    return np.searchsorted(starts, np.maximum(np.arange(low, high), 0), side="right") - 1


def _cell_starts(side_px: int, cell_px: float, cells: int) -> npt.NDArray[np.intp]:
    """First pixel of each cell along one side; every cell spans at least `cell_px`, or the whole side."""
    count = min(max(int(side_px / cell_px), 1), cells)
    return np.arange(count, dtype=np.intp) * side_px // count


def _is_single_pixel(region: Region) -> bool:
    x1, y1, x2, y2 = region.extent
    return (x2 - x1) * (y2 - y1) == 1


def create(config: AnonymizeConfig, store: Any, threads: int, device: str) -> Pixelate:
    """Factory of the registry."""
    return Pixelate(config.cells, config.soft_edge)
