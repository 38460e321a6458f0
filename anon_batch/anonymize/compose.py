"""Laying treated values over a picture, as all methods do it.

What holds for any set of regions, overlapping or not:

- every pixel of every mask ends with a treated value, of one of the regions whose mask it is in;
- where masks overlap the region of the higher rank wins. For methods that make the picture coarser that is the larger one:
  a small detection inside a large face (an eye taken for a face) cannot paint fine detail back into it;
- a soft edge changes only pixels that lie in no mask, so that no neighbour's blend brings an original value
  back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from anon_batch import geometry
from anon_batch.records import AnonymizedImage, BoolArray, DecodedImage, PixelArray, Region

Extent = tuple[int, int, int, int]

# (region, half-open extent inside the picture) -> treated values (h, w, 3), or one colour (3,), uint8 RGB
Treat = Callable[[Region, Extent], PixelArray]


def paint(
    image: DecodedImage,
    regions: Sequence[Region],
    soft_edge: float,
    name: str,
    treat: Treat,
    *,
    refused: Mapping[int, str] | None = None,
    rank: Callable[[Region], float] | None = None,
) -> AnonymizedImage:
    """Paints treated values over a copy of the picture.

    Args:
        image: left as it is.
        regions: what is painted.
        soft_edge: width of the blend outside the masks, as a share of a region's longer side.
        name: of the method, for the result.
        treat: gives a region's treated values on an extent that holds its mask and its soft edge.
        refused: face index -> reason, of faces that are not in `regions`; goes into the result.
        rank: which of two overlapping regions wins, the higher one; None takes the longer side.
    """
    rank = rank or longer_side_px
    out = image.pixels.copy()
    touched = np.zeros(out.shape[:2], np.bool_)
    masks = union_of_masks(regions, image.width, image.height) if soft_edge > 0 else None
    for region in sorted(regions, key=lambda r: (rank(r), r.index)):
        if masks is None:
            extent, mask = region.extent, geometry.region_mask(region)
        else:
            alpha, extent = geometry.soft_alpha(region, image.width, image.height, soft_edge)
            mask = alpha >= 1
        x1, y1, x2, y2 = extent
        values = treat(region, extent)
        view = out[y1:y2, x1:x2]
        if masks is not None:
            edge = (alpha > 0) & ~masks[y1:y2, x1:x2]
            weight = alpha[edge][:, None]
            treated = np.broadcast_to(values, view.shape)[edge]
            view[edge] = np.rint(view[edge] * (1 - weight) + treated * weight).astype(np.uint8)
            touched[y1:y2, x1:x2] |= edge
        np.copyto(view, values, where=mask[:, :, None])
        touched[y1:y2, x1:x2] |= mask
    return AnonymizedImage(out, touched, {region.index: name for region in regions}, dict(refused or {}))


def union_of_masks(regions: Sequence[Region], width: int, height: int) -> BoolArray:
    """(height, width) bool: the pixels that lie in any region's mask."""
    union = np.zeros((height, width), np.bool_)
    for region in regions:
        x1, y1, x2, y2 = region.extent
        union[y1:y2, x1:x2] |= geometry.region_mask(region)
    return union


def grown(extent: Extent, margin_px: int, width: int, height: int) -> Extent:
    """The extent with `margin_px` more on each side, clipped to the picture."""
    x1, y1, x2, y2 = extent
    left, top = max(x1 - margin_px, 0), max(y1 - margin_px, 0)
    return left, top, min(x2 + margin_px, width), min(y2 + margin_px, height)


def longer_side_px(region: Region) -> float:
    """Longer side of the expanded box before clipping, so that a face cut by the picture's border is treated
    as coarsely as a whole one; at least the extent's.
    """
    x1, y1, x2, y2 = region.extent
    return max(2 * region.radii[0], 2 * region.radii[1], float(x2 - x1), float(y2 - y1))
