"""`inpaint`: the region is removed and its place rebuilt from what surrounds it.

The known values are carried inwards over a pyramid (the pull-push of Gortler, Grzeszczuk, Szeliski and Cohen 1996, "The
lumigraph") and at each of its levels relaxed towards the smoothest surface through them, the solution of Laplace's equation.
Large regions are rebuilt on a downscaled copy, which limits the time.

OpenCV's `inpaint` is not used: measured with 5.0, on arrays of one row the same input gives different results, and a mask in
flat surroundings comes back up to 12 levels off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from anon_batch.anonymize.protocol import Method, Patch, Refusal, Target
from anon_batch.geometry import Extent, grow_extent, longer_side_px
from anon_batch.records import BoolArray, FloatArray, PixelArray

WORKING_SIDE_PX = 256  # longest side of the copy that is rebuilt
RELAXATIONS = 8  # at each level of the pyramid
MARGIN_SHARE = 0.125  # width of the band around a region that values come from, as a share of its longer side
MIN_MARGIN_PX = 16
MIN_KNOWN_SHARE = 0.5  # a pixel of the copy is known when at least this share of what it stands for is

_NEIGHBOURS = np.array([[0, 0.25, 0], [0.25, 0, 0.25], [0, 0.25, 0]], np.float32)


class Inpaint(Method):
    """Renders values rebuilt from the surroundings."""

    name = "inpaint"

    def render(self, targets: Sequence[Target]) -> list[Patch | Refusal]:
        """Return a patch for every target, except in an image that is all mask, or nearly."""
        return [self._render_one(target) for target in targets]

    def _render_one(self, target: Target) -> Patch | Refusal:
        region = target.region
        margin_px = max(math.ceil(MARGIN_SHARE * longer_side_px(region)), MIN_MARGIN_PX)
        pixels = rebuild(target.pixels, target.erased, region.extent, margin_px)
        return Refusal("too little of the image lies outside the masks") if pixels is None else Patch(pixels)


def rebuild(erased: PixelArray, unknown: BoolArray, extent: Extent, margin_px: int) -> PixelArray | None:
    """Return values on `extent` made from the known pixels around it, (h, w, 3) uint8; None when too few are known.

    Args:
        erased: (H, W, 3) uint8, 0 at unknown pixels.
        unknown: (H, W) bool.
        extent: (x1, y1, x2, y2) half-open, inside the image.
        margin_px: width of the band around the extent that is used; the whole image is, where nothing is known in the band.
    """
    window = _find_window(unknown, extent, margin_px)
    if window is None:
        return None
    left, top, right, bottom = window
    source, missing = _downscale(erased[top:bottom, left:right], unknown[top:bottom, left:right])
    surface = fill_unknown(source.astype(np.float32), np.where(missing, np.float32(0), np.float32(1)))
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


def fill_unknown(colour: FloatArray, weight: FloatArray, relaxations: int = RELAXATIONS) -> FloatArray:
    """Return colours (h, w, 3) where those of weight 0 are rebuilt from the others; some weight (h, w) must be above 0.

    Weights are 0 or 1, and in between in the coarser levels, where a pixel stands for several, some of them known. More
    relaxations at each level make the surface smoother.
    """
    if bool((weight >= 1).all()) or weight.size == 1:
        return colour
    height, width = weight.shape
    coarse = fill_unknown(*_halve(colour, weight), relaxations)
    guess = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    share = weight[:, :, None]
    known = colour * share
    result = known + guess * (1 - share)
    for _ in range(relaxations):
        around = cv2.filter2D(result, cv2.CV_32F, _NEIGHBOURS, borderType=cv2.BORDER_REPLICATE)
        result = known + around * (1 - share)
    return np.asarray(result, np.float32)


def _halve(colour: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the next level: weighted means of 2 x 2 pixels, and the sum of their weights, at most 1."""
    weighted = colour * weight[:, :, None]
    if weight.shape[0] % 2 or weight.shape[1] % 2:
        odd = ((0, weight.shape[0] % 2), (0, weight.shape[1] % 2))
        weight, weighted = np.pad(weight, odd), np.pad(weighted, (*odd, (0, 0)))
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


def _find_window(unknown: BoolArray, extent: Extent, margin_px: int) -> Extent | None:
    """Return the window to work on: the extent with its margin, else the whole image; None when too little of it is known."""
    height, width = unknown.shape
    near = grow_extent(extent, margin_px, width, height)
    for window in (near, (0, 0, width, height)):
        left, top, right, bottom = window
        if not _downscale_unknown(unknown[top:bottom, left:right]).all():
            return window
    return None


def _small_size(height: int, width: int) -> tuple[int, int]:
    factor = max(height, width) / WORKING_SIDE_PX
    return (width, height) if factor <= 1 else (max(round(width / factor), 1), max(round(height / factor), 1))


def _known_share(unknown: BoolArray) -> PixelArray:
    """Return the share of known pixels behind each pixel of the downscaled copy, 0 .. 255."""
    known = np.where(unknown, np.uint8(0), np.uint8(255))
    size = _small_size(*unknown.shape)
    if size == unknown.shape[::-1]:
        return known
    return np.asarray(cv2.resize(known, size, interpolation=cv2.INTER_AREA), np.uint8)


def _downscale_unknown(unknown: BoolArray) -> BoolArray:
    return _known_share(unknown) < 255 * MIN_KNOWN_SHARE


def _downscale(erased: PixelArray, unknown: BoolArray) -> tuple[PixelArray, BoolArray]:
    """Return the copy to work on and its unknown pixels; the known ones are means over known pixels alone."""
    share = _known_share(unknown)
    missing = share < 255 * MIN_KNOWN_SHARE
    source = erased
    if share.shape != unknown.shape:
        source = cv2.resize(erased, share.shape[::-1], interpolation=cv2.INTER_AREA)
        weight = np.maximum(share, 1)[:, :, None] / np.float32(255)
        source = np.minimum(np.rint(source / weight), 255).astype(np.uint8)
    return source, missing
