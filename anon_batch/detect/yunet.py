"""YuNet (Wu, Peng, Yu 2023, Machine Intelligence Research 20): cells at strides of 8, 16 and 32 px, without anchors.

A cell holds how likely a face is (class and objectness, whose geometric mean is the score), the offset of the face's centre
from the cell's corner, its size (as a logarithm) and the offsets of the landmarks from the cell's corner, all in strides.

The network sees an image enlarged with its aspect ratio until one side is a multiple of 32 px, padded with black. On 214
photographs of crowds `yunet_n` finds 80.0 % of the faces this way, 78.3 % with padding alone and 79.3 % stretched to both
multiples; at twice the size 87.0, 86.9 and 85.0 %.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import cast

import numpy as np
from pydantic import BaseModel

from anon_batch.detect.letterbox import find_in_batches
from anon_batch.detect.looks import build_looks
from anon_batch.detect.own_model import ModelOptions, load_network, takes
from anon_batch.detect.protocol import FAILURE, Detector, DetectorSettings, RealArray, checked_detections
from anon_batch.errors import ModelError, WithheldError
from anon_batch.models.backends import choose_backend, open_network
from anon_batch.models.network import Network
from anon_batch.models.runtime import Runtime
from anon_batch.models.yunet_graph import STRIDES_PX, prepare_yunet
from anon_batch.records import DEFAULT_LABEL, Detections, FloatArray, PixelArray

# The threshold favours recall, as CenterFace's: on 214 photographs of crowds at 0.15 / 0.1 / 0.05 yunet_n finds
# 80.0 / 81.4 / 82.9 % of the faces, and 4.3 / 8.0 / 20.3 of its boxes a photograph touch no labelled face.
DEFAULT_THRESHOLD = 0.15
NMS_IOU = 0.4


class YuNet:
    """Finds faces with a network of the YuNet family.

    Args:
        name: of the detector and of its model.
        network: as `prepare_yunet` makes it; an output (B, 16, h, w) for each of STRIDES_PX.
        threshold: lowest score of a face.
        model: identity of the network, where that is not the name.
    """

    labels = (DEFAULT_LABEL,)

    def __init__(self, name: str, network: Network, threshold: float, model: str | None = None) -> None:
        self.name = name
        self.models = (model or name,)
        self._network = network
        self._threshold = threshold

    def find(self, pieces: Sequence[PixelArray], scales: Sequence[float]) -> list[Detections]:
        """See Finder.find."""
        return find_in_batches(self._network, pieces, scales, self._decode)

    def _decode(self, outputs: list[FloatArray], stretch: tuple[float, float]) -> Detections:
        cells = np.concatenate([values.reshape(len(values), -1) for values in outputs], axis=1)
        if not np.isfinite(cells[:2]).all():  # a comparison with NaN would read as "no face"
            raise WithheldError(FAILURE, f"{self.name} gave scores that are not finite")
        with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite are refused below
            scores = 1 / np.sqrt((1 + np.exp(-cells[:2])).prod(axis=0))  # of two sigmoids, the geometric mean
            chosen = np.flatnonzero(scores >= self._threshold)
            corners, strides_px = (part[chosen] for part in _grid(tuple(values.shape[1:] for values in outputs)))
            boxes, landmarks = _decode_cells(cells[2:, chosen].T, corners, strides_px)
        return checked_detections(
            self.name, boxes / np.asarray(stretch * 2), scores[chosen], landmarks / np.asarray(stretch), NMS_IOU
        )


@functools.lru_cache(maxsize=16)
def _grid(shapes: tuple[tuple[int, ...], ...]) -> tuple[FloatArray, FloatArray]:
    """Return column and row (N, 2) and stride, px (N, 1), of all cells of maps (h, w), one map after the other."""
    corners = [np.indices(shape)[::-1].reshape(2, -1).T for shape in shapes]
    strides = np.repeat(STRIDES_PX, [len(part) for part in corners])
    return np.concatenate(corners).astype(np.float32), strides[:, None].astype(np.float32)


def _decode_cells(values: FloatArray, corners: FloatArray, strides_px: FloatArray) -> tuple[RealArray, RealArray]:
    """Return boxes (N, 4) and landmarks (N, 5, 2), network px, of cells with values (N, 14)."""
    centre = (corners + values[:, :2]) * strides_px
    half = np.exp(values[:, 2:4]) * strides_px / 2
    landmarks = (corners[:, None] + values[:, 4:].reshape(-1, 5, 2)) * strides_px[:, None]
    return np.concatenate([centre - half, centre + half], axis=1), landmarks


@takes(ModelOptions)
def create(options: BaseModel, runtime: Runtime, settings: DetectorSettings) -> Detector:
    """See DetectorFactory. There is no int8 model, so `detect.precision` has no effect."""
    detect, name = settings.detect, settings.name
    model, data = load_network(name, cast(ModelOptions, options), runtime)
    try:
        prepared = prepare_yunet(data)
    except ModelError as exc:
        raise ModelError(f"detector `{name}`: {exc}") from None
    network = open_network(
        choose_backend(detect.backend, runtime.device), prepared, threads=runtime.threads, device=runtime.device
    )
    return build_looks(lambda threshold: YuNet(name, network, threshold, model), settings, DEFAULT_THRESHOLD)
