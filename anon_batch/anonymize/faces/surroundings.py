"""The surroundings of a face in the frame in which donors are compared with them.

The frame is upright, 48 px wide, and scaled by the five landmarks: a face seen from the front has a box of 0.74 : 1 whose longer
side is the frame's side over 1.5. What lies under any mask or outside the image is unknown in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from anon_batch.anonymize.faces import landmarks
from anon_batch.anonymize.faces.align import Crop, warp_affine
from anon_batch.anonymize.faces.colour import dark_skin_likeness, skin_likeness
from anon_batch.geometry import distance_to_zero
from anon_batch.records import BoolArray, FloatArray

SIDE = 48  # px of the frame
CONTEXT = 1.5  # its side in units of the box's longer side
ASPECT = 0.74  # of a box: width over height
IDEAL: landmarks.Points = ((landmarks.CANONICAL - 0.5) * [ASPECT / CONTEXT, 1 / CONTEXT] + 0.5) * SIDE
REACH_PX = 3.0  # of the frame: distance from the mask over which a pixel's weight falls to 1 / e
_KNOWN_SHARE = 0.98  # a pixel of the frame is known when at least this share of what it stands for is
_FOREHEAD = 27  # rows of the frame from the top in which skin counts less, because hair and walls have its colours
_FOREHEAD_WEIGHT = 0.15
_NECK = np.s_[37:, 14:34]  # of the frame
# Cheek from skin beside the mask, by least squares on synthetic faces, drawn to the middle because light differs in photographs.
_TONE_SLOPE = np.array([0.85, 0.8, 0.8])
_TONE_SHIFT = np.array([13.0, 3.5, 4.0])
_AVERAGE = np.array([62.0, 12.0, 16.0])  # Lab of a cheek in full light, by how photographs are exposed
_FULL_LIGHT = 85.0  # L of the brightest parts of a photograph in full light
_TRUSTED_AMOUNT = 15.0  # weighted number of pixels with the colour of skin at which their mean is trusted fully


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """What lies around a face.

    Args:
        lab: (48, 48, 3) float32; unknown pixels are rebuilt from the known ones.
        known: (48, 48) bool.
        weight: (48, 48) float32, 0 where unknown, falling from 1 with the distance from the mask.
        skin: (48, 48) float32, `weight` times the likeness to skin.
        to_frame: (2, 3) float64 affine, px of the crop to px of the frame.
        points: (5, 2) float64, landmarks, px of the frame.
        tone: (3,) float64, Lab of a cheek that the skin in the surroundings asks for.
        trust: 0 .. 1, how much skin there is to say so.
        average: (3,) float64, Lab of an average cheek in the light of the scene.
        brightest: L of the brightest parts of the scene.
    """

    lab: FloatArray
    known: BoolArray
    weight: FloatArray
    skin: FloatArray
    to_frame: landmarks.Points
    points: landmarks.Points
    tone: npt.NDArray[np.float64]
    trust: float
    average: npt.NDArray[np.float64]
    brightest: float


def describe(crop: Crop) -> Surroundings:
    """Return the surroundings of a crop's face."""
    to_frame = landmarks.similarity(crop.points[None], IDEAL[None])[0]
    known_share = np.where(crop.unknown, np.float32(0), np.float32(1))
    lab = warp_affine(crop.lab, to_frame, SIDE, cv2.BORDER_REPLICATE)
    known = warp_affine(known_share, to_frame, SIDE, cv2.BORDER_CONSTANT) > _KNOWN_SHARE
    weight = np.asarray(np.exp(-distance_to_zero(known) / np.float32(REACH_PX)) * known, np.float32)
    skin = np.maximum(skin_likeness(lab), _dark_neck(lab)) * weight
    tone, trust = _ask_tone(lab, skin)
    brightest = _brightest(lab[known])
    average = _AVERAGE * [min(brightest / _FULL_LIGHT, 1.05), 1, 1]
    points = landmarks.apply(to_frame, crop.points)
    return Surroundings(lab, known, weight, skin, to_frame, points, tone, trust, average, brightest)


def _dark_neck(lab: FloatArray) -> FloatArray:
    """Return how well colours below the chin fit dark skin, (48, 48) float32: elsewhere dark hair has the same colours."""
    likeness = np.zeros(lab.shape[:2], np.float32)
    likeness[_NECK] = dark_skin_likeness(lab[_NECK])
    return likeness


def _brightest(known: FloatArray) -> float:
    """Return the 95th percentile of L of known colours (n, 3)."""
    if not len(known):
        return _FULL_LIGHT
    rank = int(0.95 * (len(known) - 1))
    return float(np.partition(known[:, 0], rank)[rank])


def _ask_tone(lab: FloatArray, skin: FloatArray) -> tuple[npt.NDArray[np.float64], float]:
    weight = skin.astype(np.float64)
    weight[:_FOREHEAD] *= _FOREHEAD_WEIGHT
    amount = float(weight.sum())
    mean = (lab * weight[:, :, None]).sum(axis=0).sum(axis=0) / (amount + 1e-6)
    return _TONE_SLOPE * mean + _TONE_SHIFT, float(np.clip(amount / _TRUSTED_AMOUNT, 0, 1))
