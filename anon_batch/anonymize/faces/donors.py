"""The bank of synthetic donor faces, and which of them a face gets.

A donor is an identity: the seed chooses it among those that suit. What suits is told by the five landmarks and by what
lies outside all masks, never by the face that is replaced.
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
from anon_batch.anonymize.faces.context import asked_tone, description
from anon_batch.anonymize.faces.matte import matte_of
from anon_batch.errors import ModelError
from anon_batch.records import FloatArray, PixelArray

MODEL_NAME = "donors"
_BLANK = Crop(
    np.zeros((CROP_SIDE, CROP_SIDE, 3), np.float32),
    np.zeros((CROP_SIDE, CROP_SIDE), np.bool_),
    landmarks.CANONICAL * CROP_SIDE,
)  # a bank that has no donor for it has none at all
# Donors that suit do so equally: a seed then keeps its donor where the surroundings change a little.
POSE_MISFIT = 0.05  # of landmarks, in units of their spread, up to which a pose suits
POSE_FALL = 0.02  # beyond, the misfit at which a donor is a deviation away
GOOD_SHARE = 0.4  # of the donors, by traits, that suit
TRAIT_FALL = 0.15  # how quickly a donor becomes unlikely beyond
_TIE = 1e-3  # of two mirror images that suit, the better one
_PICTURES = ("jpeg", "jpeg_end", "heads", "landmarks", "boxes")
_TRAITS = ("traits", "tone_scale", "weight", "bias")


@dataclass(frozen=True, slots=True, eq=False)
class Donor:
    """One face of the bank, mirrored or not.

    Args:
        index: 0 .. 2n - 1 of a bank of n pictures; odd ones are mirrored.
        pixels: (side, side, 3) uint8 RGB.
        points: (5, 2) landmarks, px.
        box: (4,) xyxy of the face, px.
        matte: (side, side) float32, 1 where the picture shows the face, 0 on hair and background.
        head: (side, side) float32, 1 where it shows the head, hair and ears too, 0 on the background.
    """

    index: int
    pixels: PixelArray
    points: landmarks.Points
    box: npt.NDArray[np.float64]
    matte: FloatArray
    head: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What a face gets.

    Args:
        donor: the face that replaces it.
        tone: (3,) mean Lab (L 0 .. 100) that the surroundings ask for.
    """

    donor: Donor
    tone: npt.NDArray[np.float64]


