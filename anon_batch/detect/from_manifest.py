"""The boxes that the user already has: no network, every given box is treated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anon_batch.config import DetectConfig, DetectorConfig
from anon_batch.detect.protocol import FaceDetector, checked_detections
from anon_batch.errors import WithheldError
from anon_batch.models.store import ModelStore
from anon_batch.records import DecodedImage, Detections


class ManifestBoxes:
    """Gives each picture the manifest's boxes, with score 1 and without landmarks.

    Boxes that the ground truth ignores are given too: they are faces that do not count, but that can be seen.
    """

    name = "manifest"
    model_names: tuple[str, ...] = ()

    def detect(self, images: Sequence[DecodedImage]) -> list[Detections]:
        """See FaceDetector.detect.

        Raises:
            WithheldError: a picture has no boxes given (`no_boxes`), which differs from an empty list; or one
                that is not finite.
        """
        return [self._given(image) for image in images]

    def _given(self, image: DecodedImage) -> Detections:
        if image.given is None:
            raise WithheldError(
                "no_boxes", f"{image.image_id}: the manifest's `faces` is null; an empty list means no face"
            )
        count = len(image.given)
        landmarks = np.full((count, 5, 2), np.nan, np.float32)
        return checked_detections(self.name, image.given.boxes, np.ones(count, np.float32), landmarks)


def create(
    detector: DetectorConfig, detect: DetectConfig, store: ModelStore, threads: int, device: str
) -> FaceDetector:
    """See DetectorFactory. Threshold, scale and device do not concern it."""
    del detector, detect, store, threads, device
    return ManifestBoxes()
