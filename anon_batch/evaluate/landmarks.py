"""Whether a treated face is where, and as, the method was asked to put it: five landmarks, found again by a detector."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from anon_batch.geometry import pairwise_iou
from anon_batch.records import Detections, FloatArray

SAME_FACE_IOU = 0.3  # a treated face's box may differ from the original's, as hair and chin do


def normalised_error(asked: npt.NDArray[np.floating[Any]], found: npt.NDArray[np.floating[Any]]) -> float | None:
    """Mean distance of five points, in units of the asked distance between the eyes.

    Sagonas et al. 2013, "300 Faces in-the-wild challenge", with the landmarks at the eyes' centres.

    Args:
        asked: (5, 2) px.
        found: (5, 2) px.

    Returns:
        None where the asked eyes coincide, as in a profile.
    """
    eyes = float(np.linalg.norm(asked[0] - asked[1]))
    if eyes < 1e-6:
        return None
    return float(np.linalg.norm(np.asarray(asked, np.float64) - found, axis=1).mean()) / eyes


def face_at(box: FloatArray, detections: Detections) -> int | None:
    """Index of the detection that is the face at `box` (4,): of those with landmarks the one that overlaps it most."""
    if not len(detections):
        return None
    overlap = pairwise_iou(np.asarray(box, np.float32)[None], detections.boxes)[0]
    overlap = np.where(np.isfinite(detections.landmarks).all(axis=(1, 2)), overlap, 0)
    best = int(np.argmax(overlap))
    return best if overlap[best] >= SAME_FACE_IOU else None


@dataclass(slots=True)
class LandmarkErrors:
    """Errors of many faces: one number a face."""

    errors: list[float] = field(default_factory=list)
    undetected: int = 0

    def add(self, box: FloatArray, asked: FloatArray, found: Detections) -> None:
        """Counts one face.

        Args:
            box: (4,) xyxy of the face in the original.
            asked: (5, 2) landmarks that the method was given.
            found: detections in the treated picture.
        """
        index = face_at(box, found)
        error = None if index is None else normalised_error(asked, found.landmarks[index])
        if error is None:
            self.undetected += 1
        else:
            self.errors.append(error)

    def summary(self) -> dict[str, float | int | None]:
        """Faces, share undetected, and median and 90th percentile over the detected ones."""
        faces = len(self.errors) + self.undetected
        p50, p90 = np.percentile(self.errors, (50, 90)) if self.errors else (None, None)
        return {
            "faces": faces,
            "undetected_share": self.undetected / faces if faces else None,
            "median": None if p50 is None else float(p50),
            "p90": None if p90 is None else float(p90),
        }
