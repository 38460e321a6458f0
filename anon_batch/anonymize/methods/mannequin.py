"""`mannequin`: the person is removed, and a jointed figure with the same posture stands in the place.

The place is rebuilt from what surrounds the mask, as by `inpaint`. The figure is drawn from the keypoints of the region alone;
its widths are those of a fixed model, its colour is one of a few neutral ones that the seed chooses. The surroundings give
light, blur and grain. No pixel under a mask is read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from pydantic import Field
from scipy.ndimage import gaussian_filter

from anon_batch import keys
from anon_batch.anonymize.bodies.draw import Drawing, Palette, contact, draw
from anon_batch.anonymize.bodies.figure import Figure, make_figure
from anon_batch.anonymize.bodies.place import grown
from anon_batch.anonymize.methods.inpaint import MARGIN_SHARE, MIN_MARGIN_PX, rebuild
from anon_batch.anonymize.plates.surroundings import Surroundings, look_around
from anon_batch.anonymize.protocol import Method, Patch, Refusal, Target
from anon_batch.geometry import longer_side_px
from anon_batch.models.runtime import Runtime
from anon_batch.plugins import PluginOptions
from anon_batch.records import FloatArray, PixelArray, Region

_WOODS = ((0.86, 0.79, 0.69), (0.80, 0.69, 0.57), (0.70, 0.57, 0.45), (0.52, 0.42, 0.35))  # ash, beech, oak, walnut
_SUITS = ((0.36, 0.37, 0.38), (0.38, 0.37, 0.35), (0.31, 0.33, 0.36), (0.34, 0.32, 0.31))  # greys
_LEGS, _DARK = 0.75, 0.5  # lightness of the suit's legs, and of cap and shoes, beside its top
_DRAWING_BLUR_PX = 0.5  # sigma that a figure has once it is drawn
_MAX_GRAIN = 3.0  # because what looks like grain in a crowd is the crowd
_CONTACT = 0.45  # how dark the ground is under a foot


class MannequinOptions(PluginOptions):
    """Options of `mannequin`."""

    min_side_px: float = Field(
        48,
        ge=0,
        description="Longer side of the box below which a person is refused, because the keypoints of so small a person say "
        "little.",
    )


class Mannequin(Method):
    """Draws a jointed figure in place of a person."""

    name = "mannequin"
    uses_keypoints = True
    Options = MannequinOptions

    def __init__(self, options: MannequinOptions, runtime: Runtime) -> None:
        super().__init__(options, runtime)
        self._min_side_px = options.min_side_px

    def claim(self, region: Region, width: int, height: int) -> Region:
        """Return the region with a mask that holds the sure parts of the figure, and its shadow; see Method.claim."""
        figure = self._figure_of(region)
        return region if isinstance(figure, str) else grown(region, figure, width, height)

    def render(self, targets: Sequence[Target]) -> list[Patch | Refusal]:
        """Return a patch for every target with keypoints, and with something to see around it."""
        return [self._render_one(target) for target in targets]

    def _render_one(self, target: Target) -> Patch | Refusal:
        region = target.region
        figure = self._figure_of(region)
        if isinstance(figure, str):
            return Refusal(figure)
        margin_px = max(math.ceil(MARGIN_SHARE * longer_side_px(region)), MIN_MARGIN_PX)
        behind = rebuild(target.pixels, target.erased, region.extent, margin_px)
        near, whole = region.mask_extent, (0, 0, target.width, target.height)
        around = look_around(target.pixels, target.erased, near) or look_around(target.pixels, target.erased, whole)
        if behind is None or around is None:
            return Refusal("too little of the image lies outside the masks")
        rng = keys.generator(target.seed)
        drawing = draw(figure, region.extent, _choose_colours(rng))
        pixels = _lit(rng, behind, drawing, around, contact(figure, region.extent))
        return Patch(pixels, front=drawing.opacity > 0.5)

    def _figure_of(self, region: Region) -> Figure | str:
        x1, y1, x2, y2 = region.box
        if max(x2 - x1, y2 - y1) < self._min_side_px:
            return f"a person of {max(x2 - x1, y2 - y1):.3g} px is too small"
        if region.keypoints is None:
            return "no keypoints of a person were found"
        return make_figure(region.keypoints)


def _choose_colours(rng: np.random.Generator) -> Palette:
    wood, suit = (choices[int(rng.integers(len(choices)))] for choices in (_WOODS, _SUITS))
    red, green, blue = suit
    return {
        "wood": wood,
        "top": suit,
        "legs": (red * _LEGS, green * _LEGS, blue * _LEGS),
        "dark": (red * _DARK, green * _DARK, blue * _DARK),
    }


def _lit(
    rng: np.random.Generator,
    behind: PixelArray,
    drawing: Drawing,
    around: Surroundings,
    shadow: FloatArray,
) -> PixelArray:
    """Return the figure before what is behind it, in the light, blur and grain of its surroundings, (h, w, 3) uint8."""
    blur = max(around.blur_px**2 - _DRAWING_BLUR_PX**2, 0.0) ** 0.5
    light = np.asarray(gaussian_filter(drawing.light, (blur, blur, 0)), np.float32)
    cover = np.asarray(gaussian_filter(drawing.opacity, blur), np.float32)[:, :, None]
    base = behind.astype(np.float32) * (1 - np.float32(_CONTACT) * shadow)
    figure = around.black * cover + light * (around.white - around.black)
    values = base * (1 - cover) + figure + _grain(rng, behind.shape, min(around.grain, _MAX_GRAIN))
    return np.asarray(np.rint(values).clip(0, 255), np.uint8)


def _grain(rng: np.random.Generator, shape: tuple[int, ...], deviation: float) -> FloatArray:
    noise = gaussian_filter(rng.standard_normal(shape[:2], np.float32), 0.6)
    return np.asarray(noise * np.float32(deviation / 0.47), np.float32)[:, :, None]
