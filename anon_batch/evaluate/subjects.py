"""Images with their detected faces, and their anonymization by an evaluated method.

Only detections and ground truth with the label `face` count; other labels are neither anonymized nor measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from anon_batch.anonymize.ladder import Ladder
from anon_batch.anonymize.protocol import Method
from anon_batch.detect.ensemble import Ensemble
from anon_batch.errors import WithheldError
from anon_batch.records import (
    DEFAULT_LABEL,
    AnonymizedImage,
    DecodedImage,
    Detections,
    FloatArray,
    GroundTruth,
    ManifestRow,
    Preview,
    Region,
)


@dataclass(frozen=True, slots=True, eq=False)
class DetectedImage:
    """An image and the faces that the job's detectors found in it, all of which are anonymized.

    Args:
        row: of the list.
        image: the original.
        detections: faces.
    """

    row: ManifestRow
    image: DecodedImage
    detections: Detections


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """An image of one person, whose face is the largest one.

    Args:
        image: the original.
        detections: faces, the largest first; it has landmarks.
    """

    image: DecodedImage
    detections: Detections

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
        return Subject(replace(self.image, image_id=image_id), self.detections)


@dataclass(frozen=True, slots=True, eq=False)
class EvaluatedMethod:
    """A method with its fallbacks, as a job configures it.

    Args:
        name: of the method.
        alone: the method without fallbacks and checks.
        ladder: the method and its fallbacks.
    """

    name: str
    alone: Method
    ladder: Ladder

    def regions(self, image: DecodedImage, detections: Detections) -> list[Region]:
        """Return the regions that are anonymized."""
        return self.ladder.policy.regions_of(detections, image.width, image.height)

    def anonymize(
        self, images: Sequence[tuple[DecodedImage, Detections]], run_key: bytes
    ) -> list[AnonymizedImage | None]:
        """Return the outputs before encoding; None for an image that is withheld."""
        batch = [(image, self.regions(image, detections)) for image, detections in images]
        results = self.ladder.anonymize(batch, run_key)
        return [None if isinstance(result, WithheldError) else result for result in results]


def only_faces(detections: Detections) -> Detections:
    """Return the detections with the label `face`."""
    return detections.take(np.array([label == DEFAULT_LABEL for label in detections.labels], np.bool_))


def labelled_faces(row: ManifestRow) -> GroundTruth | None:
    """Return the row's ground truth with the label `face`; None if it has no ground truth."""
    truth = row.regions
    return None if truth is None else truth.take(np.array([label == DEFAULT_LABEL for label in truth.labels], np.bool_))


def detect_faces(
    detector: Ensemble, batch: Sequence[tuple[ManifestRow, DecodedImage]], failures: Counter[str]
) -> list[DetectedImage]:
    """Detect faces. Count images whose detection fails by reason, and skip them."""
    previews = [Preview(image.image_id, image.pixels) for _, image in batch]
    try:
        found: list[Detections | None] = list(detector.detect(previews, [row.regions for row, _ in batch]))
    except WithheldError:
        rows = [row for row, _ in batch]
        found = [_detect_one(detector, row, preview, failures) for row, preview in zip(rows, previews, strict=True)]
    return [
        DetectedImage(row, image, only_faces(detections))
        for (row, image), detections in zip(batch, found, strict=True)
        if detections is not None
    ]


def _detect_one(detector: Ensemble, row: ManifestRow, preview: Preview, failures: Counter[str]) -> Detections | None:
    try:
        return detector.detect([preview], [row.regions])[0]
    except WithheldError as exc:
        failures[exc.reason] += 1
        return None


def subject_of(image: DetectedImage) -> Subject | None:
    """Return the image as one of a single person; None if its largest face has no landmarks."""
    found = image.detections
    sides = np.clip(found.boxes[:, 2:] - found.boxes[:, :2], 0, None)
    order = np.argsort(-sides.prod(axis=1), kind="stable")
    if not len(order) or not np.isfinite(found.landmarks[order[0]]).all():
        return None
    return Subject(image.image, found.take(order))
