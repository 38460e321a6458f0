"""The interfaces of a detector and of the network that it may run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from anon_batch.config import DetectConfig, DetectorConfig
from anon_batch.errors import WithheldError
from anon_batch.geometry import non_maximum_suppression
from anon_batch.models.runtime import Runtime
from anon_batch.records import Detections, PixelArray, Preview

RealArray = npt.NDArray[np.floating[Any]]

FAILURE = "detect"  # the published reason of an image that could not be searched


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """The settings of one detector that are the same for all kinds of detectors.

    Args:
        config: the detector's entry in `detect.detectors`.
        detect: the section `detect`, which all detectors share.
    """

    config: DetectorConfig
    detect: DetectConfig

    @property
    def name(self) -> str:
        """Return the detector's name in the job file."""
        return self.config.name

    @property
    def scale(self) -> float:
        """Return the resize factor before this detector."""
        return self.config.scale or self.detect.scale

    @property
    def refines(self) -> bool:
        """Return whether small objects are looked at again, enlarged."""
        return self.detect.refine_small if self.config.refine is None else self.config.refine

    def threshold(self, default: float) -> float:
        """Return the lowest score of a detection: the job's, else the detector's default."""
        return default if self.config.threshold is None else self.config.threshold


class Detector(Protocol):
    """Finds objects in images.

    Attributes:
        name: of the detector; it is written beside each detection.
        models: names of the models that it runs, as the model registry knows them; empty when it runs none.
        labels: every label that it may give a detection. A detection with another label withholds the image.
    """

    @property
    def name(self) -> str: ...

    @property
    def models(self) -> tuple[str, ...]: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    def detect(self, images: Sequence[Preview]) -> list[Detections]:
        """Return the detections in each image, in the order of the images.

        What is found in one image does not depend on the others. Boxes are in continuous px of the image that was
        given; its right border is x = width. They may reach beyond the border, as a face does that the border cuts, so
        that the region around the whole face covers all of its visible part. The images are not changed.

        Raises:
            WithheldError: one of the images cannot be searched. The whole call fails; the caller repeats it
                image by image, so that each of the others gets its result.
        """


class Finder(Protocol):
    """A network with its decoding: finds objects in bare pixels, in one piece. Attributes as those of Detector."""

    @property
    def name(self) -> str: ...

    @property
    def models(self) -> tuple[str, ...]: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    def find(self, pieces: Sequence[PixelArray], scales: Sequence[float]) -> list[Detections]:
        """Return the detections in each piece.

        Args:
            pieces: (H, W, 3) uint8 RGB each, of any sizes; need not be contiguous.
            scales: resize factor of each before the network sees it.

        Returns:
            Detections in px of each piece, not clipped to it.
        """


class DetectorFactory(Protocol):
    """Builds a detector: a class with this constructor, or a function.

    An attribute `Options`, a subclass of `plugins.PluginOptions`, checks the detector's `options` in the job file; without
    it the detector has none.
    """

    def __call__(self, options: BaseModel, runtime: Runtime, settings: DetectorSettings) -> Detector:
        """Return the detector.

        Args:
            options: the detector's own options, an instance of `Options`.
            runtime: where weights come from, and what the networks run on.
            settings: threshold, scale and the section `detect`.

        Raises:
            UsageError: the settings, weights or device do not allow it.
        """


def network_size(side_px: int, scale: float) -> int:
    """Return an image's side as the network sees it: scaled, rounded, at least 1 px."""
    return max(1, round(side_px * scale))


def checked_detections(
    name: str, boxes: RealArray, scores: RealArray, landmarks: RealArray, nms_iou: float | None = None
) -> Detections:
    """Return the output of a network that finds faces as detections.

    Args:
        name: of the detector.
        boxes: (N, 4) xyxy.
        scores: (N,), clipped to [0, 1].
        landmarks: (N, 5, 2); points that are not finite make all five of that face NaN.
        nms_iou: drop each box that overlaps a better one by this much, and order the others by falling score. None keeps all.

    Raises:
        WithheldError: a box or score is not finite, so the output says nothing about the image.
    """
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise WithheldError(FAILURE, f"{name} gave boxes or scores that are not finite")
    boxes, scores = boxes.astype(np.float32), np.clip(scores, 0, 1).astype(np.float32)
    if nms_iou is not None:
        kept = non_maximum_suppression(boxes, scores, nms_iou)
        boxes, scores, landmarks = boxes[kept], scores[kept], landmarks[kept]
    marks = landmarks.astype(np.float32)
    marks[~np.isfinite(marks).all(axis=(1, 2))] = np.nan
    return Detections(boxes, scores, marks, (name,) * len(boxes))
