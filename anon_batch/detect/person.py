"""Persons: SSDLite with MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381), trained on persons alone.

The network knows images of one size, to which each piece is stretched whatever its proportions, as in its training: with other
sizes, or with padding, large boxes move away from the persons. A whole image is searched first, then windows of it, in which
smaller persons are found.

For each cell of six maps and each of its anchors, boxes of a size and shape, the network gives the logit of a person, the offset
of the centre in tenths of the anchor's sides and the logarithm of its sides in fifths (Liu et al. 2016, arXiv 1512.02325).

Threshold and windows were chosen on 108 of 214 photographs; `tests/detect/test_person_accuracy.py` measures them on the others.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

import cv2
import numpy as np
from pydantic import BaseModel, Field

from anon_batch.config import TileConfig
from anon_batch.detect.own_model import takes
from anon_batch.detect.person_outline import MODEL_NAME as OUTLINE_MODEL
from anon_batch.detect.person_outline import OutlinedDetector
from anon_batch.detect.protocol import FAILURE, Detector, DetectorSettings, RealArray, checked_detections
from anon_batch.detect.rotated import LIKELY, RotatingDetector
from anon_batch.detect.tiling import TiledDetector, View, views_of
from anon_batch.errors import WithheldError
from anon_batch.geometry import non_maximum_suppression
from anon_batch.models.backends import choose_backend, open_network
from anon_batch.models.network import Network
from anon_batch.models.onnx_graph import expand_weights
from anon_batch.models.runtime import Runtime
from anon_batch.plugins import PluginOptions
from anon_batch.records import PERSON_LABEL, Detections, FloatArray, PixelArray

MODEL_NAME = "person"
DEFAULT_THRESHOLD = 0.2
SIDE_PX = 300  # of the square that the network sees
WINDOW = 0.6  # of an image's longer side: the windows in which smaller persons are searched
OVERLAP = 1 / 3  # of a window
NMS_IOU = 0.6  # because persons in crowds overlap more than faces
CERTAIN = 0.8  # score of a person that shows that the image is upright
_AREA_BELOW = 0.5  # bilinear sampling skips source pixels below this factor
_OF_CENTRE, _OF_SIDES = 0.1, 0.2
_SIDES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0)  # of the anchors of each map, as shares of the square


class PersonFinder:
    """Finds persons.

    Args:
        network: takes RGB 0..255, (B, 3, SIDE_PX, SIDE_PX); gives six maps (B, anchors * 5, h, w).
        threshold: lowest score of a person.
    """

    name = "person"
    models = (MODEL_NAME,)
    labels = (PERSON_LABEL,)

    def __init__(self, network: Network, threshold: float) -> None:
        self._network = network
        self._threshold = threshold

    def find(self, pieces: Sequence[PixelArray], scales: Sequence[float]) -> list[Detections]:
        """See Finder.find; scales have no effect, because the network sees all pieces at one size."""
        step = self._network.batch_size
        found: list[Detections] = []
        for outputs in self._network.run_images(_batches(pieces, step)):
            own = pieces[len(found) : len(found) + step]
            found += [self._decode([out[at] for out in outputs], piece) for at, piece in enumerate(own)]
        return found

    def _decode(self, outputs: list[FloatArray], piece: PixelArray) -> Detections:
        rows = np.concatenate([_rows(values) for values in outputs])
        if not np.isfinite(rows[:, 0]).all():  # a comparison with NaN would read as "no person"
            raise WithheldError(FAILURE, f"{self.name} gave scores that are not finite")
        with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite are refused below
            scores = 1 / (1 + np.exp(-rows[:, 0]))
            chosen = np.flatnonzero(scores >= self._threshold)
            shares = _decode_boxes(rows[chosen, 1:], _anchors(tuple(values.shape[1:] for values in outputs))[chosen])
            boxes = np.clip(shares, 0, 1) * np.array(piece.shape[1::-1] * 2)
        marks = np.full((len(chosen), 5, 2), np.nan)
        unlabelled = checked_detections(self.name, np.where(np.isfinite(shares), boxes, np.nan), scores[chosen], marks)
        found = replace(unlabelled, labels=(PERSON_LABEL,) * len(unlabelled))
        return found.take(non_maximum_suppression(found.boxes, found.scores, NMS_IOU))


def _batches(pieces: Sequence[PixelArray], step: int) -> Iterator[PixelArray]:
    for start in range(0, len(pieces), step):
        batch = np.zeros((step, SIDE_PX, SIDE_PX, 3), np.uint8)
        for slot, piece in zip(batch, pieces[start : start + step], strict=False):
            method = cv2.INTER_AREA if _AREA_BELOW * max(piece.shape[:2]) > SIDE_PX else cv2.INTER_LINEAR
            slot[...] = cv2.resize(piece, (SIDE_PX, SIDE_PX), interpolation=method)
        yield batch


def _rows(values: FloatArray) -> FloatArray:
    """Return a map (anchors * 5, h, w), the logits before the boxes, as rows (cells * anchors, 5)."""
    anchors = values.shape[0] // 5
    boxes = values[anchors:].reshape(anchors, 4, -1)
    joined = np.concatenate([values[:anchors].reshape(anchors, 1, -1), boxes], axis=1)
    return np.ascontiguousarray(joined.transpose(2, 0, 1).reshape(-1, 5))


@functools.cache
def _anchors(shapes: tuple[tuple[int, int], ...]) -> FloatArray:
    """Return (x, y, width, height) of each anchor, shares of the square, (N, 4), for maps of shapes (h, w)."""
    parts = []
    for level, (height, width) in enumerate(shapes):
        middles = (np.indices((height, width))[::-1].reshape(2, -1).T + 0.5) / (width, height)
        sides = np.array(_sides(level))
        parts.append(np.hstack([np.repeat(middles, len(sides), axis=0), np.tile(sides, (len(middles), 1))]))
    return np.concatenate(parts).astype(np.float32)


def _sides(level: int) -> list[tuple[float, float]]:
    """Return width and height of a map's anchors, shares of the square."""
    side = _SIDES[level]
    if level == 0:
        return [(0.1, 0.1), *(_sides_of(side, ratio) for ratio in (2, 1 / 2))]
    between = math.sqrt(side * _SIDES[level + 1])
    return [*(_sides_of(side, ratio) for ratio in (1, 2, 1 / 2, 3, 1 / 3)), (between, between)]


