"""Refinement of small faces: the network runs once more on windows around them, enlarged.

What a network finds in a full image it finds at the image's scale, where small faces have rough boxes and low scores, and
so have false positives. Enlarged, a face scores higher and what only looks like one scores lower. So a face counts if
either look gives it the detector's threshold, and the first look proposes faces from nine tenths of it. What the first look did
not see counts from 1.2 times the threshold.

In an image that shows a likely face, no face of the first look is lost: one that is not confirmed, or only where another face is,
keeps its box and gets the score UNCONFIRMED. In an image without a likely face, such as one of cars or hands, most of these are
false, and count from twice the threshold. Where the two looks disagree about a box, the face gets the box around both.

Zoom, shares of the threshold and the windows' size were chosen on 108 of 214 photographs of crowds; on the other 106,
`pytest -m accuracy -s tests/detect/test_detection_accuracy.py` measures what is left uncovered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from anon_batch.detect.protocol import Detector, Finder
from anon_batch.detect.windows import Window, find_in_windows, in_image, lie_whole, windows_of
from anon_batch.geometry import paired_iou, pairwise_iou
from anon_batch.records import Detections, FloatArray, Preview

PROPOSED = 0.9  # of the threshold: least score in the first look of a face that the refinement may confirm
FURTHER = 1.2  # of the threshold: least score of a face that the first look did not see
UNCONFIRMED = 0.05  # least score in the refinement pass, and the score of a face that it does not find
SIDE_PX = 128  # of a window
ZOOM = 2.0  # over the size at which the first look sees the image
LIKELY = 0.5  # score of a face that shows that the image has faces
DOUBTED = 2.0  # of the threshold: least score in the first look of an unconfirmed face in an image without a likely one
_SAME_IOU = 0.3
_AGREEING_IOU = 0.7  # of the boxes of both looks; below it, the face gets the box around both
_OTHER_IOU = 0.4  # between different faces, as in the detectors' non-maximum suppression


class RefiningDetector:
    """A detector of faces whose small ones are refined.

    Args:
        detector: finds the faces from `PROPOSED * threshold`.
        finder: runs on the windows; finds what scores at least UNCONFIRMED.
        scale: resize factor at which `detector` sees images.
        threshold: least score of a face, in one of the two looks.
    """

    def __init__(self, detector: Detector, finder: Finder, scale: float, threshold: float) -> None:
        self._detector = detector
        self._finder = finder
        self._scale = scale
        self._threshold = threshold
        self.name = detector.name
        self.models = detector.models
        self.labels = detector.labels

    def detect(self, images: Sequence[Preview]) -> list[Detections]:
        """See Detector.detect. Return the detector's faces that count, in its order, and then those that only windows show."""
        first = self._detector.detect(images)
        zoom = ZOOM * self._scale
        windows = [windows_of(found.boxes, found.scores, zoom, SIDE_PX) for found in first]
        each = [(image, one) for image, own in zip(images, windows, strict=True) for one in own]
        again = find_in_windows(self._finder, each)
        return [
            self._refine(found, [(one, next(again)) for one in own]) for found, own in zip(first, windows, strict=True)
        ]

    def _refine(self, first: Detections, seen: Sequence[tuple[Window, Detections]]) -> Detections:
        placed = [in_image(found, window) for window, found in seen]
        kept = self._choose(
            first, _moved(first, [(window.faces, own) for (window, _), own in zip(seen, placed, strict=True)])
        )
        further = [
            own.take(lie_whole(found, window) & (found.scores >= FURTHER * self._threshold))
            for (window, found), own in zip(seen, placed, strict=True)
        ]
        return _with_further(kept, Detections.merge(further)) if further else kept

    def _choose(self, first: Detections, refined: Detections) -> Detections:
        """Return the refined faces that one of both looks is sure of, with boxes that cover what both looks show."""
        low = np.minimum(first.boxes[:, :2], refined.boxes[:, :2])
        high = np.maximum(first.boxes[:, 2:], refined.boxes[:, 2:])
        around = np.concatenate([low, high], axis=1)
        agree = paired_iou(first.boxes, refined.boxes) >= _AGREEING_IOU
        boxes = np.where(agree[:, None], refined.boxes, around)
        sure = (first.scores >= self._needed(first, refined)) | (refined.scores >= self._threshold)
        return replace(refined, boxes=boxes.astype(np.float32)).take(np.asarray(sure, np.bool_))

    def _needed(self, first: Detections, refined: Detections) -> FloatArray:
        """Return the least score in the first look of each face: (N,)."""
        surest = max(first.scores.max(initial=0.0), refined.scores.max(initial=0.0))
        more = min(DOUBTED * self._threshold, (1 + self._threshold) / 2) if surest < LIKELY else self._threshold
        return np.where(refined.scores <= np.float32(UNCONFIRMED), more, self._threshold).astype(np.float32)


def _moved(first: Detections, windows: Sequence[tuple[npt.NDArray[np.intp], Detections]]) -> Detections:
    """Return the faces as found in the windows, each moved only where its own box is the nearest.

    Args:
        first: the faces of an image as the first look found them.
        windows: indices of the faces that a window shows, and what was found in it, px of the image.
    """
    boxes, scores, landmarks = first.boxes.copy(), first.scores.copy(), first.landmarks.copy()
    settled = np.ones(len(first), np.bool_)
    for faces, _ in windows:
        scores[faces] = UNCONFIRMED
        settled[faces] = False
    matches = Detections.merge([_same_faces(first.boxes[faces], found) for faces, found in windows])
    # Because the match may be a neighbour, the face with the nearest box moves, so that no face is left uncovered.
    nearest = pairwise_iou(matches.boxes, first.boxes).argmax(axis=1).tolist() if len(matches) else []
    for at in np.argsort(-matches.scores, kind="stable").tolist():
        face, box = nearest[at], matches.boxes[at]
        if not settled[face] and (pairwise_iou(box[None], boxes[settled]) < _OTHER_IOU).all():
            boxes[face], scores[face], landmarks[face] = box, matches.scores[at], matches.landmarks[at]
            settled[face] = True
    return replace(first, boxes=boxes, scores=scores, landmarks=landmarks)


def _same_faces(boxes: FloatArray, found: Detections) -> Detections:
    """Return of each box (K, 4) the one detection that is the face there; none where it is not there."""
    if not len(found):
        return found
    overlaps = pairwise_iou(boxes, found.boxes)
    near = overlaps >= _SAME_IOU
    best = np.where(near, overlaps + found.scores, -1.0).argmax(axis=1)
    return found.take(best[near.any(axis=1)])


def _with_further(kept: Detections, further: Detections) -> Detections:
    """Return the kept faces and those of `further` that are none of them, by falling score."""
    faces = kept
    for at in np.argsort(-further.scores, kind="stable"):
        if not (pairwise_iou(further.boxes[at : at + 1], faces.boxes) >= _SAME_IOU).any():
            faces = Detections.merge([faces, further.take(np.array([at]))])
    return faces
