"""`inpaint`: the face is removed and its place rebuilt from what surrounds it.

The pixels of all masks of the picture are erased before anything else happens, so the result is a function of
the others. The known values are carried inwards over a pyramid (the pull-push of Gortler, Grzeszczuk,
Szeliski and Cohen 1996, "The lumigraph") and at each of its levels relaxed towards the smoothest surface
through them, the solution of Laplace's equation. Large regions are rebuilt on a reduced copy, which bounds
the time.

OpenCV's `inpaint` is not used: measured with 5.0, on arrays of one row the same input gives different
results, and a mask in flat surroundings comes back up to 12 levels off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from anon_batch.anonymize.compose import Extent, grown, longer_side_px, paint, union_of_masks
from anon_batch.anonymize.protocol import Batch
from anon_batch.config import AnonymizeConfig
from anon_batch.records import AnonymizedImage, BoolArray, DecodedImage, FloatArray, PixelArray, Region

WORKING_SIDE_PX = 256  # longest side of the copy that is rebuilt
RELAXATIONS = 8  # at each level of the pyramid
MARGIN_SHARE = 0.125  # of the region's longer side, added around it as the source of values
MIN_MARGIN_PX = 16
MIN_KNOWN_SHARE = 0.5  # a pixel of the copy is known when at least this share of what it stands for is

_NEIGHBOURS = np.array([[0, 0.25, 0], [0.25, 0, 0.25], [0, 0.25, 0]], np.float32)


class Inpaint:
    """Paints regions with values rebuilt from their surroundings.

    Args:
        soft_edge: width of the blend outside the mask, as a share of the region's longer side.
    """

    def __init__(self, soft_edge: float = 0.0) -> None:
        self.name = "inpaint"
        self.model_names: tuple[str, ...] = ()
        self._soft_edge = soft_edge

    def anonymize(self, batch: Batch, run_key: bytes) -> list[AnonymizedImage]:
        """Treats every face that has known pixels around it; refuses those in a picture that is all mask, or
        nearly.
        """
        return [self._one(image, regions) for image, regions in batch]

    def _one(self, image: DecodedImage, regions: Sequence[Region]) -> AnonymizedImage:
        unknown = union_of_masks(regions, image.width, image.height)
        erased = np.where(unknown[:, :, None], np.uint8(0), image.pixels)
        refused: dict[int, str] = {}
        treatable: list[Region] = []
        for region in regions:
            if _surroundings(unknown, region.extent, _margin_px(region)) is None:
                refused[region.index] = "too little of the picture lies outside the masks"
            else:
                treatable.append(region)

        def treat(region: Region, extent: Extent) -> PixelArray:
            return rebuilt(erased, unknown, extent, _margin_px(region))

        return paint(image, treatable, self._soft_edge, self.name, treat, refused=refused)


def rebuilt(erased: PixelArray, unknown: BoolArray, extent: Extent, margin_px: int) -> PixelArray:
    """Values on `extent` made from the known pixels around it.

    Args:
        erased: (H, W, 3) uint8, 0 at unknown pixels.
        unknown: (H, W) bool.
        extent: (x1, y1, x2, y2) half-open, inside the picture.
        margin_px: what is looked at around the extent; the whole picture, when nothing is known there.

    Returns:
        (h, w, 3) uint8.

    Raises:
        ValueError: no pixel is known, or too few to survive the reduction.
    """
    window = _surroundings(unknown, extent, margin_px)
    if window is None:
        raise ValueError("no known pixel to rebuild the region from")
    left, top, right, bottom = window
    source, missing = _reduced(erased[top:bottom, left:right], unknown[top:bottom, left:right])
    surface = filled(source.astype(np.float32), np.where(missing, np.float32(0), np.float32(1)))
    x1, y1, x2, y2 = extent
    scale_x, scale_y = source.shape[1] / (right - left), source.shape[0] / (bottom - top)
    if scale_x == scale_y == 1:
        return _to_pixels(surface[y1 - top : y2 - top, x1 - left : x2 - left])
    to_small = np.array(
        [
            [scale_x, 0, (x1 - left + 0.5) * scale_x - 0.5],
            [0, scale_y, (y1 - top + 0.5) * scale_y - 0.5],
        ]
    )
    values = cv2.warpAffine(
        surface,
        to_small,
        (x2 - x1, y2 - y1),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return _to_pixels(values)


def filled(colour: FloatArray, weight: FloatArray) -> FloatArray:
    """Colours (h, w, 3) with those of weight (h, w) 0 rebuilt from the others; some weight must be above 0.

    Weights are 0 or 1, and in between in the coarser levels, where a pixel stands for some known ones.
    """
    if bool((weight >= 1).all()) or weight.size == 1:
        return colour
    height, width = weight.shape
    coarse = filled(*_halved(colour, weight))
    guess = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    share = weight[:, :, None]
    known = colour * share
    result = known + guess * (1 - share)
    for _ in range(RELAXATIONS):
        around = cv2.filter2D(result, cv2.CV_32F, _NEIGHBOURS, borderType=cv2.BORDER_REPLICATE)
        result = known + around * (1 - share)
    return np.asarray(result, np.float32)


def _halved(colour: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The next level: weighted means of 2 x 2 pixels, and their weights' sum, at most 1."""
    odd = ((0, weight.shape[0] % 2), (0, weight.shape[1] % 2))
    weight = np.pad(weight, odd)
    weighted = np.pad(colour, (*odd, (0, 0))) * weight[:, :, None]
    total = _sum_of_fours(weight)
    means = np.divide(
        _sum_of_fours(weighted),
        total[:, :, None],
        out=np.zeros((*total.shape, 3), np.float32),
        where=total[:, :, None] > 0,
    )
    return means, np.minimum(total, 1)


