"""The detector of a job: all configured ones, merged so that what any of them finds is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from anon_batch import plugins
from anon_batch.config import DetectConfig
from anon_batch.detect.from_manifest import NAME, ManifestBoxes
from anon_batch.detect.labels import CheckedDetector
from anon_batch.detect.merge import merge_detectors
from anon_batch.detect.protocol import Detector, DetectorSettings
from anon_batch.detect.registry import create_detector
from anon_batch.errors import ConfigError
from anon_batch.imaging.downscale import downscale
from anon_batch.models.runtime import Runtime
from anon_batch.records import Detections, GroundTruth, Preview


class Ensemble:
    """Several detectors as one.

    Args:
        parts: the detectors, the most trusted first.
        merge_iou: boxes of one label from different detectors that overlap at least this much are one detection.
        min_side_px: boxes whose longer side is smaller are dropped.
        max_side_px: longest side of an image as the parts see it; None shows the full size.
        manifest: gives the manifest's boxes, which go before all detections.
    """

    def __init__(
        self,
        parts: Sequence[Detector],
        merge_iou: float,
        min_side_px: float = 0.0,
        max_side_px: int | None = None,
        manifest: ManifestBoxes | None = None,
    ) -> None:
        self._parts = tuple(parts)
        self._manifest = manifest
        self._merge_iou = merge_iou
        self._min_side_px = min_side_px
        self._max_side_px = max_side_px
        names = [manifest.name] if manifest else []
        self.name = "+".join([*names, *(part.name for part in self._parts)])
        self.models = tuple(dict.fromkeys(model for part in self._parts for model in part.models))
        self.labels = tuple(dict.fromkeys(label for part in self._parts for label in part.labels))

    @property
    def requests(self) -> dict[str, int]:
        """Number of requests so far to each part that is a service, by name."""
        return {part.name: own for part in self._parts if (own := getattr(part, "requests", None)) is not None}

    def detect(self, images: Sequence[Preview], given: Sequence[GroundTruth | None] | None = None) -> list[Detections]:
        """Return the detections in each image, in px of the whole image.

        An error of any part is an error of the call, because the job asked for all of them.

        Args:
            images: to search.
            given: the manifest's regions of each image, px of the whole image, for the detector `manifest`; None if
                there are none.

        Raises:
            WithheldError: as Detector.detect.
        """
        if not images:
            return []
        found = self._found_by_parts(images)
        if self._manifest is not None:
            found.insert(0, self._manifest.detections([None] * len(images) if given is None else given))
        return self._merge(found)

    def detect_again(self, views: Sequence[Preview]) -> list[Detections]:
        """Return what the networks find in other views of images; the manifest's boxes are not for these.

        Raises:
            WithheldError: as Detector.detect.
        """
        found = self._found_by_parts(views) if views else []
        return self._merge(found) if found else [Detections.empty()] * len(views)

    def merge(self, found: Detections, more: Sequence[Detections]) -> Detections:
        """Add what was found in other views of an image, without what was found already."""
        return merge_detectors([found, *more], self._merge_iou)

    def _found_by_parts(self, images: Sequence[Preview]) -> list[list[Detections]]:
        shown = images if self._max_side_px is None else [downscale(image, self._max_side_px) for image in images]
        return [self._found_by(part, shown) for part in self._parts]

    def _merge(self, found: Sequence[Sequence[Detections]]) -> list[Detections]:
        merged = [merge_detectors(list(own), self._merge_iou) for own in zip(*found, strict=True)]
        return [self._large_enough(own) for own in merged]

    def _found_by(self, part: Detector, shown: Sequence[Preview]) -> list[Detections]:
        return [in_full_size(own, image) for own, image in zip(part.detect(shown), shown, strict=True)]

    def _large_enough(self, found: Detections) -> Detections:
        if not self._min_side_px:
            return found
        longer = (found.boxes[:, 2:] - found.boxes[:, :2]).max(axis=1, initial=-np.inf)
        return found.take(np.asarray(longer >= self._min_side_px, np.bool_))


def in_full_size(found: Detections, image: Preview) -> Detections:
    """Return detections in `image.pixels` as detections in the full image."""
    if image.scale_x == image.scale_y == 1:
        return found
    factor = np.asarray([image.scale_x, image.scale_y], np.float64)
    return replace(
        found,
        boxes=(found.boxes * np.tile(factor, 2)).astype(np.float32),
        landmarks=(found.landmarks * factor).astype(np.float32),
        witnesses=(found.witnesses * factor).astype(np.float32),
    )


def build_detector(config: DetectConfig, runtime: Runtime) -> Ensemble:
    """Return the detector that a job asks for.

    Detectors keep the order of the job, the most trusted first; the manifest's own boxes go before all.

    Args:
        config: the job's section `detect`.
        runtime: where weights come from, and what the networks run on.

    Raises:
        UnknownNameError: no such detector.
        ModelError: weights that are missing or not the pinned ones.
        ConfigError: a backend or device that is not there, labels or options that a detector does not have, `manifest` twice, or
            `manifest` alone although images without boxes are to be searched.
    """
    manifest: ManifestBoxes | None = None
    parts: list[Detector] = []
    for detector in config.detectors:
        settings = DetectorSettings(detector, config)
        if detector.name == NAME:
            if manifest is not None:  # because the labels of the first entry would be lost
                raise ConfigError(f"detect.detectors: `{NAME}` is named twice; name it once, with all its `labels`")
            manifest = plugins.load("detectors", NAME, detector.options, runtime, settings)
        else:
            parts.append(CheckedDetector(create_detector(detector, config, runtime), detector.labels))
    if manifest is not None and manifest.needs_others and not parts:
        raise ConfigError(
            f"detect.detectors: `{NAME}` with `unlabelled: search` needs another detector, which searches"
        )
    return Ensemble(parts, config.merge_iou, config.min_side_px, config.max_side_px, manifest)
