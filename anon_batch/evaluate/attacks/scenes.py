"""What an attack is run on: whole images, or faces alone.

Whole images answer whether a person can be found in the release. Hair, clothes, background and light answer that too, and
anonymizing faces leaves them as they are. What the anonymized face itself gives away shows where all of this is the same for
everybody: each face is moved to the same place of one common image, the mean of all persons' images, before it is anonymized.
A method that does not use the face gives outputs there that do not depend on the person, and nobody is recognised but by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import cv2
import numpy as np

from anon_batch.anonymize.faces.landmarks import apply, similarity
from anon_batch.evaluate.subjects import Subject
from anon_batch.imaging.source import SourceImage
from anon_batch.recognition.embedder import TEMPLATE
from anon_batch.records import BoolArray, Detections, FloatArray, PixelArray

SIDES = 3.0  # side of the common image in longer sides of the face's box
MIN_SIDE_PX, MAX_SIDE_PX = 32.0, 256.0


class Scene(Protocol):
    """What is shown of a subject."""

    @property
    def name(self) -> str:
        """Of the scene, as results call it."""

    def show(self, subject: Subject) -> Subject:
        """Return the image that is anonymized and attacked."""


@dataclass(frozen=True, slots=True)
class WholeImage:
    """Images as they are.

    Args:
        name: of the scene.
    """

    name: str = "whole image"

    def show(self, subject: Subject) -> Subject:
        """Return the subject."""
        return subject


@dataclass(frozen=True, slots=True, eq=False)
class FaceAlone:
    """Every face at the same place of the same image.

    Args:
        common: (S, S, 3) uint8 RGB, the mean of all persons' images.
        face: (S, S) bool, where the person's own pixels go.
        detection: of the face, the same for everybody.
        name: of the scene.
    """

    common: PixelArray
    face: BoolArray
    detection: Detections
    name: str = "face alone"

    @classmethod
    def of(cls, subjects: Sequence[Subject]) -> FaceAlone:
        """Return the scene of these subjects, at least one.

        Its face has the median size of theirs, and the median place of the box among the landmarks.
        """
        shapes = [_box_of_template(subject) for subject in subjects]
        x1, y1, x2, y2 = np.median(shapes, axis=0)
        lengths = [float((subject.box[2:] - subject.box[:2]).max()) for subject in subjects]
        side = float(np.clip(np.median(lengths), MIN_SIDE_PX, MAX_SIDE_PX))
        size = round(SIDES * side)
        scale = side / max(x2 - x1, y2 - y1)
        shift = size / 2 - scale * np.array([(x1 + x2) / 2, (y1 + y2) / 2])
        box = np.array([[x1, y1], [x2, y2]]) * scale + shift
        landmarks = (TEMPLATE + 0.5) * scale + shift
        detection = replace(
            subjects[0].detections.take(np.array([0])),
            boxes=box.reshape(1, 4).astype(np.float32),
            scores=np.asarray([np.median([one.detections.scores[0] for one in subjects])], np.float32),
            landmarks=landmarks[None].astype(np.float32),
            witnesses=np.zeros((1, 0, 5, 2), np.float32),
        )
        total = np.zeros((size, size, 3))
        for subject in subjects:
            total += _moved(subject, landmarks, size)
        common = np.rint(total / len(subjects)).astype(np.uint8)
        return cls(common, _inscribed_ellipse(detection.boxes[0], size), detection)

    def show(self, subject: Subject) -> Subject:
        """Return the subject's face in the common image."""
        own = _moved(subject, self.detection.landmarks[0], len(self.common))
        pixels = np.where(self.face[:, :, None], own, self.common)
        return Subject(SourceImage.from_array(subject.image.image_id, pixels), self.detection)


def _box_of_template(subject: Subject) -> FloatArray:
    """Return the box (4,) in px of ArcFace's crop."""
    to_crop = similarity(subject.landmarks.astype(np.float64), TEMPLATE + 0.5)
    scale = float(np.sqrt(np.abs(np.linalg.det(to_crop[:, :2]))))
    box = subject.box.astype(np.float64).reshape(2, 2)
    centre, half = apply(to_crop, box.mean(axis=0)[None])[0], (box[1] - box[0]) / 2 * scale
    return np.concatenate([centre - half, centre + half])


def _moved(subject: Subject, landmarks: FloatArray, size: int) -> PixelArray:
    """Return the image with its landmarks as near as possible to the given ones, continued beyond its border."""
    to_scene = similarity(subject.landmarks.astype(np.float64) - 0.5, landmarks.astype(np.float64) - 0.5)
    moved = cv2.warpAffine(
        subject.pixels, to_scene, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(moved, np.uint8)


def _inscribed_ellipse(box: FloatArray, size: int) -> BoolArray:
    centre, radii = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    y, x = np.mgrid[:size, :size] + 0.5
    return np.asarray(((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 <= 1, np.bool_)
