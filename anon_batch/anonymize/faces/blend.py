"""Blend a donor into the place of a face: what `swap` renders, and what `gan` starts from.

Colours are matched by a membrane. Where the donor shows hair, background or clothes that do not continue the surroundings,
colours rebuilt from the surroundings take its place. The new face ends outside the mask, where old and new pixels differ least.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from anon_batch.anonymize.faces.align import Crop, warp_affine
from anon_batch.anonymize.faces.colour import lab_to_rgb, rgb_to_lab, skin_likeness, smoothstep
from anon_batch.anonymize.faces.donors import Donor
from anon_batch.anonymize.faces.fit import fit_donor
from anon_batch.anonymize.faces.membrane import FIELD_SIDE, RELAXATIONS, match_colours
from anon_batch.anonymize.faces.outline import fill_outline
from anon_batch.anonymize.faces.retrieve import Choice
from anon_batch.anonymize.faces.seam import FEATHER, find_alpha
from anon_batch.anonymize.faces.texture import add_grain, match_sharpness, sharpen
from anon_batch.anonymize.methods.inpaint import fill_unknown
from anon_batch.records import BoolArray, FloatArray

_MISMATCH = (5.0, 14.0)  # Lab units left at the border from which, and at which, what is no face is replaced
_STEP = (9.0, 22.0)  # the same, from which and at which a face fades in
_MATTE = (0.2, 0.6)  # the donor's face matte from which, and at which, a pixel is kept in any case
_BORDER = 0.03  # width of the border whose residual is looked at, as a share of the crop
_FADE = 0.03  # depth over which a face fades in behind a border that it does not match, as a share of the crop
_CARRIED = 0.25  # depth over which colours of the nearest known pixel give way to smooth ones, as a share of the crop
_SOFT = 0.035  # blur of carried colours, as a share of the crop
_SEAM_SIDE = 64  # px of the smallest crop for which a free seam shows


@dataclass(frozen=True, slots=True, eq=False)
class Composite:
    """A donor in its new place.

    Args:
        pixels: (side, side, 3) float32 RGB 0 .. 255.
        alpha: (side, side) float32, their share in the result, 1 inside the face's mask.
    """

    pixels: FloatArray
    alpha: FloatArray


def blend_donor(crop: Crop, donor: Donor, choice: Choice, seed: int, reach: float) -> Composite:
    """Return the donor in the crop.

    Args:
        crop: the surroundings.
        donor: the chosen one.
        choice: with the tone that the surroundings ask for.
        seed: of the face, for its grain.
        reach: how far outside the mask pixels may change, px of the crop; 0 for a hard edge.
    """
    transform = fit_donor(donor.points, donor.box, crop)
    image = warp_affine(np.dstack([donor.pixels, donor.matte]), transform, crop.side, cv2.BORDER_REPLICATE)
    covered = warp_affine(np.full(donor.matte.shape, 255, np.uint8), transform, crop.side, cv2.BORDER_CONSTANT)
    if crop.box is not None:
        image = fill_outline(np.dstack([image, covered]), image[:, :, 3] * np.float32(1 / 255), crop)
        covered = image[:, :, 4]
    valid = np.asarray(covered > 230, np.bool_)
    matte = image[:, :, 3].clip(0, 255) * np.float32(1 / 255)
    face = rgb_to_lab(np.ascontiguousarray(image[:, :, :3]).clip(0, 255))
    face = sharpen(match_sharpness(face, np.asarray(crop.distance < 0, np.float32), crop))
    face = match_colours(face, valid, matte, crop, choice.tone, donor.cheek)
    difference = face - crop.lab
    alpha = _alpha(crop, difference, valid, reach)
    face = _replace_what_is_no_face(face, difference, matte, crop)
    return Composite(lab_to_rgb(add_grain(face, crop, seed)).clip(0, 255), alpha)


def _alpha(crop: Crop, difference: FloatArray, valid: BoolArray, reach: float) -> FloatArray:
    if reach <= 0:
        return np.asarray(crop.distance <= 1, np.float32)
    if crop.side >= _SEAM_SIDE and crop.box is not None:
        squared = (difference**2 * np.array([1, 1.5, 1.5], np.float32)).sum(axis=2)
        blurred = cv2.GaussianBlur(np.sqrt(squared), (0, 0), max(0.6, crop.side / 200))
        return find_alpha(crop, np.asarray(blurred, np.float32), valid, reach)
    feather = min(max(2 * FEATHER * crop.side, 1.5), reach)
    alpha = np.clip(1 - (crop.distance - 0.5) / feather, 0, 1)
    return np.asarray(np.where(crop.unknown & (crop.distance <= 0.75), 1, alpha), np.float32)


def _replace_what_is_no_face(face: FloatArray, difference: FloatArray, matte: FloatArray, crop: Crop) -> FloatArray:
    """Return the face's Lab with the surroundings' colours where it shows no face and does not match the border."""
    residual = _spread_residual(difference, crop)
    kept = 1 - _ramp(residual, *_MISMATCH) * (1 - _ramp(matte, *_MATTE))
    # Where skin goes on across the border but in another tone, the face fades in, because a step in skin shows most.
    depth = smoothstep(np.asarray(-crop.distance / (_FADE * crop.side), np.float32))
    kept = kept * (1 - _ramp(residual, *_STEP) * (1 - depth) * crop.unknown * skin_likeness(crop.lab))
    rebuilt = continue_border(crop)
    return np.asarray(rebuilt + (face - rebuilt) * kept[:, :, None], np.float32)


def continue_border(crop: Crop) -> FloatArray:
    """Return Lab with the colours of the nearest known pixel carried into the mask, and smooth ones further inside.

    Smooth colours alone would smear the edges that meet the border, e.g. of a neck against a wall.
    """
    from scipy.ndimage import distance_transform_edt  # slow to import

    depth, (y, x) = distance_transform_edt(crop.unknown, return_indices=True)
    nearest = crop.lab[y, x]
    soft = cv2.GaussianBlur(nearest, (0, 0), max(_SOFT * crop.side, 0.7))
    sharp = cv2.GaussianBlur(nearest, (0, 0), max(0.25 * _SOFT * crop.side, 0.5))
    out = crop.lab
    for values, reach in ((soft, _CARRIED), (sharp, 0.5 * _CARRIED)):
        share = np.exp(-depth / (reach * crop.side)).astype(np.float32) * crop.unknown
        out = out + (values - out) * share[:, :, None]
    return np.asarray(out, np.float32)


def _spread_residual(difference: FloatArray, crop: Crop) -> FloatArray:
    """Return the Lab distance of new and old pixels at the border nearby, carried into the mask, (side, side) float32."""
    residual = np.sqrt((difference**2 * np.array([0.6, 1, 1], np.float32)).sum(axis=2)).clip(0, 60)
    border = ~crop.unknown & (crop.distance <= max(_BORDER * crop.side, 2))
    values = np.dstack([residual * border, border]).astype(np.float32)
    small = cv2.resize(values, (FIELD_SIDE, FIELD_SIDE), interpolation=cv2.INTER_AREA)
    weight = np.ascontiguousarray(small[:, :, 1])
    if not weight.any():
        return np.zeros(residual.shape, np.float32)
    mean = small[:, :, 0] / np.maximum(weight, np.float32(1e-3))
    spread = fill_unknown(np.repeat(mean[:, :, None], 3, axis=2), weight, RELAXATIONS)[:, :, 0]
    wide = cv2.resize(np.ascontiguousarray(spread), (crop.side, crop.side), interpolation=cv2.INTER_LINEAR)
    return np.asarray(wide, np.float32)


def _ramp(values: FloatArray, low: float, high: float) -> FloatArray:
    return np.asarray(np.clip((values - low) / (high - low), 0, 1), np.float32)
