"""What the surroundings of a plate say about the light on it, the blur of the lens and the grain of the sensor.

Only known pixels are read, which lie in no mask. Blur: an edge that a Gaussian of sigma s made soft loses the factor
sqrt(1 + t^2 / s^2) of its steepness under another one of sigma t (Zhuo and Sim 2011, "Defocus map estimation from a single
image").
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_erosion, gaussian_filter

from anon_batch.geometry import Extent, crop, grow_extent
from anon_batch.records import BoolArray, FloatArray, PixelArray

MIN_MARGIN_PX, MAX_MARGIN_PX = 24, 56  # width of the band around a mask that is looked at
_SAMPLES = 200  # along each side of the image, for its light as a whole
_FEW = 64  # known pixels below which the surroundings say nothing
_REBLUR = 1.0  # sigma, px
_HIGH_PASS_SHARE = 0.87  # of white noise's deviation that is left without its Gaussian mean of that sigma
_MAX_BLUR_PX, _MAX_GRAIN = 5.0, 14.0
_MAX_TINT = 0.08
_SHARP = 80  # percentile of the edges' sharpness, because some edges are soft by themselves


class Surroundings(NamedTuple):
    """What is known about the light where a plate is.

    Args:
        white: colour of a white surface, (3,) RGB, 0..255.
        black: of a black one.
        blur_px: sigma of the Gaussian that edges show.
        grain: standard deviation of the noise, 0..255.
    """

    white: npt.NDArray[np.float32]
    black: npt.NDArray[np.float32]
    blur_px: float
    grain: float


def look_around(pixels: PixelArray, erased: BoolArray, extent: Extent) -> Surroundings | None:
    """Return what the known pixels around an extent say; None if there are hardly any.

    Args:
        pixels: (H, W, 3) uint8, 0 where erased.
        erased: (H, W) bool.
        extent: of the mask.
    """
    height, width = erased.shape
    margin = min(max(extent[2] - extent[0], extent[3] - extent[1], MIN_MARGIN_PX), MAX_MARGIN_PX)
    window = grow_extent(extent, margin, width, height)
    view, known = crop(pixels, window), ~crop(erased, window)
    near = view[known].astype(np.float32)
    if len(near) < _FEW:
        return None
    luma = luma_of(view)
    step_y, step_x = max(1, height // _SAMPLES), max(1, width // _SAMPLES)
    everywhere = luma_of(pixels[::step_y, ::step_x][~erased[::step_y, ::step_x]])
    white, black = _light(near, everywhere)
    blur_px, grain = _texture(luma, known)
    return Surroundings(white, black, blur_px, grain)


def luma_of(pixels: npt.NDArray[Any]) -> FloatArray:
    """Return the lightness (...) of RGB (..., 3); by sums, because a matrix product may round by the memory's alignment."""
    red, green, blue = (pixels[..., at].astype(np.float32) for at in range(3))
    return np.asarray(np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue, np.float32)


def _light(near: FloatArray, everywhere: FloatArray) -> tuple[FloatArray, FloatArray]:
    own = luma_of(near)
    dark, middle, bright = np.percentile(own, [3, 50, 95])
    brightest = np.percentile(everywhere, 95) if len(everywhere) else bright
    level = min(max(0.4 * bright + 0.6 * brightest, 1.1 * middle, 40.0), 238.0)
    lit = near[own >= np.percentile(own, 60)].mean(axis=0)
    tint = lit / max(float(luma_of(lit)), 1.0)
    white = level * np.clip(1 + 0.5 * (tint - 1), 1 - _MAX_TINT, 1 + _MAX_TINT)
    black = np.full(3, min(float(dark), 0.25 * level))
    return white.astype(np.float32), black.astype(np.float32)


def _texture(luma: FloatArray, known: BoolArray) -> tuple[float, float]:
    """Return the blur of edges, px, and the deviation of the grain."""
    inner = binary_erosion(known, iterations=4, border_value=1)
    if int(inner.sum()) < _FEW:
        return 0.9, 2.0
    mean = gaussian_filter(luma, _REBLUR)
    steep, after = _steepness(luma)[inner], _steepness(mean)[inner]
    fine = np.abs(luma - mean)[inner][after <= np.median(after)]
    grain = 1.4826 * float(np.median(fine)) / _HIGH_PASS_SHARE
    edges = (steep >= np.percentile(steep, 97)) & (steep > 6 + 3 * grain) & (after > 1)
    if int(edges.sum()) < 12:
        return 0.9, min(grain, _MAX_GRAIN)
    lost = float(np.percentile(steep[edges] / after[edges], _SHARP))
    blur_px = _REBLUR / math.sqrt(max(lost, 1.02) ** 2 - 1)
    return min(blur_px, _MAX_BLUR_PX), min(grain, _MAX_GRAIN)


def _steepness(luma: FloatArray) -> FloatArray:
    down, across = np.gradient(luma)
    return np.asarray(np.hypot(down, across), np.float32)
