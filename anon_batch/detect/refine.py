"""Refinement of small faces: the network runs once more on each, cropped and at one size whatever the face's own.

What a network finds in a full image it finds at the image's scale, where small faces have rough boxes and low scores, and
so have false positives. In the enlarged crop a face scores higher and what only looks like one scores lower. So a face counts if
either look gives it the detector's threshold, and the first look proposes faces from two thirds of it.

No face of the first look is lost by it. One that is not confirmed, or only where another face is, keeps its box and gets the
score UNCONFIRMED. Where the two looks disagree about its box, the face gets the box around both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from anon_batch.detect.protocol import Detector, Finder
from anon_batch.geometry import paired_iou, pairwise_iou
from anon_batch.records import Detections, FloatArray, PixelArray, Preview

PROPOSED = 2 / 3  # of the threshold: least score in the first look of a face that the refinement may confirm
UNCONFIRMED = 0.05  # least score in the refinement pass, and the score of a face that it does not find
SIDE_PX = 128  # of the crop that the network sees; the face takes half of it
_FACE_PX = 64.0
_CUT = 256  # crops that are in memory at a time
_MAX_ZOOM = 3.0  # more finds no more: the pixels are not there
_MIN_ZOOM = 0.5  # bilinear sampling skips pixels below
_MIN_GAIN = 1.2  # over the size at which the face was found
_SAME_IOU = 0.3
_AGREEING_IOU = 0.7  # of the boxes of both looks; below it, the face gets the box around both
_OTHER_IOU = 0.4  # between different faces, as in the detectors' non-maximum suppression


class Crop(NamedTuple):
    """A square around a face.

    Args:
        face: index of the face in the detections.
        x, y: centre of the square, px of the image.
        zoom: network px per px of the image.
    """

    face: int
    x: float
    y: float
    zoom: float


class RefiningDetector:
    """A detector of faces whose small ones are refined.

    Args:
        detector: finds the faces from `PROPOSED * threshold`.
        finder: runs on the crops; finds what scores at least UNCONFIRMED.
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
        """See Detector.detect. Return the detector's faces that count, in its order."""
        first = self._detector.detect(images)
        crops = [crops_of(found.boxes, self._scale) for found in first]
        again = self._detect_again([(image, crop) for image, own in zip(images, crops, strict=True) for crop in own])
        return [
            self._choose(found, _refine(found, own, [next(again) for _ in own]))
            for found, own in zip(first, crops, strict=True)
        ]

    def _detect_again(self, crops: Sequence[tuple[Preview, Crop]]) -> Iterator[Detections]:
        """Yield what the network finds in each crop; cut few at a time, because an image may hold thousands of faces."""
        for start in range(0, len(crops), _CUT):
            pieces = [cut_crop(image.pixels, crop) for image, crop in crops[start : start + _CUT]]
            yield from self._finder.find(pieces, [1.0] * len(pieces))

    def _choose(self, first: Detections, refined: Detections) -> Detections:
        """Return the refined faces that one of both looks is sure of, with boxes that cover what both looks show."""
        low = np.minimum(first.boxes[:, :2], refined.boxes[:, :2])
        high = np.maximum(first.boxes[:, 2:], refined.boxes[:, 2:])
        around = np.concatenate([low, high], axis=1)
        agree = paired_iou(first.boxes, refined.boxes) >= _AGREEING_IOU
        boxes = np.where(agree[:, None], refined.boxes, around)
        sure = np.maximum(first.scores, refined.scores) >= self._threshold
        return replace(refined, boxes=boxes.astype(np.float32)).take(np.asarray(sure, np.bool_))


def crops_of(boxes: FloatArray, scale: float) -> list[Crop]:
    """Return the crops of the faces (N, 4), px, that gain from refinement, in their order.

    Args:
        boxes: the faces.
        scale: resize factor at which they were found.
    """
    crops = []
    for face, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        zoom = min(_MAX_ZOOM, _FACE_PX / max(x2 - x1, y2 - y1, 1.0))
        if zoom >= max(_MIN_GAIN * scale, _MIN_ZOOM):
            crops.append(Crop(face, (x1 + x2) / 2, (y1 + y2) / 2, zoom))
    return crops


def cut_crop(pixels: PixelArray, crop: Crop) -> PixelArray:
    """Cut a crop from an image (H, W, 3): (128, 128, 3), black beyond the image's borders."""
    reach = SIDE_PX / crop.zoom / 2 + 2
    height, width = pixels.shape[:2]
    x1, y1 = max(0, int(crop.x - reach)), max(0, int(crop.y - reach))  # cv2 takes at most 32767 px a side
    near = pixels[y1 : min(height, int(crop.y + reach) + 1), x1 : min(width, int(crop.x + reach) + 1)]
    if not near.size:
        return np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)
    # cv2 counts from pixel centres, which lie half a pixel off the corners that coordinates count from, on both sides.
    half = (crop.zoom - 1) / 2
    across, down = (SIDE_PX / 2 - offset * crop.zoom + half for offset in (crop.x - x1, crop.y - y1))
    affine = np.array([[crop.zoom, 0, across], [0, crop.zoom, down]])
    return np.asarray(cv2.warpAffine(near, affine, (SIDE_PX, SIDE_PX), flags=cv2.INTER_LINEAR), np.uint8)


def _refine(first: Detections, crops: Sequence[Crop], again: Sequence[Detections]) -> Detections:
    """Return the faces as found in the crops, each moved only where its own box is the nearest."""
    boxes, scores, landmarks = first.boxes.copy(), first.scores.copy(), first.landmarks.copy()
    cropped = [crop.face for crop in crops]
    scores[cropped] = UNCONFIRMED
    settled = np.ones(len(first), np.bool_)
    settled[cropped] = False
    matches = [_same_face(first.boxes[crop.face], crop, found) for crop, found in zip(crops, again, strict=True)]
    for found in sorted(matches, key=lambda one: -one.scores.sum()):
        if not len(found):
            continue
        # Because the match may be a neighbour, the face with the nearest box moves, so that no face is left uncovered.
        face = int(pairwise_iou(found.boxes, first.boxes)[0].argmax())
        if not settled[face] and (pairwise_iou(found.boxes, boxes[settled]) < _OTHER_IOU).all():
            boxes[face], scores[face], landmarks[face] = found.boxes[0], found.scores[0], found.landmarks[0]
            settled[face] = True
    return replace(first, boxes=boxes, scores=scores, landmarks=landmarks)


def _same_face(box: FloatArray, crop: Crop, found: Detections) -> Detections:
    """Return the one detection in a crop that is the face at `box`, in px of the image; none where it is not there."""
    corner = np.array([crop.x, crop.y], np.float32) - np.float32(SIDE_PX / crop.zoom / 2)
    zoom = np.float32(crop.zoom)
    boxes = found.boxes / zoom + np.tile(corner, 2)
    marks, witnesses = found.landmarks / zoom + corner, found.witnesses / zoom + corner
    placed = replace(found, boxes=boxes, landmarks=marks, witnesses=witnesses)
    overlaps = pairwise_iou(placed.boxes, box[None])[:, 0]
    near = np.flatnonzero(overlaps >= _SAME_IOU)
    best = near[np.argsort(-(overlaps[near] + placed.scores[near]), kind="stable")[:1]]
    return placed.take(best)
