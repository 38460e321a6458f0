"""Where a figure may be drawn: the region's mask, grown by the sure parts of the figure."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from anon_batch.anonymize.bodies.draw import silhouette
from anon_batch.anonymize.bodies.figure import Figure
from anon_batch.geometry import Extent, grow_extent, region_mask
from anon_batch.records import Region

REACH = 0.15  # of the box's longer side, by which a figure may leave the box


def grown(region: Region, figure: Figure, width: int, height: int) -> Region:
    """Return a region whose mask also holds the sure parts of a figure and its shadow, not far from the box.

    So a figure is not cut by the mask, which would show the outline of the person, and a limb that the mask missed is covered.
    Parts of which the keypoints are not sure are drawn inside the mask alone.

    Args:
        region: of a person.
        figure: of its keypoints.
        width: of the image, px.
        height: of the image, px.
    """
    limits = _limits(region, width, height)
    if limits is None:
        return region
    left, top = limits[:2]
    drawn = silhouette(figure, limits)
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    if not len(rows):
        return region
    x1, y1, x2, y2 = region.mask_extent
    found = left + int(columns[0]), top + int(rows[0]), left + int(columns[-1]) + 1, top + int(rows[-1]) + 1
    extent = min(x1, found[0]), min(y1, found[1]), max(x2, found[2]), max(y2, found[3])
    mask = np.zeros((extent[3] - extent[1], extent[2] - extent[0]), np.bool_)
    mask[y1 - extent[1] : y2 - extent[1], x1 - extent[0] : x2 - extent[0]] |= region_mask(region)
    own = drawn[found[1] - top : found[3] - top, found[0] - left : found[2] - left]
    mask[found[1] - extent[1] : found[3] - extent[1], found[0] - extent[0] : found[2] - extent[0]] |= own
    whole = grow_extent(extent, region.edge_px, width, height)
    return replace(region, mask_extent=extent, extent=whole, outline=mask, shape="outline")


def _limits(region: Region, width: int, height: int) -> Extent | None:
    """Return the part of the image that a figure may cover, or None."""
    x1, y1, x2, y2 = region.box
    reach = REACH * max(x2 - x1, y2 - y1)
    left, top = max(math.floor(x1 - reach), 0), max(math.floor(y1 - reach), 0)
    right, bottom = min(math.ceil(x2 + reach), width), min(math.ceil(y2 + reach), height)
    return (left, top, right, bottom) if left < right and top < bottom else None