def _sum_of_fours(values: FloatArray) -> FloatArray:
    return values[::2, ::2] + values[1::2, ::2] + values[::2, 1::2] + values[1::2, 1::2]


def _to_pixels(values: FloatArray) -> PixelArray:
    return np.rint(values).clip(0, 255).astype(np.uint8)


def _margin_px(region: Region) -> int:
    return max(math.ceil(MARGIN_SHARE * longer_side_px(region)), MIN_MARGIN_PX)


def _surroundings(unknown: BoolArray, extent: Extent, margin_px: int) -> Extent | None:
    """The window to work on: the extent and its margin, else the whole picture; None when that has too little
    known.
    """
    height, width = unknown.shape
    near = grown(extent, margin_px, width, height)
    for window in (near, (0, 0, width, height)):
        left, top, right, bottom = window
        if not _reduced_unknown(unknown[top:bottom, left:right]).all():
            return window
    return None


def _small_size(height: int, width: int) -> tuple[int, int]:
    factor = max(height, width) / WORKING_SIDE_PX
    return (width, height) if factor <= 1 else (max(round(width / factor), 1), max(round(height / factor), 1))


def _known_share(unknown: BoolArray) -> PixelArray:
    """Share of known pixels behind each pixel of the copy, 0 .. 255."""
    known = np.where(unknown, np.uint8(0), np.uint8(255))
    size = _small_size(*unknown.shape)
    if size == unknown.shape[::-1]:
        return known
    return np.asarray(cv2.resize(known, size, interpolation=cv2.INTER_AREA), np.uint8)


def _reduced_unknown(unknown: BoolArray) -> BoolArray:
    return _known_share(unknown) < 255 * MIN_KNOWN_SHARE


def _reduced(erased: PixelArray, unknown: BoolArray) -> tuple[PixelArray, BoolArray]:
    """The copy to work on and its unknown pixels; the known ones are means over known pixels alone."""
    share = _known_share(unknown)
    missing = share < 255 * MIN_KNOWN_SHARE
    source = erased
    if share.shape != unknown.shape:
        source = cv2.resize(erased, share.shape[::-1], interpolation=cv2.INTER_AREA)
        weight = np.maximum(share, 1)[:, :, None] / np.float32(255)
        source = np.minimum(np.rint(source / weight), 255).astype(np.uint8)
    return source, missing


def create(config: AnonymizeConfig, store: Any, threads: int, device: str) -> Inpaint:
    """Factory of the registry."""
    return Inpaint(config.soft_edge)
