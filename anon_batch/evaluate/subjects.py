"""Pictures with the faces that were found in them, and their treatment by a method: what all measures work on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from anon_batch.anonymize.ladder import Ladder
from anon_batch.anonymize.protocol import RegionAnonymizer
from anon_batch.config import AnonymizeConfig
from anon_batch.detect.protocol import Detector
from anon_batch.errors import WithheldError
from anon_batch.geometry import regions_of
from anon_batch.records import AnonymizedImage, DecodedImage, Detections, FloatArray, ManifestRow, Region


@dataclass(frozen=True, slots=True, eq=False)
class SearchedPicture:
    """A picture and what the first detector found in it; all of that is treated.

    Args:
        row: of the list.
        image: as it was before any treatment.
        detections: found faces.
    """

    row: ManifestRow
    image: DecodedImage
    detections: Detections


@dataclass(frozen=True, slots=True, eq=False)
class Portrait:
    """A picture of one person: the largest face found is theirs, and comes first among the detections.

    Args:
        image: as it was before any treatment.
        detections: found faces, the largest first.
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

    def named(self, image_id: str) -> Portrait:
        """The same under another id: the seed of a face depends on the picture's id."""
        return Portrait(replace(self.image, image_id=image_id), self.detections)


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """A method as a job has it: with its fallbacks.

    Args:
        name: as in the job file.
        alone: it.
        ladder: it and its fallbacks.
        config: the job's section, with this method.
    """

    name: str
    alone: RegionAnonymizer
    ladder: Ladder
    config: AnonymizeConfig

    def regions(self, image: DecodedImage, detections: Detections) -> list[Region]:
        """What is treated."""
        return regions_of(detections, image.width, image.height, self.config.expansion, self.config.shape)

    def treat(
        self, pictures: Sequence[tuple[DecodedImage, Detections]], run_key: bytes
    ) -> list[AnonymizedImage | None]:
        """The pictures' outputs before they are encoded; None for a picture that is withheld."""
        batch = [(image, self.regions(image, detections)) for image, detections in pictures]
        results = self.ladder.anonymize(batch, run_key)
        return [None if isinstance(result, WithheldError) else result for result in results]


def search(
    detector: Detector, batch: Sequence[tuple[ManifestRow, DecodedImage]], failures: Counter[str]
) -> list[SearchedPicture]:
    """Looks for faces; pictures that cannot be searched are counted by reason and left out."""
    try:
        found: list[Detections | None] = list(detector.detect([image for _, image in batch]))
    except WithheldError:
        found = [_search_one(detector, image, failures) for _, image in batch]
    return [
        SearchedPicture(row, image, detections)
        for (row, image), detections in zip(batch, found, strict=True)
        if detections is not None
    ]


def _search_one(detector: Detector, image: DecodedImage, failures: Counter[str]) -> Detections | None:
    try:
        return detector.detect([image])[0]
    except WithheldError as exc:
        failures[exc.reason] += 1
        return None


def portrait_of(picture: SearchedPicture) -> Portrait | None:
    """The picture as one of a person; None where no face, or none with landmarks, was found."""
    found = picture.detections
    sides = np.clip(found.boxes[:, 2:] - found.boxes[:, :2], 0, None)
    order = np.argsort(-sides.prod(axis=1), kind="stable")
    if not len(order) or not np.isfinite(found.landmarks[order[0]]).all():
        return None
    return Portrait(picture.image, found.take(order))
