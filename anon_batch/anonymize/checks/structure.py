"""`structure`: a region must not keep the fine structure that it had.

It notices a method that did nothing, or next to nothing, whatever the method is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from pydantic import Field

from anon_batch.anonymize.protocol import RegionCheck
from anon_batch.geometry import crop, region_mask
from anon_batch.models.runtime import Runtime
from anon_batch.plugins import PluginOptions
from anon_batch.records import BoolArray, PixelArray, Region

_SAMPLED_LINES = 256


class StructureOptions(PluginOptions):
    """Options of `structure`."""

    max_share: float = Field(
        0.1,
        ge=0,
        le=0.5,
        description="Share of a region's structure that may be left by chance. 0.1 is five times the largest that pixelation, "
        "blur or inpainting left on a thousand faces of photographs (0.02); an untouched region keeps 1.",
    )


class Structure(RegionCheck):
    """Compares the differences between neighbouring pixels before and after."""

    name = "structure"
    Options = StructureOptions

    def __init__(self, options: StructureOptions, runtime: Runtime | None = None) -> None:
        super().__init__(options, runtime)
        self._max_share = options.max_share

    def check(self, before: PixelArray, after: PixelArray, regions: Sequence[Region]) -> Mapping[int, str]:
        """Return the regions that keep more than the allowed share: see `kept_structure`.

        A region is checked where no other of the regions lies, because the other changes it too; or as a whole, when nothing
        of it lies alone.
        """
        faults: dict[int, str] = {}
        masks = [(region, region_mask(region)) for region in regions]
        cover = np.zeros(before.shape[:2], np.uint16) if len(masks) > 1 else None
        if cover is not None:
            for region, mask in masks:
                crop(cover, region.mask_extent)[...] += mask
        for region, mask in masks:
            extent = region.mask_extent
            alone = mask if cover is None else mask & (crop(cover, extent) == 1)
            part = alone if bool(alone.any()) else mask
            kept = kept_structure(crop(before, extent), crop(after, extent), part)
            if kept > self._max_share:
                faults[region.index] = f"{kept:.0%} of the region's structure is as it was"
        return faults


def kept_structure(before: PixelArray, after: PixelArray, mask: BoolArray) -> float:
    """Return the share of a region's structure that is still there, 0 to 1.

    Structure is the energy of differences between neighbouring pixels; a pair keeps its part when its difference is exactly as
    before. A region that is untouched, or was only made lighter, keeps 1. One that shows a single colour keeps 0, however many
    of its pixels had that colour already, because equal pixels have no energy. A region without structure keeps 0.

    Args:
        before: (h, w, 3) uint8.
        after: the same.
        mask: (h, w) bool, where to look.
    """
    shown = after[mask]
    if len(shown) and bool((shown == shown[0]).all()):
        return 0.0  # one colour: no pair of neighbours differs, so none keeps its difference
    kept_x, total_x = _kept_along_rows(before, after, mask)
    kept_y, total_y = _kept_along_rows(before.transpose(1, 0, 2), after.transpose(1, 0, 2), mask.T)
    total = total_x + total_y
    return (kept_x + kept_y) / total if total else 0.0


def _kept_along_rows(before: PixelArray, after: PixelArray, mask: BoolArray) -> tuple[int, int]:
    step = max(before.shape[0] // _SAMPLED_LINES, 1)  # a sample of a large region's rows is enough
    was, became = _differences(before[::step]), _differences(after[::step])
    pairs = mask[::step, 1:] & mask[::step, :-1]
    energy = np.einsum("hwc,hwc->hw", was, was, dtype=np.int64)
    equal = was == became
    same = equal[..., 0] & equal[..., 1] & equal[..., 2]  # all(axis=2), several times faster
    return int(energy[pairs & same].sum()), int(energy[pairs].sum())


def _differences(pixels: PixelArray) -> npt.NDArray[np.int32]:
    levels = pixels.astype(np.int32)
    return levels[:, 1:] - levels[:, :-1]
