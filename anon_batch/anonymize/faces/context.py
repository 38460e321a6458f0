"""Describe the surroundings of a face in numbers, from which its donor and its tone are chosen."""

from __future__ import annotations

import functools

import cv2
import numpy as np
import numpy.typing as npt

from anon_batch.anonymize.faces.align import CROP_SIDE, Crop, downscale_unknown
from anon_batch.geometry import distance_to_zero
from anon_batch.records import FloatArray

GRID = 12  # side of the downscaled surroundings
REACH_PX = 10.0  # of a crop of 128 px: distance from the mask at which the weight of a pixel falls to a third
_NEUTRAL = np.array([50.0, 12.0, 16.0])  # Lab of average skin
_FACE_TO_NECK = np.array([-2.0, 3.5, 0.5])  # a face is redder than the neck below it, and often less lit
_AVERAGE = np.array([58.0, 12.0, 15.0])  # Lab of an average face in full light, by how photographs are exposed
_FULL_LIGHT = 85.0  # L of the brightest parts of a photograph in full light
_MAX_TRUST = 0.8  # weight of skin beside the mask, below 1 because necks lie in the shadow
_TONES = np.array([[12.0, 0.0, 0.0], [80.0, 18.0, 25.0]])  # lowest and highest tone
_HALF_TRUST_PX = 25.0  # number of skin pixels at which their mean colour is trusted by half
_GREY_CHROMA = 10.0  # Lab chroma of the most colourful surroundings below which an image counts as partly grey

Array = npt.NDArray[np.float64]


def describe_surroundings(crop: Crop) -> FloatArray:
    """Return numbers that describe the surroundings, (468,) float32.

    Args:
        crop: of any size.

    Returns:
        Lab of the crop downscaled to 12 x 12, landmarks; then mean colour, amount and share of skin below and at both sides of
        the mask, colour and amount of all of it, and mean and deviation of the crop's Lab.
    """
    lab, unknown = _small_lab(crop)
    grid = cv2.resize(lab, (GRID, GRID), interpolation=cv2.INTER_AREA)
    points = crop.points * (CROP_SIDE / crop.pixels.shape[0])
    means, deviations = lab.mean(axis=(0, 1)), lab.std(axis=(0, 1))
    colours, amounts = _skin(lab, unknown)
    parts = (grid, points, colours, amounts, means, deviations)
    return np.concatenate([part.ravel() for part in parts]).astype(np.float32)


def target_tone(crop: Crop) -> Array:
    """Return the mean Lab (L 0 .. 100) that a face in these surroundings should have, (3,) float64.

    It follows skin beside the mask, where most of it shows: the neck, or a side. The less skin there is, the more it follows an
    average face in the light of the scene, which is estimated from its brightest parts. In a grey image it is grey.
    """
    lab, unknown = _small_lab(crop)
    colours, amounts = _skin(lab, unknown)
    best = int(np.argmax(amounts[:3, 0] * amounts[:3, 1]))
    trust, share = amounts[best]
    skin = colours[best] / max(trust, 1e-6) + _NEUTRAL + _FACE_TO_NECK
    weight = _MAX_TRUST * trust * np.clip((share - 0.05) / 0.2, 0, 1)
    known = lab[~unknown]
    if not known.size:
        return _AVERAGE.copy()
    light = np.clip(np.percentile(known[:, 0], 95) / _FULL_LIGHT, 0.35, 1.05)
    tone = np.clip(weight * skin + (1 - weight) * _AVERAGE * [light, 1, 1], *_TONES)
    return np.asarray(tone * np.array([1, *[_colour(known)] * 2]), np.float64)


def colour_share(crop: Crop) -> float:
    """Return the share of its colour that a face keeps here: 0 in a grey image, 1 in any that is not nearly grey."""
    lab, unknown = _small_lab(crop)
    known = lab[~unknown]
    return _colour(known) if known.size else 1.0


def _colour(known: FloatArray) -> float:
    chroma = np.percentile(np.hypot(known[:, 1], known[:, 2]), 95)
    return float(np.clip(chroma / _GREY_CHROMA, 0, 1))


def _small_lab(crop: Crop) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Return Lab (L 0 .. 100) and unknown pixels of the crop at 128 px."""
    side = crop.pixels.shape[0]
    pixels, unknown = crop.pixels, crop.unknown
    if side != CROP_SIDE:
        pixels = cv2.resize(pixels, (CROP_SIDE, CROP_SIDE), interpolation=cv2.INTER_AREA)
        unknown = downscale_unknown(unknown)
    return np.asarray(cv2.cvtColor(pixels / np.float32(255), cv2.COLOR_RGB2LAB), np.float32), unknown


def _skin(lab: FloatArray, unknown: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
    """Return colour and amount of skin near the mask, below, left, right and at all places.

    Returns:
        (4, 3) difference from the Lab of average skin, weighted by trust; (4, 2) trust in the amount and share of skin, 0 .. 1.
    """
    near = np.exp(-distance_to_zero(~unknown) / REACH_PX) * ~unknown
    skin = near * _skin_likeness(lab)
    colours, amounts = [], []
    for place in (*_places(), np.ones_like(unknown)):
        here = skin * place
        amount = float(here.sum())
        trust = amount / (amount + _HALF_TRUST_PX)
        mean = np.einsum("hwc,hw->c", lab, here) / (amount + 1e-6)
        colours.append(trust * (mean - _NEUTRAL))
        amounts.append((trust, amount / (float((near * place).sum()) + 1e-6)))
    return np.array(colours, np.float64), np.array(amounts, np.float64)


def _skin_likeness(lab: FloatArray) -> FloatArray:
    """Return 0 .. 1, how well a colour fits skin of any people in usual light, by hue, chroma and lightness."""
    lightness, a, b = lab[:, :, 0], lab[:, :, 1], lab[:, :, 2]
    chroma, hue = np.hypot(a, b), np.degrees(np.arctan2(b, a))

    def within(values: FloatArray, low: float, high: float, soft: float) -> FloatArray:
        return np.asarray(np.clip(np.minimum(values - low, high - values) / soft, 0, 1), np.float32)

    return np.asarray(within(chroma, 6, 60, 6) * within(hue, 15, 95, 15) * within(lightness, 8, 108, 10), np.float32)


@functools.cache
def _places() -> tuple[npt.NDArray[np.bool_], ...]:
    """Return the pixels below, left and right of the crop's centre."""
    grid = np.arange(CROP_SIDE) + 0.5 - CROP_SIDE / 2
    angle = np.arctan2(grid[:, None], grid[None, :])
    return np.abs(angle - np.pi / 2) < 0.7, np.abs(angle) > 2.2, np.abs(angle) < 0.9
