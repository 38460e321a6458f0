"""Which detection found which labelled face: COCO's rules at one IoU, for one class.

The rules are those of COCOeval (Lin et al. 2014, "Microsoft COCO: common objects in context", and its
pycocotools):

- detections choose in order of falling score; each takes the free face with which its IoU is largest, if that
  reaches the threshold, and an ignored face only when no other qualifies;
- an ignored face may be taken by any number of detections, its IoU is the share of the detection that lies in
  it (as COCO treats a crowd), and neither counts;
- in a band of sizes the faces outside the band are ignored, but are taken once and with the usual IoU;
  detections outside the band that took no face do not count either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from anon_batch.records import BoolArray, Detections, FloatArray, GroundTruth

IOU_THRESHOLD = 0.5

_Boxes = npt.NDArray[np.float64]
_Indices = npt.NDArray[np.intp]


def _area_between(low: float, high: float) -> Callable[[_Boxes], BoolArray]:
    def inside(boxes: _Boxes) -> BoolArray:
        areas = _areas(boxes)
        return np.asarray((areas >= low) & (areas <= high), np.bool_)

    return inside


def _longer_side_from(low: float) -> Callable[[_Boxes], BoolArray]:
    def inside(boxes: _Boxes) -> BoolArray:
        return np.asarray((boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=-np.inf) >= low, np.bool_)

    return inside


# Bands of face sizes. COCO's borders belong to both neighbours: a face of 32 x 32 px is small and medium.
BANDS: Mapping[str, Callable[[_Boxes], BoolArray]] = MappingProxyType(
    {
        "all": lambda boxes: np.ones(len(boxes), np.bool_),
        "small": _area_between(0, 32**2),
        "medium": _area_between(32**2, 96**2),
        "large": _area_between(96**2, np.inf),
        "from_16_px": _longer_side_from(16),
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """Result of matching one picture's N detections with its M labelled faces, both in the caller's order.

    Args:
        detection_face: (N,) index of the face that each detection took, or -1.
        detection_ignored: (N,) bool; an ignored detection is neither a true nor a false positive.
        face_detection: (M,) index of the detection that took each face (the last one, for ignored faces that
            several took), or -1.
        face_ignored: (M,) bool; an ignored face is neither found nor missed.
        iou: (N,) float32 overlap of each detection with the face it took, 0 where it took none.
    """

    detection_face: _Indices
    detection_ignored: BoolArray
    face_detection: _Indices
    face_ignored: BoolArray
    iou: FloatArray

    @property
    def true_positives(self) -> BoolArray:
        """(N,) bool."""
        return np.asarray((self.detection_face >= 0) & ~self.detection_ignored, np.bool_)

    @property
    def false_positives(self) -> BoolArray:
        """(N,) bool."""
        return np.asarray((self.detection_face < 0) & ~self.detection_ignored, np.bool_)

    @property
    def missed_faces(self) -> BoolArray:
        """(M,) bool: faces that count and that no detection took."""
        return np.asarray((self.face_detection < 0) & ~self.face_ignored, np.bool_)


def match(
    detections: Detections, ground_truth: GroundTruth, band: str = "all", iou_threshold: float = IOU_THRESHOLD
) -> Matches:
    """Matches one picture's detections with its ground truth.

    Args:
        detections: found faces.
        ground_truth: labelled faces.
        band: a key of `BANDS`: which sizes count.
        iou_threshold: overlap from which a detection has found a face, above 0.

    Raises:
        KeyError: no such band.
    """
    return match_bands(detections, ground_truth, (band,), iou_threshold)[band]


def match_bands(
    detections: Detections,
    ground_truth: GroundTruth,
    bands: Iterable[str] = tuple(BANDS),
    iou_threshold: float = IOU_THRESHOLD,
) -> dict[str, Matches]:
    """As `match`, for several bands at once: band -> matches."""
    found = detections.boxes.astype(np.float64)
    faces = ground_truth.boxes.astype(np.float64)
    overlaps = _overlaps(found, faces, ground_truth.ignore)
    return {
        band: _assign(
            overlaps,
            detections.scores,
            crowd=ground_truth.ignore,
            found_inside=BANDS[band](found),
            faces_inside=BANDS[band](faces),
            threshold=min(iou_threshold, 1 - 1e-10),
        )
        for band in bands
    }


def _assign(
    overlaps: _Boxes,
    scores: FloatArray,
    *,
    crowd: BoolArray,
    found_inside: BoolArray,
    faces_inside: BoolArray,
    threshold: float,
) -> Matches:
    face_ignored = np.asarray(crowd | ~faces_inside, np.bool_)
    detection_face = np.full(overlaps.shape[0], -1, np.intp)
    face_detection = np.full(overlaps.shape[1], -1, np.intp)
    close = overlaps >= threshold
    candidates = np.flatnonzero(close.any(axis=1))
    for index in candidates[np.argsort(-scores[candidates], kind="stable")]:
        near = np.flatnonzero(close[index])
        free = near[(face_detection[near] < 0) | crowd[near]]
        best = _last_best(overlaps[index], free[~face_ignored[free]])
        if best < 0:
            best = _last_best(overlaps[index], free[face_ignored[free]])
        if best >= 0:
            detection_face[index] = best
            face_detection[best] = index
    taken = detection_face >= 0
    detection_ignored = np.where(taken, _at(face_ignored, detection_face), ~found_inside)
    iou = np.zeros(len(taken), np.float32)
    iou[taken] = overlaps[np.flatnonzero(taken), detection_face[taken]]
    return Matches(detection_face, np.asarray(detection_ignored, np.bool_), face_detection, face_ignored, iou)


def _overlaps(found: _Boxes, faces: _Boxes, crowd: BoolArray) -> _Boxes:
    """(N, M) IoU; for ignored faces the share of the detection that lies inside."""
    left_top = np.maximum(found[:, None, :2], faces[None, :, :2])
    right_bottom = np.minimum(found[:, None, 2:], faces[None, :, 2:])
    common = np.prod(np.clip(right_bottom - left_top, 0, None), axis=2)
    union = np.where(crowd[None, :], 0, _areas(faces)[None, :] - common) + _areas(found)[:, None]
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=union > 0), np.float64)


def _areas(boxes: _Boxes) -> _Boxes:
    sides = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None)
    return np.asarray(sides[:, 0] * sides[:, 1], np.float64)


def _last_best(overlaps: _Boxes, among: _Indices) -> int:
    """Index of the largest overlap among some, the last of equal ones as in COCOeval; -1 for none."""
    if not among.size:
        return -1
    return int(among[::-1][np.argmax(overlaps[among[::-1]])])


def _at(values: BoolArray, indices: _Indices) -> BoolArray:
    """Values at indices; False at -1."""
    out = np.zeros(len(indices), np.bool_)
    out[indices >= 0] = values[indices[indices >= 0]]
    return out
