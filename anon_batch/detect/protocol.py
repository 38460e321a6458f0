"""What every detector is, and what a network below one is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from anon_batch.config import DetectConfig, DetectorConfig
from anon_batch.errors import WithheldError
from anon_batch.models.store import ModelStore
from anon_batch.records import DecodedImage, Detections, PixelArray

RealArray = npt.NDArray[np.floating[Any]]

FAILURE = "detect"  # the published reason of a picture whose faces could not be looked for


class FaceDetector(Protocol):
    """Finds faces.

    Attributes:
        name: of the detector; it is written beside each detection.
        model_names: the registry's models that it runs; empty when it runs none.
    """

    @property
    def name(self) -> str: ...

    @property
    def model_names(self) -> tuple[str, ...]: ...

    def detect(self, images: Sequence[DecodedImage]) -> list[Detections]:
        """Faces of each picture, in the pictures' order.

        What is found in a picture does not depend on the others. Boxes are in continuous px, the picture's
        right border is x = width; they reach beyond it where a face does, so that the region that is drawn
        around the whole face covers all of its visible part. The pictures are not changed.

        Raises:
            WithheldError: one of the pictures cannot be searched. The whole call fails; the caller repeats it
                picture by picture, so that each of the others gets its result.
        """


class Finder(Protocol):
    """A network with its decoding: finds faces in bare pixels, in one piece."""

    @property
    def name(self) -> str: ...

    @property
    def model_names(self) -> tuple[str, ...]: ...

    def find(self, pieces: Sequence[PixelArray], scales: Sequence[float]) -> list[Detections]:
        """Faces of each piece.

        Args:
            pieces: (H, W, 3) uint8 RGB each, of any sizes; need not be contiguous.
            scales: resize factor of each before the network sees it.

        Returns:
            Detections in px of each piece, not clipped to it.
        """


class DetectorFactory(Protocol):
    """Builds a detector.

    A plug-in's factory may carry an attribute `model_names`, so that they are fetched ahead.
    """

    def __call__(
        self, detector: DetectorConfig, detect: DetectConfig, store: ModelStore, threads: int, device: str
    ) -> FaceDetector:
        """Builds it.

        Args:
            detector: this detector's own settings.
            detect: the settings of all.
            store: gives weights.
            threads: CPU threads that a call may use.
            device: `cpu`, `cuda` or `cuda:N`.

        Raises:
            UsageError: the settings, weights or device do not allow it.
        """


def network_size(side_px: int, scale: float) -> int:
    """A picture's side as the network sees it: scaled, rounded, at least 1 px."""
    return max(1, round(side_px * scale))


def checked_detections(name: str, boxes: RealArray, scores: RealArray, landmarks: RealArray) -> Detections:
    """A network's output as detections.

    Args:
        name: of the detector.
        boxes: (N, 4) xyxy.
        scores: (N,), clipped to [0, 1].
        landmarks: (N, 5, 2); points that are not finite make all five of that face NaN.

    Raises:
        WithheldError: a box or score is not finite: nothing can be said about the picture's faces.
    """
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise WithheldError(FAILURE, f"{name} gave boxes or scores that are not finite")
    marks = landmarks.astype(np.float32)
    marks[~np.isfinite(marks).all(axis=(1, 2))] = np.nan
    return Detections(boxes.astype(np.float32), np.clip(scores, 0, 1).astype(np.float32), marks, (name,) * len(boxes))