class DonorBank:
    """Donors by landmarks and traits.

    Traits are numbers that say how a face looks (tone, and what a detector's features tell of age, sex, hair and
    pose), each scaled by how well the surroundings predict it, so that distance counts only what can be told.

    Args:
        data: bytes of a bank as `tools/donor_bank.py` makes it (safetensors).

    Raises:
        ModelError: the bytes are no bank.
    """

    def __init__(self, data: bytes) -> None:
        try:
            tensors = safetensors.numpy.load(data)
            self._jpeg, self._ends, self._heads, self._points, self._boxes = (tensors[name] for name in _PICTURES)
            self._traits, self._tone_scale, self._weight, self._bias = (tensors[name] for name in _TRAITS)
        except Exception as exc:  # safetensors has errors of its own for each kind of damage
            raise ModelError(
                f"donor bank: not readable ({exc}); expected tensors {', '.join(_PICTURES + _TRAITS)}"
            ) from None
        self._decoded: dict[int, tuple[PixelArray, FloatArray, FloatArray]] = {}
        try:
            if len(self._heads) != len(self._ends) or self._heads.ndim != 3 or self._heads.dtype != np.uint8:
                raise ValueError(
                    f"heads {self._heads.shape} {self._heads.dtype}, expected ({len(self._ends)}, h, w) uint8"
                )
            self.choose(_BLANK, 0)
        except Exception as exc:  # by any of its tensors: each shape that does not fit has an error of its own
            raise ModelError(
                f"donor bank: its tensors do not fit together or this version ({exc}); make it anew"
            ) from None

    def __len__(self) -> int:
        """Number of identities: two a picture."""
        return len(self._points)

    def choose(self, crop: Crop, seed: int) -> Choice:
        """The donor for a face.

        Of donors weighted by how well they suit, one is drawn by the Gumbel-max trick (Gumbel 1954) with noise that
        belongs to (seed, picture): each is drawn in proportion to its weight, and one seed keeps its donor where
        surroundings are alike. Of a picture and its mirror image the one that suits better stands for both.

        Args:
            crop: the face's surroundings and asked landmarks.
            seed: of the face.
        """
        tone, traits = self._asked(crop)
        suits = self._log_weights(crop.points, traits)
        noise = np.repeat(keys.generator(seed).gumbel(size=len(self) // 2), 2)  # a face and its mirror image are one
        return Choice(self.donor(int(np.argmax(suits + noise))), tone)

    def donor(self, index: int) -> Donor:
        """The donor of an index, 0 .. len - 1."""
        picture = index // 2
        if picture not in self._decoded:
            self._decoded[picture] = self._decode(picture)
        pixels, matte, head = self._decoded[picture]
        points, box = self._points[index].astype(np.float64), self._boxes[index].astype(np.float64)
        if index % 2:
            pixels = np.ascontiguousarray(pixels[:, ::-1])
            matte, head = np.ascontiguousarray(matte[:, ::-1]), np.ascontiguousarray(head[:, ::-1])
        return Donor(index, pixels, points, box, matte, head)

    def _asked(self, crop: Crop) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Tone (3) and traits that the surroundings ask for; what traits they tell is learned by ridge regression."""
        tone = asked_tone(crop)
        codes = description(crop).astype(np.float64) @ self._weight + self._bias
        return tone, np.concatenate([tone * self._tone_scale, codes])

    def _log_weights(self, points: landmarks.Points, traits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """How well each donor suits: 0 for those whose pose and traits do, less for the others."""
        misfit = self._misfit(points)
        worse = np.maximum(misfit - POSE_MISFIT, 0) / POSE_FALL
        distance = ((self._traits - traits) ** 2).sum(axis=1)
        stranger = np.maximum(distance - np.quantile(distance, GOOD_SHARE), 0)
        return np.asarray(-0.5 * worse**2 - 0.5 * TRAIT_FALL * stranger - _TIE * misfit, np.float64)

    def _misfit(self, points: landmarks.Points) -> npt.NDArray[np.float64]:
        """Distance of eyes, nose and the mouth's middle from the asked ones under the best similarity, in units of their
        spread: that of poses. Mouth corners move with the expression, which a donor brings along.
        """
        own, asked = _pose(self._points.astype(np.float64)), _pose(points)
        fitted = landmarks.apply(landmarks.similarity(own, np.broadcast_to(asked, own.shape)), own)
        spread = np.linalg.norm(asked - asked.mean(axis=0), axis=1).mean() * 2
        return np.asarray(
            np.sqrt(((fitted - asked) ** 2).sum(axis=2).mean(axis=1)) / max(float(spread), 1e-6), np.float64
        )

    def _decode(self, picture: int) -> tuple[PixelArray, FloatArray, FloatArray]:
        """A picture of the bank, its face's matte and its head's."""
        start = int(self._ends[picture - 1]) if picture else 0
        data = self._jpeg[start : int(self._ends[picture])]
        pixels = np.asarray(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)
        matte = matte_of(pixels, self._boxes[2 * picture].astype(np.float64))
        head = cv2.resize(
            self._heads[picture].astype(np.float32) / 255, pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR
        )
        return pixels, matte, np.maximum(matte, head)


def _pose(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Eyes, nose and the mouth's middle, (..., 4, 2), of landmarks (..., 5, 2)."""
    return np.concatenate([points[..., :3, :], points[..., 3:, :].mean(axis=-2, keepdims=True)], axis=-2)
