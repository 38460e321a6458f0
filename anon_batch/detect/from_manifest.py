"""The boxes that the manifest gives: no network, every box is a detection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from anon_batch.detect.protocol import DetectorSettings
from anon_batch.errors import WithheldError
from anon_batch.models.runtime import Runtime
from anon_batch.plugins import PluginOptions
from anon_batch.records import BoolArray, Detections, GroundTruth

NAME = "manifest"


class ManifestOptions(PluginOptions):
    """Options of `manifest`."""

    unlabelled: Literal["withhold", "search"] = Field(
        "withhold",
        description="Images whose `regions` are null: `withhold` them, or `search` them by the other detectors alone.",
    )


class ManifestBoxes:
    """Gives each image the manifest's boxes with their labels, score 1 and no landmarks.

    Boxes that the ground truth ignores are given too, because they do not count as found or missed but can be seen.
    Boxes to keep are given too, because a later step counts and skips them.

    Args:
        options: what becomes of images without boxes.
        runtime: not used, because there is no network.
        settings: of the job, with the labels of the boxes to use; threshold and scale have no effect.
    """

    name = NAME
    Options = ManifestOptions

    def __init__(self, options: ManifestOptions, runtime: Runtime, settings: DetectorSettings) -> None:
        labels = settings.config.labels
        self._labels = None if labels is None else frozenset(labels)
        self.needs_others = options.unlabelled == "search"

    def detections(self, given: Sequence[GroundTruth | None]) -> list[Detections]:
        """Return the detections of each image.

        Args:
            given: the manifest's regions of each image, px of the full image.

        Raises:
            WithheldError: an image has no boxes given (`no_boxes`), which differs from an empty list, and no other detector
                looks at it; or they are shares (`bad_box`).
            ValueError: a box is not finite, which `given_boxes` tells before.
        """
        return [self._detections(truth) for truth in given]

    def _detections(self, truth: GroundTruth | None) -> Detections:
        if truth is None and self.needs_others:
            return Detections.empty()
        if truth is None:
            raise WithheldError("no_boxes", "the manifest's `regions` is null; an empty list means that there is none")
        if truth.is_normalised:
            raise WithheldError("bad_box", "the boxes are in shares of the image's sides, and nobody scaled them")
        n = len(truth)
        landmarks = np.full((n, 5, 2), np.nan, np.float32)
        boxes = truth.boxes.astype(np.float32)
        found = Detections(boxes, np.ones(n, np.float32), landmarks, (self.name,) * n, truth.labels)
        return found if self._labels is None else found.take(self._wanted(found))

    def _wanted(self, found: Detections) -> BoolArray:
        labels = self._labels or frozenset()
        return np.array([label in labels for label in found.labels], np.bool_)
