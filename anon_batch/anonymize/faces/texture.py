"""Match a new face's sharpness and grain to its surroundings."""

from __future__ import annotations

import math

import cv2
import numpy as np

from anon_batch import keys
from anon_batch.anonymize.faces.align import Crop
from anon_batch.records import BoolArray, FloatArray

AROUND = (0.02, 0.16)  # distance from the mask, as a share of the crop's side, of what counts as surroundings
_SIGMAS = (0.6, 0.9, 1.3, 1.8, 2.5, 3.5)  # of a crop of 128 px, to choose from
_SHARPER = 2.4  # factor by which a face may be sharper than its surroundings, because it has finer texture than clothes and hair
_RESAMPLED = np.float32(0.45)  # share of the detail finer than a pixel or two that is added
_COARSE_PX = 2.0  # of a crop of 128 px, sigma of what sharpness is measured against
_EDGELESS = 2e-6  # mean energy of gradients of the blurred image, range 0 to 1, below which there are no edges
_GRAIN_STREAM = 1 << 65  # added to the seed, so that grain shares no random numbers with the choice of the donor
_LEAST_GRAIN, _MOST_GRAIN = 0.15, 4.0  # of L
_PLACE_PX = 7  # side of a place whose grain is measured
_FLATTEST = 0.12  # share of the places that are flatter than the one that counts, because texture is no grain


def match_sharpness(face: FloatArray, weight: FloatArray, crop: Crop) -> FloatArray:
    """Return the face, blurred until it is not much sharper than its surroundings, if these have an edge.

    Sharpness is how much stronger gradients are than those of the same image blurred (after Crete et al. 2007, "The blur
    effect").

    Args:
        face: (side, side, 3) float32 Lab.
        weight: (side, side) float32, where the face is.
        crop: the surroundings.
    """
    target = _sharpness(crop.lab[:, :, 0], _around(crop), crop.side)
    if target is None:
        return face
    lightness = np.ascontiguousarray(face[:, :, 0])
    own = _sharpness(lightness, weight, crop.side)
    if own is None or own <= target * _SHARPER:
        return face
    low, high = 0, len(_SIGMAS) - 1
    while low < high:
        middle = (low + high) // 2
        own = _sharpness(cv2.GaussianBlur(lightness, (0, 0), _SIGMAS[middle] * crop.side / 128), weight, crop.side)
        if own is None or own <= target * _SHARPER:
            high = middle
        else:
            low = middle + 1
    return np.asarray(cv2.GaussianBlur(face, (0, 0), _SIGMAS[high] * crop.side / 128), np.float32)


def sharpen(face: FloatArray) -> FloatArray:
    """Return the face's Lab with more fine detail in L, as much as resampling the donor and the crop takes away."""
    lightness = np.ascontiguousarray(face[:, :, 0])
    out = face.copy()
    out[:, :, 0] += _RESAMPLED * (lightness - cv2.GaussianBlur(lightness, (0, 0), 1.0))
    return out


def _sharpness(lightness: FloatArray, weight: FloatArray, side: int) -> float | None:
    """Return the energy of gradients over that of the blurred image, weighted; None without edges."""
    grey = np.asarray(lightness * np.float32(0.01), np.float32)
    fine = _gradient_energy(grey, weight)
    coarse = _gradient_energy(cv2.GaussianBlur(grey, (0, 0), _COARSE_PX * side / 128), weight)
    return None if coarse <= _EDGELESS * float(weight.sum()) else fine / coarse


def _gradient_energy(grey: FloatArray, weight: FloatArray) -> float:
    x, y = np.diff(grey, axis=1)[:-1], np.diff(grey, axis=0)[:, :-1]
    return float(((x * x + y * y) * weight[:-1, :-1]).sum())


def _around(crop: Crop) -> FloatArray:
    """Return 1 on the known pixels near the mask, but not next to it."""
    near, far = (share * crop.side for share in AROUND)
    return np.asarray((crop.distance > near) & (crop.distance < far) & ~crop.unknown, np.float32)


def add_grain(face: FloatArray, crop: Crop, seed: int) -> FloatArray:
    """Return the face's Lab with grain in L as strong as that of the flattest parts of its surroundings.

    Args:
        face: (side, side, 3) float32 Lab.
        crop: the surroundings.
        seed: of the face.
    """
    target = min(_grain(crop.lab, _around(crop) > 0), _MOST_GRAIN)
    own = _grain(face, crop.distance < -AROUND[0] * crop.side)
    missing = math.sqrt(max(target**2 - own**2, 0.0))
    if missing < _LEAST_GRAIN:
        return face
    noise = keys.generator(seed + _GRAIN_STREAM).standard_normal(face.shape[:2], np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 0.5)
    out = face.copy()
    out[:, :, 0] += noise * np.float32(missing / _grain(noise[:, :, None], np.ones(noise.shape, np.bool_)))
    return out


def _grain(lab: FloatArray, where: BoolArray) -> float:
    """Return the deviation of fine detail of L in the flattest places among some pixels; 0 for too few."""
    lightness = np.ascontiguousarray(lab[:, :, 0])
    detail = lightness - cv2.GaussianBlur(lightness, (0, 0), 1.0)
    energy = cv2.blur(detail * detail, (_PLACE_PX, _PLACE_PX))[where]
    if len(energy) < _PLACE_PX**2:
        return 0.0
    rank = int(len(energy) * _FLATTEST)
    return math.sqrt(max(float(np.partition(energy, rank)[rank]), 0.0))
