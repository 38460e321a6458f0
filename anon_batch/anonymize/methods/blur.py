"""`blur`: a Gaussian whose width follows the size of the face.

A blur of fixed width leaves large faces recognisable; here sigma is a share of the region, 0.1 of its longest
side at least. Beyond the picture's border there is nothing: the weights are renormalised over the pixels that
exist, so a face at the border is blurred as fully as one inside and no mirrored copy of it enters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from anon_batch.anonymize.compose import Extent, grown, longer_side_px, paint
from anon_batch.anonymize.protocol import Batch
from anon_batch.config import AnonymizeConfig
from anon_batch.records import AnonymizedImage, DecodedImage, FloatArray, PixelArray, Region

MIN_SIGMA_SHARE = 0.1
MIN_SIGMA_PX = 1.0  # a narrower kernel weighs one pixel alone and leaves the smallest faces as they are
WORKING_SIGMA_PX = 8.0  # a wider Gaussian is computed on a picture reduced until this is its sigma
KERNEL_SIGMAS = 3

Kernel = npt.NDArray[np.float64]


class Blur:
    """Paints regions with the blurred picture.

    Args:
        sigma_share: sigma as a share of the longer side of the expanded box, at least `MIN_SIGMA_SHARE`.
        soft_edge: width of the blend outside the mask, as a share of the region's longer side.

    Raises:
        ValueError: a share below the minimum.
    """

    def __init__(self, sigma_share: float = 0.2, soft_edge: float = 0.0) -> None:
        if sigma_share < MIN_SIGMA_SHARE:
            raise ValueError(f"sigma share: {sigma_share}, expected at least {MIN_SIGMA_SHARE}")
        self.name = "blur"
        self.model_names: tuple[str, ...] = ()
        self._sigma_share = sigma_share
        self._soft_edge = soft_edge

    def anonymize(self, batch: Batch, run_key: bytes) -> list[AnonymizedImage]:
        """Treats every face, except in a picture of one pixel, which has nothing to be mixed with: it is
        refused.
        """
        return [self._one(image, regions) for image, regions in batch]

    def _one(self, image: DecodedImage, regions: Sequence[Region]) -> AnonymizedImage:
        if image.width * image.height == 1:
            reasons = {region.index: "a picture of one pixel cannot be blurred" for region in regions}
            untouched = np.zeros(image.pixels.shape[:2], np.bool_)
            return AnonymizedImage(image.pixels.copy(), untouched, {}, reasons)

        def treat(region: Region, extent: Extent) -> PixelArray:
            sigma_px = max(self._sigma_share * longer_side_px(region), MIN_SIGMA_PX)
            return gaussian(image.pixels, extent, sigma_px)

        return paint(image, regions, self._soft_edge, self.name, treat)


def gaussian(
    pixels: PixelArray, extent: Extent, sigma_px: float, working_sigma_px: float = WORKING_SIGMA_PX
) -> PixelArray:
    """The picture on `extent`, blurred by a Gaussian over the pixels that exist.

    Args:
        pixels: (H, W, 3) uint8.
        extent: (x1, y1, x2, y2) half-open, inside the picture.
        sigma_px: standard deviation.
        working_sigma_px: sigma from which on the picture is reduced first; `math.inf` never reduces it.

    Returns:
        (h, w, 3) uint8.
    """
    margin_px = math.ceil(KERNEL_SIGMAS * sigma_px)
    left, top, right, bottom = grown(extent, margin_px, pixels.shape[1], pixels.shape[0])
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
        # Pixel centres: x + 0.5 of the picture lies at (x + 0.5 - left) * scale of the reduced one.
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
    """Blur of (h, w, 3) with zeros beyond the border, divided by the blur of ones: the mean over pixels that
    exist.
    """
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
    """Gaussian weights, cut at three sigmas or where no pixel can be reached any more."""
    radius = max(min(math.ceil(KERNEL_SIGMAS * sigma_px), side_px), 1)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma_px) ** 2)
    return np.asarray(weights / weights.sum(), np.float64)


def create(config: AnonymizeConfig, store: Any, threads: int, device: str) -> Blur:
    """Factory of the registry."""
    return Blur(config.blur_sigma, config.soft_edge)
