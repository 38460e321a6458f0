"""Licence plates: a network of the RetinaFace family (Deng et al. 2020, arXiv 1905.00641) that gives boxes and four corners.

Each cell at strides of 8, 16 and 32 px has two anchors, squares around the cell's middle. For each the network gives the logit of
a plate, the offset of its centre and the logarithm of its sides, and the offsets of its corners, scaled by the anchor's side.
The box of a detection is the one around the network's box and its corners.

The corners become the five landmarks of a detection: top left, top right, middle, bottom left and bottom right in reading
direction. These take the places of right and left eye, nose, right and left mouth corner, so that what turns or mirrors the
landmarks of a face does so with those of a plate.

Threshold, looks and the mask's expansion were chosen on 103 of 222 photographs of cars; `tests/detect/test_plate_accuracy.py`
measures them on the other 119.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from pydantic import BaseModel

from anon_batch.detect.letterbox import find_in_batches
from anon_batch.detect.merge import merge_tiles
from anon_batch.detect.protocol import FAILURE, Detector, DetectorSettings, Finder, RealArray, checked_detections
from anon_batch.detect.rotated import LIKELY, RotatingDetector
from anon_batch.detect.tiling import TiledDetector, views_of
from anon_batch.errors import WithheldError
from anon_batch.geometry import non_maximum_suppression
from anon_batch.models.backends import choose_backend, open_network
from anon_batch.models.network import Network
from anon_batch.models.runtime import Runtime
from anon_batch.records import PLATE_LABEL, Detections, FloatArray, PixelArray, Preview

MODEL_NAME = "licence_plate"
DEFAULT_THRESHOLD = 0.1
SMALLER = 0.5  # of an image's size in the further look, which finds plates that fill much of the image
NMS_IOU = 0.4
CERTAIN = 0.5  # score of a plate that shows that the image is upright
STRIDES_PX = (8, 16, 32)
SIDES_PX = ((24, 48), (96, 192), (384, 768))  # of the anchors of each stride
ANCHORS = 2
CHANNELS = 13  # logit, box (4), corners (8)
_OF_CENTRE, _OF_SIDES = 0.1, 0.2  # "variances", by which the network's offsets are scaled


class LicencePlate:
    """Finds licence plates.

    Args:
        network: takes RGB 0..255; gives a map (B, ANCHORS * CHANNELS, h, w) for each of STRIDES_PX.
        threshold: lowest score of a plate.
    """

    name = "licence_plate"
    models = (MODEL_NAME,)
    labels = (PLATE_LABEL,)

    def __init__(self, network: Network, threshold: float) -> None:
        self._network = network
        self._threshold = threshold

    def find(self, pieces: Sequence[PixelArray], scales: Sequence[float]) -> list[Detections]:
        """See Finder.find."""
        return find_in_batches(self._network, pieces, scales, self._decode)

    def _decode(self, outputs: list[FloatArray], stretch: tuple[float, float]) -> Detections:
        rows = np.concatenate([_rows(values) for values in outputs])
        if not np.isfinite(rows[:, 0]).all():  # a comparison with NaN would read as "no plate"
            raise WithheldError(FAILURE, f"{self.name} gave scores that are not finite")
        with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite are refused below
            scores = 1 / (1 + np.exp(-rows[:, 0]))
            chosen = np.flatnonzero(scores >= self._threshold)
            anchors = _anchors(tuple(values.shape[1:] for values in outputs))[chosen]
            boxes, landmarks = _decode_rows(rows[chosen, 1:], anchors)
        unlabelled = checked_detections(
            self.name, boxes / np.asarray(stretch * 2), scores[chosen], landmarks / np.asarray(stretch)
        )
        found = replace(unlabelled, labels=(PLATE_LABEL,) * len(unlabelled))
        return found.take(non_maximum_suppression(found.boxes, found.scores, NMS_IOU))


def _rows(values: FloatArray) -> FloatArray:
    """Return the values of a map (CHANNELS * ANCHORS, h, w) by anchor: (h * w * ANCHORS, CHANNELS)."""
    return values.reshape(ANCHORS, CHANNELS, -1).transpose(2, 0, 1).reshape(-1, CHANNELS)


@functools.lru_cache(maxsize=16)
def _anchors(shapes: tuple[tuple[int, ...], ...]) -> FloatArray:
    """Return middle and side (N, 3), px, of all anchors of maps (h, w), one map after the other."""
    parts = []
    for shape, stride, sides in zip(shapes, STRIDES_PX, SIDES_PX, strict=True):
        middles = (np.indices(shape)[::-1].reshape(2, -1).T + 0.5) * stride
        repeated = np.repeat(middles, ANCHORS, axis=0)
        parts.append(np.column_stack([repeated, np.tile(sides, len(middles))]))
    return np.concatenate(parts).astype(np.float32)


def _decode_rows(values: FloatArray, anchors: FloatArray) -> tuple[RealArray, RealArray]:
    """Return boxes (N, 4) and landmarks (N, 5, 2), network px, of anchors (N, 3) with values (N, 12).

    The network's corners start at the bottom right and go on clockwise.
    """
    middle, side = anchors[:, :2], anchors[:, 2:]
    centre = middle + values[:, :2] * _OF_CENTRE * side
    half = np.exp(values[:, 2:4] * _OF_SIDES) * side / 2
    corners = middle[:, None] + values[:, 4:].reshape(-1, 4, 2) * _OF_CENTRE * side[:, None]
    low = np.minimum(centre - half, corners.min(axis=1))
    high = np.maximum(centre + half, corners.max(axis=1))
    bottom_right, bottom_left, top_left, top_right = corners.transpose(1, 0, 2)
    landmarks = np.stack([top_left, top_right, corners.mean(axis=1), bottom_left, bottom_right], axis=1)
    return np.concatenate([low, high], axis=1), landmarks


class PlateDetector:
    """Searches images of any size: as `TiledDetector`, and once more as a whole at a smaller size.

    Args:
        finder: searches a piece.
        settings: the job's scale, windows and `merge_iou`.
    """

    def __init__(self, finder: Finder, settings: DetectorSettings) -> None:
        self._finder = finder
        self._scale, self._detect = settings.scale, settings.detect
        self._tiled = TiledDetector(finder, settings.scale, settings.detect)
        self.name = finder.name
        self.models = finder.models
        self.labels = finder.labels

    def detect(self, images: Sequence[Preview]) -> list[Detections]:
        """See Detector.detect. Return each image's plates by falling score."""
        found = self._tiled.detect(images)
        whole = [views_of(image.width, image.height, self._scale, self._detect.tile)[0] for image in images]
        smaller = self._finder.find([image.pixels for image in images], [SMALLER * view.scale for view in whole])
        return [merge_tiles([*both], self._detect.merge_iou) for both in zip(found, smaller, strict=True)]


def create(options: BaseModel, runtime: Runtime, settings: DetectorSettings) -> Detector:
    """See DetectorFactory. There are no options; `detect.precision` and `refine_small` are for faces."""
    network = open_network(
        choose_backend(settings.detect.backend, runtime.device),
        runtime.store.load(MODEL_NAME),
        threads=runtime.threads,
        device=runtime.device,
    )
    detector: Detector = PlateDetector(LicencePlate(network, settings.threshold(DEFAULT_THRESHOLD)), settings)
    if not settings.detect.rotated:
        return detector
    # A plate that stands on its head is mostly found as it is, one that lies on its side never.
    return RotatingDetector(detector, LicencePlate(network, LIKELY), settings.detect.merge_iou, CERTAIN)
