"""Match a donor's colours to the place where it goes: a smooth field of Lab offsets that ignores outliers at the border.

The field is a membrane: known along the mask's border, smooth inside, as in Poisson image editing (Perez, Gangnet and Blake
2003). What differs at the border because other things lie there (hair against a wall) is no difference of light, and is left out
by Tukey's biweight (Beaton and Tukey 1974).
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from anon_batch.anonymize.faces.align import Crop
from anon_batch.anonymize.faces.colour import colour_share, skin_likeness
from anon_batch.anonymize.methods.inpaint import fill_unknown
from anon_batch.records import BoolArray, FloatArray

RELAXATIONS = 3  # of smooth fields, at each level
FIELD_SIDE = 48  # px at which the field is computed, because it is smooth
BAND = 0.05  # width of the border, as a share of the crop, whose offsets anchor the field
OUTLIER = 28.0  # Lab units from the median offset beyond which an offset has no weight
_LIGHTNESS_WEIGHT = 0.5  # of a squared difference of L in that distance
_OTHER_WEIGHT = 0.15  # of offsets where not both sides have the colour of skin
_SKIN = 0.3  # likeness from which a pixel counts as skin
_FEW = 12  # pixels of skin on both sides up to which the median of all offsets is the reference, not that of skin
_ANCHORED = 0.35  # weighted share of skin along the border at which its tone is believed fully
_BELIEVED = 0.4  # how much of the asked tone the border's skin replaces at most
_DEPTH = 0.12  # over which what is left at the border fades towards the middle, as a share of the crop
_SHADING = 0.05  # blur of a donor's shading, as a share of the crop
_EVENED = np.array([0.45, 0.6, 0.6], np.float32)  # share of it that is taken away
_GAMMAS = (0.4, 4.0)  # least and most of what lightness is raised to
_CONTRASTS = (0.5, 1.1)  # least and most by which colours are scaled with lightness
_COLDEST = np.array([-3.0, -3.0], np.float32)  # a and b below which a colour of a face is cold
_COLD_KEPT = np.float32(0.35)  # share of what lies below


def match_colours(
    donor: FloatArray,
    valid: BoolArray,
    matte: FloatArray,
    crop: Crop,
    tone: npt.NDArray[np.float64],
    cheek: npt.NDArray[np.float64],
) -> FloatArray:
    """Return the donor's Lab with softer shading, and the field added.

    Args:
        donor: (side, side, 3) float32 Lab, fitted to the crop.
        valid: (side, side) bool, where the donor's image reaches.
        matte: (side, side) float32, where the donor shows its face.
        crop: the surroundings.
        tone: (3,) Lab of a cheek that the surroundings ask for.
        cheek: (3,) Lab of the donor's cheeks.
    """
    share = colour_share(crop.lab[~crop.unknown])
    small = _shrink(donor)
    change = _even_out(small, _shrink(matte), cheek)
    asked = np.asarray((tone - cheek) * [1, share, share], np.float32)
    change = change + _border_field(small + change, valid, crop, asked)
    if crop.side != FIELD_SIDE:
        change = cv2.resize(change, (crop.side, crop.side), interpolation=cv2.INTER_LINEAR)
    out = donor + change
    out[:, :, 0], contrast = _change_lightness(donor[:, :, 0], change[:, :, 0])
    # Because shadows that become darker than the rest of the face would glow with the colour that they had.
    out[:, :, 1:] *= contrast.clip(*_CONTRASTS)[:, :, None]
    # Because no skin, hair or lip is green or blue, and irises that are would glow, such colours are drawn towards grey.
    cold = np.minimum(out[:, :, 1:] - _COLDEST, 0)
    out[:, :, 1:] = (out[:, :, 1:] - (1 - _COLD_KEPT) * cold) * np.float32(share)
    return np.asarray(out, np.float32)


def _even_out(donor: FloatArray, matte: FloatArray, cheek: npt.NDArray[np.float64]) -> FloatArray:
    """Return what takes a part of a face's smooth shading and of its casts away, (48, 48, 3) float32.

    Because light that comes from a side, from a sunset or through leaves belongs to the donor's own place.
    """
    blur = _SHADING * FIELD_SIDE
    weight = cv2.GaussianBlur(matte, (0, 0), blur)
    mean = cv2.GaussianBlur(donor * matte[:, :, None], (0, 0), blur) / np.maximum(weight, np.float32(1e-3))[:, :, None]
    change = (np.asarray(cheek, np.float32) - mean) * _EVENED
    return np.asarray(change * np.clip(weight * 2, 0, 1)[:, :, None], np.float32)


def _border_field(donor: FloatArray, valid: BoolArray, crop: Crop, asked: FloatArray) -> FloatArray:
    """Return the field (48, 48, 3) float32: the asked offset, and towards the border what is left there."""
    own = _shrink(crop.lab)
    usable = _shrink(np.asarray(~crop.unknown & valid, np.float32)) > 0.99
    distance = _shrink(crop.distance) * np.float32(FIELD_SIDE / crop.side)
    near = usable & (distance <= max(BAND * FIELD_SIDE, 1.5))
    left = own - donor - asked
    both = skin_likeness(own) * skin_likeness(donor + asked)
    if near.sum() <= 8:
        return np.broadcast_to(asked, left.shape)
    alike = near & (both > _SKIN)
    median = np.median(left[alike], axis=0) if alike.sum() > _FEW else np.zeros(3)
    squared = ((left - median) ** 2 * np.array([_LIGHTNESS_WEIGHT, 1, 1], np.float32)).sum(axis=2)
    trusted = np.maximum(1 - squared / OUTLIER**2, 0) ** 2
    weight = np.asarray(near * trusted * (_OTHER_WEIGHT + (1 - _OTHER_WEIGHT) * both), np.float32)
    skin = weight * both
    if weight.sum() <= 3:
        return np.broadcast_to(asked, left.shape)
    anchored = min(float(skin.sum()) / float(near.sum()) / _ANCHORED, 1)
    mean = (left * skin[:, :, None]).sum(axis=(0, 1)) / (float(skin.sum()) + 1e-3)
    mean = np.asarray(_BELIEVED * anchored * mean, np.float32)
    fade = np.exp(np.minimum(distance, 0) / np.float32(_DEPTH * FIELD_SIDE))[:, :, None]
    return np.asarray(asked + mean + (_spread(left, weight) - mean) * fade, np.float32)


def _shrink(values: FloatArray) -> FloatArray:
    """Return means over areas of values (side, side, ...) at the side of the field."""
    if len(values) == FIELD_SIDE:
        return values
    return np.asarray(cv2.resize(values, (FIELD_SIDE, FIELD_SIDE), interpolation=cv2.INTER_AREA), np.float32)


def _spread(offset: FloatArray, weight: FloatArray) -> FloatArray:
    """Return the smooth surface through weighted offsets."""
    blur_px = 0.6
    total = cv2.GaussianBlur(weight, (0, 0), blur_px)
    mean = (
        cv2.GaussianBlur(offset * weight[:, :, None], (0, 0), blur_px) / np.maximum(total, np.float32(1e-3))[:, :, None]
    )
    trust = np.asarray(np.clip(total / np.float32(0.3), 0, 1) * (total > 0.02), np.float32)
    return fill_unknown(np.asarray(mean, np.float32), trust, RELAXATIONS)


def _change_lightness(lightness: FloatArray, change: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return L with a local gamma, so that white stays white, and each pixel's factor relative to its neighbourhood's."""
    own = lightness.clip(0.5, 99.5)
    base = cv2.GaussianBlur(own, (0, 0), len(own) * 0.08).clip(4, 94)
    asked = (base + change).clip(4, 95)
    gamma = np.log(asked / 100) / np.log(base / 100)
    new = np.asarray(100 * (own / 100) ** np.clip(gamma, *_GAMMAS), np.float32)
    return new, np.asarray(new / own * base / asked, np.float32)
