"""Blend a donor's face into its new surroundings: what `swap` renders, and what `gan` starts from.

Between the donor's head and the mask's border are colours rebuilt from the surroundings, so that background and body continue
into the mask and no seam shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from anon_batch.anonymize.faces import landmarks
from anon_batch.anonymize.faces.align import CROP_SIDE, Crop
from anon_batch.anonymize.faces.donors import DonorChoice
from anon_batch.geometry import distance_to_zero
from anon_batch.records import FloatArray

BORDER_SHARE = 0.04  # width, as a share of the crop, over which a donor fades before the mask's border
SIGMAS_PX = (0, 0.6, 0.9, 1.3, 1.8, 2.5, 3.5, 5.0)  # of a crop of 128 px, to try in turn
SHARPER = 2.0  # factor by which a face may be sharper than its surroundings, because it has finer texture than hair and clothes
COARSE_PX = 2.0  # of a crop of 128 px, sigma of what sharpness is measured against
EDGELESS = 2e-6  # mean energy of gradients of the blurred image, range 0 to 1, below which there are no edges
AROUND = (0.03, 0.2)  # distance from the mask, as a share of the crop's side, of what counts as surroundings
GAMMAS = (0.45, 2.2)  # least and most of what lightness is raised to
GAINS = (0.0, 2.0)  # least and most of what a and b are multiplied by


@dataclass(frozen=True, slots=True, eq=False)
class Composite:
    """A donor in its surroundings.

    Args:
        pixels: (side, side, 3) float32 RGB 0 .. 255; outside the mask the surroundings.
        weight: (side, side) float32, the donor's share, 0 outside the mask.
    """

    pixels: FloatArray
    weight: FloatArray


def blend_donor(crop: Crop, choice: DonorChoice) -> Composite:
    """Align the donor's landmarks with the target ones, match tone and sharpness, and blend.

    Args:
        crop: the surroundings.
        choice: donor and tone.
    """
    side = crop.pixels.shape[0]
    donor = choice.donor
    transform = landmarks.similarity(donor.points[None], crop.points[None])[0]
    face = warp(donor.pixels, transform, side)
    inside = fade_at_border(crop.unknown)
    weight = warp(donor.matte, transform, side) * inside
    face = match_sharpness(match_tone(face, weight, choice.tone), weight, crop)
    head = warp(donor.head, transform, side) * inside
    share = head[:, :, None]
    return Composite(crop.pixels * (1 - share) + face * share, head)


def warp(pixels: npt.NDArray[np.uint8] | FloatArray, transform: landmarks.Points, side: int) -> FloatArray:
    """Return an image (h, h, 3) or (h, h) under a similarity, (side, side, ...) float32; its border is continued outside."""
    scale = float(np.hypot(transform[0, 0], transform[1, 0]))
    if scale < 1:
        small = max(round(pixels.shape[0] * scale), 1)
        reduction = small / pixels.shape[0]
        pixels = cv2.resize(pixels, (small, small), interpolation=cv2.INTER_AREA)
        transform = np.concatenate([transform[:, :2] / reduction, transform[:, 2:]], axis=1)
    half = transform.copy()
    half[:, 2] += transform[:, :2] @ np.array([0.5, 0.5]) - 0.5
    flat = cv2.warpAffine(
        pixels.astype(np.float32), half, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(flat, np.float32)


def fade_at_border(unknown: npt.NDArray[np.bool_]) -> FloatArray:
    """Return 1 inside the unknown pixels, falling to 0 at their border, (side, side) float32."""
    inside = distance_to_zero(np.pad(unknown, 1))[1:-1, 1:-1]
    return smoothstep((inside - 0.5) / (BORDER_SHARE * unknown.shape[0]))


def match_tone(face: FloatArray, weight: FloatArray, tone: npt.NDArray[np.float64]) -> FloatArray:
    """Return the face with about the target mean colour.

    L gets a gamma, a and b are multiplied, so that black, white and grey stay. Greenish and bluish pixels (a or b below 0) do
    not become more so.

    Args:
        face: (side, side, 3) float32 RGB 0 .. 255.
        weight: (side, side) float32, where the face is.
        tone: (3,) target mean L, a, b (L 0 .. 100).
    """
    lab = cv2.cvtColor(face / np.float32(255), cv2.COLOR_RGB2LAB)
    total = float(weight.sum())
    if total < 1:
        return face
    lightness, *colours = np.clip(np.einsum("hwc,hw->c", lab, weight) / total, 1, 99)
    gamma = np.clip(np.log(np.clip(tone[0], 1, 99) / 100) / np.log(lightness / 100), *GAMMAS)
    lab[:, :, 0] = 100 * (lab[:, :, 0].clip(0, 100) / 100) ** np.float32(gamma)
    gain = np.clip(tone[1:] / colours, *GAINS).astype(np.float32)
    # Not multiplied below 0, because cold light on a cheek would become blue paint.
    lab[:, :, 1:] *= np.where(lab[:, :, 1:] > 0, gain, np.minimum(gain, 1))
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB).clip(0, 1) * np.float32(255), np.float32)


def match_sharpness(face: FloatArray, weight: FloatArray, crop: Crop) -> FloatArray:
    """Return the face, blurred until it is not sharper than its surroundings, if these have an edge.

    Sharpness is how much stronger gradients are than those of the same image blurred (after Crete et al. 2007, "The blur
    effect"); strong edges count most.
    """
    around = _around(crop.unknown)
    target = sharpness(crop.pixels, around)
    if target is None:
        return face
    inside = (weight > 0.5).astype(np.float32)
    scale = face.shape[0] / CROP_SIDE
    for sigma in SIGMAS_PX:
        soft = face if sigma == 0 else cv2.GaussianBlur(face, (0, 0), sigma * scale)
        own = sharpness(soft, inside)
        if own is None or own <= target * SHARPER:
            break
    return np.asarray(soft, np.float32)


def sharpness(pixels: FloatArray, weight: FloatArray) -> float | None:
    """Return the energy of gradients over that of the blurred image, weighted; at least 1, or None without edges.

    Args:
        pixels: (side, side, 3) float32 RGB 0 .. 255.
        weight: (side, side) float32.
    """
    grey = cv2.cvtColor(pixels / np.float32(255), cv2.COLOR_RGB2GRAY)
    fine = _gradient_energy(grey, weight)
    coarse = _gradient_energy(cv2.GaussianBlur(grey, (0, 0), COARSE_PX * pixels.shape[0] / CROP_SIDE), weight)
    total = float(weight.sum())
    return None if coarse <= EDGELESS * total else fine / coarse


def _gradient_energy(grey: FloatArray, weight: FloatArray) -> float:
    x, y = np.diff(grey, axis=1)[:-1], np.diff(grey, axis=0)[:, :-1]
    return float(((x * x + y * y) * weight[:-1, :-1]).sum())


def _around(unknown: npt.NDArray[np.bool_]) -> FloatArray:
    """Return 1 on the known pixels near the mask, but not next to it."""
    distance = distance_to_zero(~unknown)
    near, far = (share * unknown.shape[0] for share in AROUND)
    return np.asarray((distance > near) & (distance < far), np.float32)


def smoothstep(values: npt.NDArray[np.floating]) -> FloatArray:
    """Return the smoothstep of values clipped to 0 .. 1."""
    clipped = np.clip(values, 0, 1)
    return np.asarray(clipped * clipped * (3 - 2 * clipped), np.float32)
