"""A training face as its own donor, and what makes it differ from the truth: another light, and another detector."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from anon_batch.anonymize.faces import align, landmarks, surroundings
from anon_batch.anonymize.faces.colour import rgb_to_lab
from anon_batch.anonymize.faces.donors import Donor
from anon_batch.records import FloatArray
from anon_batch.train.augmentation import relight
from anon_batch.train.face_crops import DONOR_SIDE, FaceCrop, donor_image
from anon_batch.train.matte import matte_of

_BOX_SHIFT, _BOX_SCALE, _LANDMARK_SHIFT = 0.012, 0.02, 0.008  # deviations of a detector, in units of the box
_MOVED = 0.004  # deviation of an own donor's landmarks, in units of its image's side
_CHEEK_ROWS, _CHEEK_COLUMNS = slice(24, 29), (slice(14, 19), slice(29, 34))  # of the landmark frame


def own_donor(face: FaceCrop) -> Donor:
    """Return the face as its own donor."""
    pixels, points, transform = donor_image(face)
    box = face.box.astype(np.float64) * transform[0, 0] + np.tile(transform[:, 2], 2)
    matte = np.rint(matte_of(pixels, box) * 255).astype(np.uint8)
    return Donor(0, pixels, matte, points, box, np.zeros(3))


def disturb(donor: Donor, rng: np.random.Generator) -> Donor:
    """Return the donor in another light and a little displaced."""
    light = relight(donor.pixels.astype(np.float32), rng)
    moved = donor.points + rng.normal(0, _MOVED * DONOR_SIDE, (5, 2))
    donor = replace(donor, pixels=np.rint(light).astype(np.uint8), points=moved)
    return replace(donor, cheek=_cheek(thumbnail(donor)))


def displace(face: FaceCrop, rng: np.random.Generator) -> FaceCrop:
    """Return the face as another detector would find it."""
    size = face.box[2:] - face.box[:2]
    centre = (face.box[:2] + face.box[2:]) / 2 + rng.normal(0, _BOX_SHIFT, 2) * size
    half = size / 2 * np.exp(rng.normal(0, _BOX_SCALE, 2))
    points = face.points + rng.normal(0, _LANDMARK_SHIFT, (5, 2)) * size
    return replace(
        face, box=np.concatenate([centre - half, centre + half]).astype(np.float32), points=points.astype(np.float32)
    )


def thumbnail(donor: Donor) -> FloatArray:
    """Return the donor in the landmark frame, (48, 48, 3) float32 Lab."""
    to_frame = landmarks.similarity(donor.points[None], surroundings.IDEAL[None])[0]
    return rgb_to_lab(align.warp_affine(donor.pixels, to_frame, surroundings.SIDE, cv2.BORDER_REPLICATE).clip(0, 255))


def _cheek(thumbnail: FloatArray) -> npt.NDArray[np.float64]:
    cheeks = [thumbnail[_CHEEK_ROWS, columns].reshape(-1, 3) for columns in _CHEEK_COLUMNS]
    return np.asarray(np.median(np.concatenate(cheeks), axis=0), np.float64)
