"""`blur`: a Gaussian whose width follows the size of the region.

A blur of fixed width leaves large faces recognisable; here sigma is a share of the region, at least 0.1 of its longer side.
Beyond the image's border there is nothing: the weights are normalised over the pixels that exist, so that a face at the border
is blurred as much as one inside and no mirrored copy of it appears.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from anon_batch.anonymize.protocol import Method, Patch, Refusal, Target
from anon_batch.geometry import Extent, grow_extent, longer_side_px
from anon_batch.models.runtime import Runtime
from anon_batch.plugins import PluginOptions
from anon_batch.records import FloatArray, PixelArray

MIN_SIGMA_SHARE = 0.1
MIN_SIGMA_PX = 1.0  # a narrower kernel weighs one pixel alone and leaves the smallest regions as they are
WORKING_SIGMA_PX = 8.0  # for a wider Gaussian the image is downscaled until this is its sigma
KERNEL_SIGMAS = 3

Kernel = npt.NDArray[np.float64]


class BlurOptions(PluginOptions):
    """Options of `blur`."""

    sigma: float = Field(
        0.2,
        ge=MIN_SIGMA_SHARE,
        le=2,
        description=f"Sigma of the Gaussian, as a share of the region's longer side; at least {MIN_SIGMA_SHARE}.",
    )


class Blur(Method):
    """Renders the blurred image."""

    name = "blur"
    sees_original = True
    Options = BlurOptions

    def __init__(self, options: BlurOptions, runtime: Runtime) -> None:
        super().__init__(options, runtime)
        self._sigma_share = options.sigma

    def render(self, targets: Sequence[Target]) -> list[Patch | Refusal]:
        """Return a patch for every target, except in an image of one pixel, which has no neighbour to mix with."""
        return [self._render_one(target) for target in targets]

    def _render_one(self, target: Target) -> Patch | Refusal:
        if target.width * target.height == 1:
            return Refusal("an image of one pixel cannot be blurred")
        sigma_px = max(self._sigma_share * longer_side_px(target.region), MIN_SIGMA_PX)
        return Patch(gaussian(target.pixels, target.region.extent, sigma_px))


def gaussian(
    pixels: PixelArray, extent: Extent, sigma_px: float, working_sigma_px: float = WORKING_SIGMA_PX
) -> PixelArray:
    """Return the image on `extent`, blurred by a Gaussian over the pixels that exist, (h, w, 3) uint8.

    Args:
        pixels: (H, W, 3) uint8.
        extent: (x1, y1, x2, y2) half-open, inside the image.
        sigma_px: standard deviation.
        working_sigma_px: sigma above which the image is downscaled first; `math.inf` never downscales it.
    """
    margin_px = math.ceil(KERNEL_SIGMAS * sigma_px)
    left, top, right, bottom = grow_extent(extent, margin_px, pixels.shape[1], pixels.shape[0])
    source = pixels[top:bottom, left:right]
    height, width = source.shape[:2]
    factor = max(int(sigma_px / working_sigma_px), 1)
    small_width, small_height = -(-width // factor), -(-height // factor)
    if factor > 1:
        source = cv2.resize(source, (small_width, small_height), interpolation=cv2.INTER_AREA)
    scale_x, scale_y = small_width / width, small_height / height
    blurred = _normalised_blur(source.astype(np.float32), sigma_px * scale_x, sigma_px * scale_y)
    x1, y1, x2, y2 = extent
    if factor == 1:
        values = blurred[y1 - top : y2 - top, x1 - left : x2 - left]
    else:
        # Pixel centres: x + 0.5 of the image lies at (x + 0.5 - left) * scale of the downscaled one.
        to_small = np.array(
            [
                [scale_x, 0, (x1 - left + 0.5) * scale_x - 0.5],
                [0, scale_y, (y1 - top + 0.5) * scale_y - 0.5],
            ]
        )
        values = cv2.warpAffine(
            blurred,
            to_small,
            (x2 - x1, y2 - y1),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    return np.rint(values).clip(0, 255).astype(np.uint8)


def _normalised_blur(source: FloatArray, sigma_x: float, sigma_y: float) -> FloatArray:
    """Return the mean over the pixels that exist: the blur of (h, w, 3) with zeros beyond the border, divided by that of ones."""
    height, width = source.shape[:2]
    kernel_x, kernel_y = _kernel(sigma_x, width), _kernel(sigma_y, height)
    identity = np.ones(1)
    blurred = _filtered(source, kernel_x, kernel_y).reshape(source.shape)
    reached_x = _filtered(np.ones((1, width), np.float32), kernel_x, identity)
    reached_y = _filtered(np.ones((height, 1), np.float32), identity, kernel_y)
    return np.asarray(blurred / (reached_y * reached_x)[:, :, None], np.float32)


def _filtered(source: FloatArray, kernel_x: Kernel, kernel_y: Kernel) -> FloatArray:
    filtered = cv2.sepFilter2D(source, cv2.CV_32F, kernel_x, kernel_y, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(filtered, np.float32)


def _kernel(sigma_px: float, side_px: int) -> Kernel:
    """Return Gaussian weights, cut at three sigmas or where no pixel lies."""
    radius = max(min(math.ceil(KERNEL_SIGMAS * sigma_px), side_px), 1)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma_px) ** 2)
    return np.asarray(weights / weights.sum(), np.float64)
