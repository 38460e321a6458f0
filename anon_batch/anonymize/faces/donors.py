"""The bank of synthetic donor faces, and the choice among them.

A donor is an identity: the seed chooses it among those that fit. How well a donor fits depends on the five landmarks and on what
lies outside all masks, never on the face that is replaced.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import safetensors.numpy

from anon_batch import keys
from anon_batch.anonymize.faces import landmarks
from anon_batch.anonymize.faces.align import CROP_SIDE, Crop
from anon_batch.anonymize.faces.context import describe_surroundings, target_tone
from anon_batch.anonymize.faces.matte import matte_of
from anon_batch.errors import ModelError
from anon_batch.records import FloatArray, PixelArray

MODEL_NAME = "donors"
_BLANK = Crop(
    np.zeros((CROP_SIDE, CROP_SIDE, 3), np.float32),
    np.zeros((CROP_SIDE, CROP_SIDE), np.bool_),
    landmarks.CANONICAL * CROP_SIDE,
)  # a bank without a donor for it is broken
# Donors that fit well enough fit equally, so that a seed keeps its donor where the surroundings change a little.
POSE_MISFIT = 0.05  # of landmarks, in units of their spread, up to which a pose fits
POSE_FALL = 0.02  # beyond it, the misfit of one standard deviation
GOOD_SHARE = 0.4  # share of the donors that fit by their traits
TRAIT_FALL = 0.15  # how fast a donor becomes unlikely beyond them
_TIE = 1e-3  # weight of the misfit that decides between two mirror images that both fit
_IMAGES = ("jpeg", "jpeg_end", "heads", "landmarks", "boxes")
_TRAITS = ("traits", "tone_scale", "weight", "bias")


@dataclass(frozen=True, slots=True, eq=False)
class Donor:
    """One face of the bank, mirrored or not.

    Args:
        index: 0 .. 2n - 1 of a bank of n images; odd ones are mirrored.
        pixels: (side, side, 3) uint8 RGB.
        points: (5, 2) landmarks, px.
        box: (4,) xyxy of the face, px.
        matte: (side, side) float32, 1 where the image shows the face, 0 on hair and background.
        head: (side, side) float32, 1 where it shows the head, hair and ears too, 0 on the background.
    """

    index: int
    pixels: PixelArray
    points: landmarks.Points
    box: npt.NDArray[np.float64]
    matte: FloatArray
    head: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class DonorChoice:
    """The donor for a face.

    Args:
        donor: the face that replaces it.
        tone: (3,) target mean Lab (L 0 .. 100).
    """

    donor: Donor
    tone: npt.NDArray[np.float64]


class DonorBank:
    """Donors with their landmarks and traits.

    Traits are numbers that describe how a face looks (tone, and what a detector's features say about age, sex, hair and pose),
    each scaled by how well the surroundings predict it, so that a distance counts only what can be predicted.

    Args:
        data: bytes of a bank, as `tools/donor_bank.py` writes it (safetensors).

    Raises:
        ModelError: the bytes are not a bank.
    """

    def __init__(self, data: bytes) -> None:
        try:
            tensors = safetensors.numpy.load(data)
            self._jpeg, self._ends, self._heads, self._points, self._boxes = (tensors[name] for name in _IMAGES)
            self._traits, self._tone_scale, self._weight, self._bias = (tensors[name] for name in _TRAITS)
        except Exception as exc:  # safetensors has its own errors for each kind of damage
            raise ModelError(
                f"donor bank: not readable ({exc}); expected tensors {', '.join(_IMAGES + _TRAITS)}"
            ) from None
        self._decoded: dict[int, tuple[PixelArray, FloatArray, FloatArray]] = {}
        try:
            if len(self._heads) != len(self._ends) or self._heads.ndim != 3 or self._heads.dtype != np.uint8:
                raise ValueError(
                    f"heads {self._heads.shape} {self._heads.dtype}, expected ({len(self._ends)}, h, w) uint8"
                )
            self.choose(_BLANK, 0)
        except Exception as exc:  # each tensor that does not fit raises its own error
            raise ModelError(
                f"donor bank: its tensors do not fit together or this version ({exc}); build it again"
            ) from None

    def __len__(self) -> int:
        """Return the number of identities: two for each image."""
        return len(self._points)

    def choose(self, crop: Crop, seed: int) -> DonorChoice:
        """Return the donor for a face.

        Donors are weighted by how well they fit, and one is drawn by the Gumbel-max trick (Gumbel 1954) with noise that belongs
        to seed and image: each is drawn in proportion to its weight, and a seed keeps its donor where the surroundings are
        alike. The better of an image and its mirror image stands for both.

        Args:
            crop: the face's surroundings and target landmarks.
            seed: of the face.
        """
        tone, traits = self._predict(crop)
        fit = self._log_weights(crop.points, traits)
        noise = np.repeat(keys.generator(seed).gumbel(size=len(self) // 2), 2)  # one for a face and its mirror image
        return DonorChoice(self.donor(int(np.argmax(fit + noise))), tone)

    def donor(self, index: int) -> Donor:
        """Return the donor of an index, 0 .. len - 1."""
        image = index // 2
        if image not in self._decoded:
            self._decoded[image] = self._decode(image)
        pixels, matte, head = self._decoded[image]
        points, box = self._points[index].astype(np.float64), self._boxes[index].astype(np.float64)
        if index % 2:
            pixels = np.ascontiguousarray(pixels[:, ::-1])
            matte, head = np.ascontiguousarray(matte[:, ::-1]), np.ascontiguousarray(head[:, ::-1])
        return Donor(index, pixels, points, box, matte, head)

    def _predict(self, crop: Crop) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the target tone (3,) and the traits that ridge regression predicts from the surroundings."""
        tone = target_tone(crop)
        codes = describe_surroundings(crop).astype(np.float64) @ self._weight + self._bias
        return tone, np.concatenate([tone * self._tone_scale, codes])

    def _log_weights(self, points: landmarks.Points, traits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return how well each donor fits: 0 where pose and traits fit, less for the others."""
        misfit = self._misfit(points)
        worse = np.maximum(misfit - POSE_MISFIT, 0) / POSE_FALL
        distance = ((self._traits - traits) ** 2).sum(axis=1)
        excess = np.maximum(distance - np.quantile(distance, GOOD_SHARE), 0)
        return np.asarray(-0.5 * worse**2 - 0.5 * TRAIT_FALL * excess - _TIE * misfit, np.float64)

    def _misfit(self, points: landmarks.Points) -> npt.NDArray[np.float64]:
        """Return the distance of each donor's pose from the target one, in units of the spread of the landmarks.

        Eyes, nose and the centre of the mouth are compared under the best similarity. Mouth corners are not, because they move
        with the expression, which comes with the donor.
        """
        own, target = _pose(self._points.astype(np.float64)), _pose(points)
        fitted = landmarks.apply(landmarks.similarity(own, np.broadcast_to(target, own.shape)), own)
        spread = np.linalg.norm(target - target.mean(axis=0), axis=1).mean() * 2
        return np.asarray(
            np.sqrt(((fitted - target) ** 2).sum(axis=2).mean(axis=1)) / max(float(spread), 1e-6), np.float64
        )

    def _decode(self, image: int) -> tuple[PixelArray, FloatArray, FloatArray]:
        """Return an image of the bank with the mattes of face and head."""
        start = int(self._ends[image - 1]) if image else 0
        data = self._jpeg[start : int(self._ends[image])]
        pixels = np.asarray(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)
        matte = matte_of(pixels, self._boxes[2 * image].astype(np.float64))
        head = cv2.resize(
            self._heads[image].astype(np.float32) / 255, pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR
        )
        return pixels, matte, np.maximum(matte, head)


def _pose(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return eyes, nose and the centre of the mouth, (..., 4, 2), of landmarks (..., 5, 2)."""
    return np.concatenate([points[..., :3, :], points[..., 3:, :].mean(axis=-2, keepdims=True)], axis=-2)
