"""`plate`: a licence plate of nobody, drawn by this package, in place of the one that was there.

The place is first rebuilt from what surrounds the mask, as by `inpaint`, then a plate is drawn at the corners that the detector
gave. The surroundings give light, blur and grain; the seed gives design and text. No pixel under a mask is read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from pydantic import Field
from scipy.ndimage import gaussian_filter

from anon_batch import keys
from anon_batch.anonymize.methods.inpaint import MARGIN_SHARE, MIN_MARGIN_PX, rebuild
from anon_batch.anonymize.plates.design import draw_plate
from anon_batch.anonymize.plates.place import Corners, aspect_of, corners_of
from anon_batch.anonymize.plates.surroundings import Surroundings, look_around, luma_of
from anon_batch.anonymize.plates.texts import Characters
from anon_batch.anonymize.protocol import Method, Patch, Refusal, Target
from anon_batch.geometry import Extent, longer_side_px
from anon_batch.models.runtime import Runtime
from anon_batch.plugins import PluginOptions
from anon_batch.records import FloatArray, PixelArray

FLATTEST, WIDEST = 0.6, 9.0  # width by height that a plate can have
_FINER = 2  # factor at which the plate is placed, before it is downscaled
_MAX_PX = 4_000_000  # of that finer copy
_PLACING_BLUR_PX = 0.55  # sigma that a plate has once it is placed
_SHADOW = 0.3
_SHADOW_SHARE = 0.07  # sigma of its blur, as a share of the plate's side
_SHADOW_SIGMA_PX = 3.0


class PlateOptions(PluginOptions):
    """Options of `plate`."""

    min_side_px: float = Field(
        8,
        ge=0,
        description="Longer side of the box below which a plate is refused, because hardly a pixel of it would be seen.",
    )
    characters: Characters = Field(
        "unissued",
        description="`unissued`: every text has a Greek letter that stands on no registration number, so that it is nobody's. "
        "`latin`: letters and digits as on any plate; a text may then be that of a real car by chance.",
    )


class Plate(Method):
    """Draws a plate of nobody."""

    name = "plate"
    overlap = "surer"
    Options = PlateOptions

    def __init__(self, options: PlateOptions, runtime: Runtime) -> None:
        super().__init__(options, runtime)
        self._min_side_px = options.min_side_px
        self._characters = options.characters

    def render(self, targets: Sequence[Target]) -> list[Patch | Refusal]:
        """Return a patch for every target with room for a plate, and with something to see around it."""
        return [self._render_one(target) for target in targets]

    def _render_one(self, target: Target) -> Patch | Refusal:
        region = target.region
        corners = corners_of(region)
        width, height = np.ptp(corners, axis=0).tolist()
        if not max(width, height) < 1e6 or max(width, height) < self._min_side_px:
            return Refusal(f"a plate of {max(width, height):.3g} px is too small, or too large for any image")
        if not FLATTEST <= (aspect := aspect_of(corners)) <= WIDEST:
            return Refusal(f"no plate is {aspect:.2g} times as wide as high")
        margin_px = max(math.ceil(MARGIN_SHARE * longer_side_px(region)), MIN_MARGIN_PX)
        behind = rebuild(target.pixels, target.erased, region.extent, margin_px)
        around = look_around(target.pixels, target.erased, region.mask_extent)
        if behind is None or around is None:
            return Refusal("too little of the image lies outside the masks")
        rng = keys.generator(target.seed)
        plate, opacity = draw_plate(rng, aspect, self._characters)
        plate, opacity = _place(plate, opacity, corners, region.extent)
        return Patch(_lit(rng, behind, plate, opacity, around, math.sqrt(max(width * height, 1.0))))


def _place(plate: FloatArray, opacity: FloatArray, corners: Corners, extent: Extent) -> tuple[FloatArray, FloatArray]:
    """Return the plate, premultiplied by its opacity, and the opacity, at its corners on an extent."""
    x1, y1, x2, y2 = extent
    finer = _FINER if (x2 - x1) * (y2 - y1) * _FINER**2 <= _MAX_PX else 1
    size = (x2 - x1) * finer, (y2 - y1) * finer
    layers = np.dstack([plate * opacity[:, :, None], opacity])
    across, down = (np.linalg.norm(corners[end] - corners[0]) * finer for end in (1, 3))
    layers = _downscale(layers, max(1, round(float(across))), max(1, round(float(down))))
    height, width = layers.shape[:2]
    source = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32) - 0.5
    there = ((corners - [x1, y1]) * finer - 0.5).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(source, there)
    placed = cv2.warpPerspective(layers, matrix, size, flags=cv2.INTER_LINEAR)
    if finer > 1:
        placed = cv2.resize(placed, (x2 - x1, y2 - y1), interpolation=cv2.INTER_AREA)
    return placed[:, :, :3], placed[:, :, 3]


def _downscale(layers: FloatArray, width: int, height: int) -> FloatArray:
    size = min(width, layers.shape[1]), min(height, layers.shape[0])
    return np.asarray(cv2.resize(layers, size, interpolation=cv2.INTER_AREA), np.float32)


def _lit(
    rng: np.random.Generator,
    behind: PixelArray,
    plate: FloatArray,
    opacity: FloatArray,
    around: Surroundings,
    side_px: float,
) -> PixelArray:
    """Return the plate before what is behind it, in the light, blur and grain of its surroundings.

    Args:
        rng: of the seed.
        behind: (h, w, 3) uint8.
        plate: (h, w, 3) reflectance times opacity.
        opacity: (h, w).
        around: what the surroundings say.
        side_px: geometric mean of the plate's sides, px.
    """
    own_blur = max(around.blur_px**2 - _PLACING_BLUR_PX**2, 0.0) ** 0.5
    blur = (own_blur, own_blur)
    plate = np.asarray(gaussian_filter(plate, (*blur, 0)), np.float32)
    cover = np.asarray(gaussian_filter(opacity, blur), np.float32)[:, :, None]
    base = behind.astype(np.float32)
    soft = cv2.resize(cv2.resize(luma_of(base), (6, 4), interpolation=cv2.INTER_AREA), behind.shape[1::-1])
    shade = np.clip((soft / max(float(soft.mean()), 1.0)) ** 0.5, 0.7, 1.25)[:, :, None]
    light = around.black * cover + plate * (around.white - around.black) * shade * _dirt(rng, opacity.shape)
    values = base * (1 - _SHADOW * _shadow(opacity, side_px)) * (1 - cover) + light
    values += _grain(rng, values.shape, around.grain)
    return np.asarray(np.rint(values).clip(0, 255), np.uint8)


def _shadow(opacity: FloatArray, side_px: float) -> FloatArray:
    """Return how much of a soft shadow below the plate falls on each pixel, (h, w, 1) in 0..1."""
    height, width = opacity.shape
    sigma = max(_SHADOW_SHARE * side_px, 0.5)
    factor = max(sigma / _SHADOW_SIGMA_PX, 1.0)  # a wide blur of a copy that is smaller costs little
    size = max(1, round(width / factor)), max(1, round(height / factor))
    small = cv2.resize(opacity, size, interpolation=cv2.INTER_AREA)
    down = min(max(1, round(0.6 * sigma / factor)), len(small))
    lowered = np.concatenate([np.zeros_like(small[:down]), small[:-down]])
    soft = np.asarray(gaussian_filter(lowered, sigma / factor), np.float32)
    return np.asarray(cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)[:, :, None]


def _dirt(rng: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    """Return factors near 1 (h, w, 1) that change slowly over the plate: dirt, and light that is not even."""
    height, width = shape
    coarse = rng.normal(1, 0.05, (4, 6)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)[:, :, None]


def _grain(rng: np.random.Generator, shape: tuple[int, ...], deviation: float) -> FloatArray:
    """Return noise (h, w, 3), mostly of lightness, as soft as that of a JPEG."""
    height, width, _ = shape
    noise = rng.standard_normal((height, width, 4), np.float32)
    fine = gaussian_filter(noise, (0.6, 0.6, 0))
    fine *= deviation / max(float(fine.std()), 1e-6)
    return np.asarray(fine[:, :, :1] + 0.3 * fine[:, :, 1:], np.float32)
