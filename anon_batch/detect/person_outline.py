"""The outline of a person in a box: MediaPipe's selfie segmentation.

The network says of each pixel of a square, to which the person's surroundings are stretched, whether it shows a person; other
persons there are shown too, which does no harm. Where it is not sure, the outline is the whole box.
`tests/detect/test_person_accuracy.py` measures how many faces that lie in boxes lie outside the outlines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from anon_batch.detect.protocol import FAILURE, Detector
from anon_batch.errors import WithheldError
from anon_batch.models.network import Network
from anon_batch.outline import frame_of, outline_of_box
from anon_batch.records import OUTLINE_SIDE, BoolArray, Detections, FloatArray, PixelArray, Preview

MODEL_NAME = "person_outline"
SIDE_PX = 256  # of the square that the network sees
SHOWN = 0.1  # how likely a pixel must be a person's to belong to the outline
MIN_SHARE = 0.3  # of the box that likely pixels must take up; fewer are not the person whom the box was found for
MAX_UNSURE = 0.3  # share of pixels that are neither likely nor unlikely
_UNSURE = (0.1, 0.9)
_CELL_PX = SIDE_PX // OUTLINE_SIDE


class OutlinedDetector:
    """A detector of persons whose detections have outlines.

    Args:
        detector: finds the boxes.
        network: takes RGB 0..255, (B, 3, SIDE_PX, SIDE_PX); gives logits (B, 1, SIDE_PX, SIDE_PX).
    """

    def __init__(self, detector: Detector, network: Network) -> None:
        self._detector, self._network = detector, network
        self.name = detector.name
        self.models = (*detector.models, MODEL_NAME)
        self.labels = detector.labels

    def detect(self, images: Sequence[Preview]) -> list[Detections]:
        """See Detector.detect."""
        found = self._detector.detect(images)
        pieces = [_piece(image, box) for image, own in zip(images, found, strict=True) for box in own.boxes.tolist()]
        logits = iter(self._logits(pieces))
        outlined = []
        for image, own in zip(images, found, strict=True):
            size = image.width, image.height
            outlines = tuple(outline_of(next(logits), tuple(box), *size) for box in own.boxes.tolist())
            outlined.append(replace(own, outlines=outlines))
        return outlined

    def _logits(self, pieces: Sequence[PixelArray]) -> list[FloatArray]:
        step, logits = self._network.batch_size, list[FloatArray]()
        for start in range(0, len(pieces), step):
            batch = np.zeros((step, SIDE_PX, SIDE_PX, 3), np.uint8)
            own = pieces[start : start + step]
            batch[: len(own)] = own
            for [values] in self._network.run_images([batch]):
                logits += [np.array(values[at, 0]) for at in range(len(own))]
        return logits


def _piece(image: Preview, box: Sequence[float]) -> PixelArray:
    x1, y1, x2, y2 = frame_of((box[0], box[1], box[2], box[3]), image.width, image.height)
    shown = image.pixels[math.floor(y1) : math.ceil(y2), math.floor(x1) : math.ceil(x2)]
    method = cv2.INTER_AREA if max(shown.shape[:2]) > 2 * SIDE_PX else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(shown, (SIDE_PX, SIDE_PX), interpolation=method), np.uint8)


def outline_of(logits: FloatArray, box: tuple[float, ...], width: int, height: int) -> BoolArray:
    """Return the outline of a person, (OUTLINE_SIDE, OUTLINE_SIDE) bool.

    Args:
        logits: of a person, for each pixel of the box's surroundings (`frame_of`), (SIDE_PX, SIDE_PX).
        box: (x1, y1, x2, y2) px.
        width: of the image, px.
        height: of the image, px.

    Raises:
        WithheldError: a value is not finite, so it says nothing.
    """
    from scipy.ndimage import binary_fill_holes  # slow to import

    if not np.isfinite(logits).all():
        raise WithheldError(FAILURE, "the network of outlines gave values that are not finite")
    x1, y1, x2, y2 = box
    whole = outline_of_box((x1, y1, x2, y2), width, height)
    low, high = (_logit(share) for share in _UNSURE)
    unsure = float(((logits > low) & (logits < high)).mean())
    left, top, right, bottom = frame_of((x1, y1, x2, y2), width, height)
    share = float((logits > 0).mean()) * (right - left) * (bottom - top) / max((x2 - x1) * (y2 - y1), 1.0)
    if share < MIN_SHARE or unsure > MAX_UNSURE:
        return whole
    shown = binary_fill_holes(logits > _logit(SHOWN))
    return np.asarray(shown.reshape(OUTLINE_SIDE, _CELL_PX, OUTLINE_SIDE, _CELL_PX).any(axis=(1, 3)), np.bool_)


def _logit(share: float) -> float:
    return math.log(share / (1 - share))
