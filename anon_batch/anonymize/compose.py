"""Write patches into an image: the one place where anonymized pixels are made.

What holds for any regions, overlapping or not:

- Every pixel of every mask ends with a value that a method rendered for a region whose mask it is in.
- Where masks overlap, the region of the higher rank wins, and a region that is done already wins over all that follow. What a
  patch shows wins over what another shows behind it.
- A soft edge changes only pixels that lie in no mask of the image, so that a neighbour's blend cannot bring an original value
  back.
- No pixel outside a region's extent changes, because nothing else is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from anon_batch.anonymize.protocol import Overlap, Patch
from anon_batch.geometry import crop, longer_side_px, region_mask, soft_alpha, union_of_masks
from anon_batch.records import BoolArray, FloatArray, PixelArray, Region

_RANKS: Mapping[Overlap, Callable[[Region], float]] = {"larger": longer_side_px, "surer": lambda region: region.score}


def compose(
    before: PixelArray,
    patches: Sequence[tuple[Region, Patch]],
    regions: Sequence[Region],
    done: Sequence[Region],
    overlap: Overlap,
) -> tuple[PixelArray, BoolArray]:
    """Return a copy of the image with patches written into it, and the pixels that may have changed, (H, W) bool.

    Args:
        before: (H, W, 3) uint8; not modified.
        patches: what to write, each without a fault (`fault_of_patch`).
        regions: all regions of the image; their masks are closed to soft edges.
        done: regions whose masks keep what they show.
        overlap: which of two overlapping patches wins.
    """
    height, width = before.shape[:2]
    out = before.copy()
    touched = np.zeros((height, width), np.bool_)
    closed = union_of_masks(regions, width, height) if any(_has_edge(*item) for item in patches) else None
    kept = union_of_masks(done, width, height) if done else None
    rank = _RANKS[overlap]
    ranked = sorted(patches, key=lambda item: (rank(item[0]), item[0].index))
    for region, patch in ranked:
        view, changed = crop(out, region.extent), crop(touched, region.extent)
        if closed is not None and _has_edge(region, patch):
            alpha = soft_alpha(region) if patch.alpha is None else patch.alpha
            edge = (alpha > 0) & ~crop(closed, region.extent)
            view[edge] = _blend(view[edge], patch.pixels[edge], alpha[edge][:, None])
            changed |= edge
        mask = mask_on_extent(region)
        changed |= mask
        if kept is not None:
            mask &= ~crop(kept, region.extent)
        np.copyto(view, patch.pixels, where=mask[:, :, None])
    _bring_forward(out, ranked, kept)
    return out, touched


def _bring_forward(out: PixelArray, ranked: Sequence[tuple[Region, Patch]], kept: BoolArray | None) -> None:
    """Write again what patches show, where one of a higher rank has covered it with what is behind that."""
    if all(patch.front is None for _, patch in ranked):
        return
    for region, patch in ranked:
        mask = mask_on_extent(region)
        if patch.front is not None:
            mask &= patch.front
        if kept is not None:
            mask &= ~crop(kept, region.extent)
        np.copyto(crop(out, region.extent), patch.pixels, where=mask[:, :, None])


def fault_of_patch(region: Region, patch: object) -> str | None:
    """Return what is wrong with a method's patch for a region, or None."""
    if not isinstance(patch, Patch):
        return f"rendered {type(patch).__name__}, expected Patch or Refusal"
    x1, y1, x2, y2 = region.extent
    shape = (y2 - y1, x2 - x1)
    pixels, alpha, front = patch.pixels, patch.alpha, patch.front
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape != (*shape, 3):
        return f"rendered pixels {_describe(pixels)}, expected uint8 {(*shape, 3)}"
    if front is not None and (not isinstance(front, np.ndarray) or front.dtype != np.bool_ or front.shape != shape):
        return f"rendered front {_describe(front)}, expected bool {shape}"
    if alpha is None:
        return None
    if not isinstance(alpha, np.ndarray) or alpha.dtype != np.float32 or alpha.shape != shape:
        return f"rendered alpha {_describe(alpha)}, expected float32 {shape}"
    if not bool(((alpha >= 0) & (alpha <= 1)).all()):
        return "rendered an alpha outside 0 to 1"
    if bool((alpha[mask_on_extent(region)] < 1).any()):
        return "rendered an alpha below 1 inside the mask"
    return None


def _has_edge(region: Region, patch: Patch) -> bool:
    return patch.alpha is not None or region.edge_px > 0


def _blend(below: PixelArray, above: PixelArray, weight: FloatArray) -> PixelArray:
    return np.rint(below * (1 - weight) + above * weight).astype(np.uint8)


def mask_on_extent(region: Region) -> BoolArray:
    """Return the region's mask on its extent, a new array."""
    x1, y1, x2, y2 = region.extent
    left, top, right, bottom = region.mask_extent
    mask = np.zeros((y2 - y1, x2 - x1), np.bool_)
    mask[top - y1 : bottom - y1, left - x1 : right - x1] = region_mask(region)
    return mask


def _describe(array: object) -> str:
    return f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
