"""Landmark errors: whether a detector finds the five landmarks of an anonymized face where the method got them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from anon_batch.geometry import pairwise_iou
from anon_batch.records import Detections, FloatArray

SAME_FACE_IOU = 0.3  # low, because hair and chin may change the box of an anonymized face


@dataclass(frozen=True, slots=True)
class LandmarkMeasures:
    """Landmark errors of a detector.

    Args:
        faces: measured.
        undetected_share: faces that the detector does not find; None without faces.
        median, p90: error of the detected ones, in units of the distance between the eyes; None without any.
    """

    faces: int
    undetected_share: float | None
    median: float | None
    p90: float | None


def normalized_error(expected: npt.NDArray[np.floating[Any]], found: npt.NDArray[np.floating[Any]]) -> float | None:
    """Return the mean distance of five points, in units of the expected distance between the eyes.

    Sagonas et al. 2013, "300 Faces in-the-wild challenge", with the landmarks at the eyes' centres.

    Args:
        expected: (5, 2) px.
        found: (5, 2) px.

    Returns:
        None if the expected eyes coincide, as in a profile.
    """
    eyes = float(np.linalg.norm(expected[0] - expected[1]))
    if eyes < 1e-6:
        return None
    return float(np.linalg.norm(np.asarray(expected, np.float64) - found, axis=1).mean()) / eyes


def face_at(box: FloatArray, detections: Detections) -> int | None:
    """Return the index of the detection with landmarks that overlaps `box` (4,) most; None below `SAME_FACE_IOU`."""
    if not len(detections):
        return None
    overlap = pairwise_iou(np.asarray(box, np.float32)[None], detections.boxes)[0]
    overlap = np.where(np.isfinite(detections.landmarks).all(axis=(1, 2)), overlap, 0)
    best = int(np.argmax(overlap))
    return best if overlap[best] >= SAME_FACE_IOU else None


@dataclass(slots=True)
class LandmarkErrors:
    """Errors of many faces, one number for each face."""

    errors: list[float] = field(default_factory=list)
    undetected: int = 0

    def add(self, box: FloatArray, expected: FloatArray, found: Detections) -> None:
        """Add one face.

        Args:
            box: (4,) xyxy of the face in the original.
            expected: (5, 2) landmarks that the method got.
            found: detections in the anonymized image.
        """
        index = face_at(box, found)
        error = None if index is None else normalized_error(expected, found.landmarks[index])
        if error is None:
            self.undetected += 1
        else:
            self.errors.append(error)

    def summary(self) -> LandmarkMeasures:
        """Return the figures over all faces."""
        faces = len(self.errors) + self.undetected
        p50, p90 = np.percentile(self.errors, (50, 90)) if self.errors else (None, None)
        return LandmarkMeasures(
            faces,
            undetected_share=self.undetected / faces if faces else None,
            median=None if p50 is None else float(p50),
            p90=None if p90 is None else float(p90),
        )