def _sides_of(side: float, ratio: float) -> tuple[float, float]:
    return side * math.sqrt(ratio), side / math.sqrt(ratio)


def _decode_boxes(values: FloatArray, anchors: FloatArray) -> RealArray:
    """Return boxes (N, 4) xyxy, shares of the square, of anchors (N, 4); the network's values are (y, x, height, width)."""
    centre = anchors[:, :2] + values[:, 1::-1] * _OF_CENTRE * anchors[:, 2:]
    half = np.exp(values[:, 3:1:-1] * _OF_SIDES) * anchors[:, 2:] / 2
    return np.asarray(np.concatenate([centre - half, centre + half], axis=1), np.float32)


def views_for(width: int, height: int, scale: float, tile: TileConfig) -> list[View]:
    """Return the pieces in which an image is searched: the whole, windows of a share of its longer side, those of `detect.tile`.

    The factor of each is that at which the network sees its longer side.
    """
    size = max(round(WINDOW * max(width, height)), 1)
    windows = TileConfig(size_px=size, overlap_px=math.floor(OVERLAP * size))
    views = [*views_of(width, height, 1.0, windows), *views_of(width, height, scale, tile)[1:]]
    return [view._replace(scale=SIDE_PX / max(view.x2 - view.x1, view.y2 - view.y1)) for view in views]


class PersonOptions(PluginOptions):
    """Options of `person`."""

    outline: bool = Field(
        True, description="Find the outline of each person, about 4 ms each; without it the mask is made of the box."
    )


@takes(PersonOptions)
def create(options: BaseModel, runtime: Runtime, settings: DetectorSettings) -> Detector:
    """See DetectorFactory; `detect.precision` and `refine_small` are for faces."""
    network = open_network(
        choose_backend(settings.detect.backend, runtime.device),
        expand_weights(runtime.store.load(MODEL_NAME)),
        threads=runtime.threads,
        device=runtime.device,
    )
    finder = PersonFinder(network, settings.threshold(DEFAULT_THRESHOLD))
    detect = settings.detect.model_copy(update={"merge_iou": NMS_IOU})
    views = functools.partial(views_for, scale=settings.scale, tile=detect.tile)
    # Without boxes that a window cuts: who is too large for a window is found whole in a larger one.
    detector: Detector = TiledDetector(finder, settings.scale, detect, views, keep_cut=False)
    if detect.rotated:
        detector = RotatingDetector(detector, PersonFinder(network, LIKELY), NMS_IOU, CERTAIN)
    if not cast(PersonOptions, options).outline:
        return detector
    # By onnxruntime on the CPU for all backends, because torch lacks some of its operators.
    outline = open_network("onnxruntime", runtime.store.load(OUTLINE_MODEL), threads=runtime.threads, device="cpu")
    return OutlinedDetector(detector, outline)
