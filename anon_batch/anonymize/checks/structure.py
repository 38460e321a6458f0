"""What a method's result must show before the ladder believes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from anon_batch import geometry
from anon_batch.records import AnonymizedImage, BoolArray, PixelArray, Region

# Share of a face's structure that a treatment may leave by chance: five times the largest that pixelation,
# blur or inpainting left on a thousand faces of photographs (0.02). No treatment leaves 1, a colour leaves 0.
MAX_KEPT_SHARE = 0.1
_SAMPLED_LINES = 256

_Scalar = TypeVar("_Scalar", bound=np.generic)


def fault_of_result(
    before: PixelArray, result: AnonymizedImage, regions: Sequence[Region], method_name: str
) -> str | None:
    """What is wrong with a whole result, or None.

    Args:
        before: (H, W, 3) uint8, what the method was given.
        result: what it returned.
        regions: what it was asked to treat.
        method_name: of the method.
    """
    if fault := _fault_of_arrays(before, result):
        return fault
    asked = {region.index for region in regions}
    if strangers := sorted((set(result.methods) | set(result.refused)) - asked):
        return f"reported faces {strangers[:5]} that it was not asked to treat"
    if names := sorted(set(result.methods.values()) - {method_name}):
        return f"reported methods {names[:5]}, expected {method_name}"
    if _changed_outside(before, result):
        return "changed pixels that it did not report as touched"
    return None


def _fault_of_arrays(before: PixelArray, result: AnonymizedImage) -> str | None:
    if not isinstance(result, AnonymizedImage):
        return f"returned {type(result).__name__}, expected AnonymizedImage"
    if result.pixels.shape != before.shape:
        return f"returned pixels {result.pixels.shape}, expected {before.shape}"
    if result.touched.dtype != np.bool_:
        return f"returned touched of {result.touched.dtype}, expected bool"
    return None


def untreated_faces(before: PixelArray, result: AnonymizedImage, regions: Sequence[Region]) -> dict[int, str]:
    """Faces that the result does not treat: face index -> why.

    A face counts as treated when the method reports it, its whole mask is in `touched`, and at most
    `MAX_KEPT_SHARE` of the mask's structure is still there (`kept_structure`), looked at where no other
    treated mask lies, as those change it too.
    """
    faults: dict[int, str] = {}
    claimed: list[tuple[Region, BoolArray]] = []
    for region in regions:
        if region.index in result.refused or region.index not in result.methods:
            faults[region.index] = result.refused.get(region.index, "not reported as treated")
        else:
            claimed.append((region, geometry.region_mask(region)))
    cover = np.zeros(before.shape[:2], np.uint16) if len(claimed) > 1 else None
    if cover is not None:
        for region, mask in claimed:
            _on(cover, region)[...] += mask
    for region, mask in claimed:
        alone = mask if cover is None else mask & (_on(cover, region) == 1)
        part = alone if bool(alone.any()) else mask
        if bool((mask > _on(result.touched, region)).any()):
            faults[region.index] = "part of the mask is not reported as touched"
        elif (kept := kept_structure(_on(before, region), _on(result.pixels, region), part)) > MAX_KEPT_SHARE:
            faults[region.index] = f"{kept:.0%} of the region's structure is as it was"
    return faults


def kept_structure(before: PixelArray, after: PixelArray, mask: BoolArray) -> float:
    """Share of a region's structure that is still there, 0 to 1.

    Structure is the energy of differences between neighbouring pixels; a pair keeps its part when its
    difference is exactly as before. An untouched region, or one that was only made lighter, keeps 1. One
    painted with a colour keeps 0, however many of its pixels had that colour already, as equal pixels have no
    energy. A region without any structure has nothing to
    keep: 0.

    Args:
        before: (h, w, 3) uint8.
        after: the same.
        mask: (h, w) bool, where to look.
    """
    painted = after[mask]
    if len(painted) and bool((painted == painted[0]).all()):
        return 0.0  # one colour: no pair of neighbours differs, so none keeps its difference
    kept_x, total_x = _kept_along_rows(before, after, mask)
    kept_y, total_y = _kept_along_rows(before.transpose(1, 0, 2), after.transpose(1, 0, 2), mask.T)
    total = total_x + total_y
    return (kept_x + kept_y) / total if total else 0.0


def _kept_along_rows(before: PixelArray, after: PixelArray, mask: BoolArray) -> tuple[int, int]:
    step = max(before.shape[0] // _SAMPLED_LINES, 1)  # a large face is judged by a sample of its rows
    was, became = _steps(before[::step]), _steps(after[::step])
    pairs = mask[::step, 1:] & mask[::step, :-1]
    energy = np.einsum("hwc,hwc->hw", was, was, dtype=np.int64)
    equal = was == became
    same = equal[..., 0] & equal[..., 1] & equal[..., 2]  # all(axis=2), several times faster
    return int(energy[pairs & same].sum()), int(energy[pairs].sum())


def _steps(pixels: PixelArray) -> npt.NDArray[np.int32]:
    levels = pixels.astype(np.int32)
    return levels[:, 1:] - levels[:, :-1]


def _on(array: npt.NDArray[_Scalar], region: Region) -> npt.NDArray[_Scalar]:
    x1, y1, x2, y2 = region.extent
    return array[y1:y2, x1:x2]


def _changed_outside(before: PixelArray, result: AnonymizedImage) -> bool:
    # Comparing whole rows first is fast: few rows of a picture hold a face.
    height = before.shape[0]
    rows = np.flatnonzero((before != result.pixels).reshape(height, -1).any(axis=1))
    if not rows.size:
        return False
    span = slice(int(rows[0]), int(rows[-1]) + 1)
    differs = before[span] != result.pixels[span]
    changed = differs[..., 0] | differs[..., 1] | differs[..., 2]
    return bool((changed & ~result.touched[span]).any())
