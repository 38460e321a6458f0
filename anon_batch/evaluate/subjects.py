"""Images with their detected faces, and their anonymization by an evaluated method.

Only detections and ground truth with the label `face` count; other labels are neither anonymized nor measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anon_batch.anonymize.protocol import Method
from anon_batch.anonymizer import Anonymizer
from anon_batch.detect.kept import kept_by_owner
from anon_batch.imaging.source import SourceImage
from anon_batch.outcomes import Anonymized, Clean, Withheld
from anon_batch.records import DEFAULT_LABEL, Detections, FloatArray, GroundTruth, ManifestRow, PixelArray, Region

Output = Clean | Anonymized


@dataclass(frozen=True, slots=True, eq=False)
class DetectedImage:
    """An image and the faces that the job's detectors found in it, all of which are anonymized.

    Args:
        row: of the list.
        image: the original.
        detections: faces.
    """

    row: ManifestRow
    image: SourceImage
    detections: Detections


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """An image of one person, whose face is the largest one.

    Args:
        image: the original.
        detections: faces, the largest first; it has landmarks.
    """

    image: SourceImage
    detections: Detections

    @property
    def pixels(self) -> PixelArray:
        """(H, W, 3) uint8 RGB of the original."""
        return self.image.decode().pixels

    @property
    def landmarks(self) -> FloatArray:
        """(5, 2) px of the person's face."""
        return np.asarray(self.detections.landmarks[0], np.float32)

    @property
    def box(self) -> FloatArray:
        """(4,) xyxy of the person's face."""
        return np.asarray(self.detections.boxes[0], np.float32)

    def with_id(self, image_id: str) -> Subject:
        """Return the same with another image id, from which the seeds of its faces derive."""
        return Subject(SourceImage.from_array(image_id, self.pixels), self.detections)


@dataclass(frozen=True, slots=True, eq=False)
class EvaluatedMethod:
    """A method with its fallbacks and checks, as a job configures it.

    Args:
        name: of the method.
        anonymizer: of the job, with the method for faces.
    """

    name: str
    anonymizer: Anonymizer

    @property
    def ladder(self) -> tuple[str, ...]:
        """The method and its fallbacks."""
        return tuple(self.anonymizer.ladder.names)

    @property
    def alone(self) -> Method | None:
        """The method without fallbacks and checks; None if it cannot be called by itself."""
        return self.anonymizer.ladder[self.name]

    def regions(self, image: SourceImage, detections: Detections) -> list[Region]:
        """Return the regions that are anonymized."""
        return self.anonymizer.ladder.policy.regions_of(detections, image.width, image.height)

    def anonymize(self, images: Sequence[tuple[SourceImage, Detections]], key: bytes) -> list[Output | None]:
        """Return the outputs before encoding; None for an image that is withheld."""
        sources, detections = [image for image, _ in images], [found for _, found in images]
        outcomes = self.anonymizer.with_key(key).process(sources, detections=detections)
        return [None if isinstance(outcome, Withheld) else outcome for outcome in outcomes]


def only_faces(detections: Detections) -> Detections:
    """Return the detections with the label `face`."""
    return detections.take(np.array([label == DEFAULT_LABEL for label in detections.labels], np.bool_))


def labelled_faces(row: ManifestRow) -> GroundTruth | None:
    """Return the row's ground truth with the label `face`; None if it has no ground truth."""
    truth = row.regions
    return None if truth is None else truth.take(np.array([label == DEFAULT_LABEL for label in truth.labels], np.bool_))


def detect_faces(
    anonymizer: Anonymizer, batch: Sequence[tuple[ManifestRow, SourceImage]], failures: Counter[str]
) -> list[DetectedImage]:
    """Detect faces, without those that the ground truth marks `keep`. Count images that fail by reason, and skip them."""
    found = anonymizer.detect([image for _, image in batch], [row.regions for row, _ in batch])
    detected = []
    for (row, image), detections in zip(batch, found, strict=True):
        if isinstance(detections, Withheld):
            failures[detections.error.reason] += 1
        else:
            faces = only_faces(detections.take(~kept_by_owner(detections, row.regions)))
            detected.append(DetectedImage(row, image, faces))
    return detected


def subject_of(image: DetectedImage) -> Subject | None:
    """Return the image as one of a single person; None if its largest face has no landmarks."""
    found = image.detections
    sides = np.clip(found.boxes[:, 2:] - found.boxes[:, :2], 0, None)
    order = np.argsort(-sides.prod(axis=1), kind="stable")
    if not len(order) or not np.isfinite(found.landmarks[order[0]]).all():
        return None
    return Subject(image.image, found.take(order))
