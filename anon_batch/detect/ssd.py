"""SSD (Liu et al. 2016, arXiv 1512.02325): at six strides, cells with priors of several shapes.

The bundled network (MobileNetV1, trained on WIDER FACE) gives of each prior a logit and a box, and no landmarks. Its smallest
prior is 51 px, so that it needs small faces enlarged.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Literal, cast

import numpy as np
from pydantic import BaseModel, Field

from anon_batch.detect.letterbox import find_in_batches
from anon_batch.detect.looks import build_looks
from anon_batch.detect.own_model import asked_for, is_own, load_network, takes
from anon_batch.detect.priors import decode_boxes, grid_priors
from anon_batch.detect.protocol import FAILURE, Detector, DetectorSettings, checked_detections
from anon_batch.detect.retinaface import PriorOptions
from anon_batch.detect.row_finder import Layout, OwnNetwork, image_input
from anon_batch.detect.row_layouts import Shares
from anon_batch.errors import WithheldError
from anon_batch.geometry import non_maximum_suppression
from anon_batch.models.backends import choose_backend, open_network
from anon_batch.models.network import Network
from anon_batch.models.onnx_graph import expand_weights
from anon_batch.models.runtime import Runtime
from anon_batch.records import DEFAULT_LABEL, Detections, FloatArray, PixelArray

STRIDES_PX = (16, 32, 64, 128, 256, 512)
CHANNELS = 5  # of a prior: logit, box
VARIANCES = (0.1, 0.2)
DEFAULT_THRESHOLD = 0.11
NMS_IOU = 0.4
_LARGEST_PX = 512
_SCALES = (0.1, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0)  # of the priors, shares of _LARGEST_PX


def _sides_px(level: int) -> tuple[tuple[float, float], ...]:
    """Return width and height of the priors of a cell."""
    scale = _SCALES[level]
    if level == 0:
        shapes = [(scale, 1.0), (2 * scale, 2.0), (2 * scale, 0.5)]
    else:
        between = (scale * _SCALES[level + 1]) ** 0.5
        shapes = [(scale, 1.0), (between, 1.0), *((scale, ratio) for ratio in (2.0, 0.5, 3.0, 0.3333))]
    return tuple((own * _LARGEST_PX * ratio**0.5, own * _LARGEST_PX / ratio**0.5) for own, ratio in shapes)


SIDES_PX = tuple(_sides_px(level) for level in range(len(STRIDES_PX)))


class Ssd:
    """Finds faces with the bundled SSD.

    Args:
        name: of the detector.
        model: the model registry's name of the network.
        network: outputs (B, CHANNELS * priors, h, w), one for each of STRIDES_PX.
        threshold: lowest score of a face.
    """

    labels = (DEFAULT_LABEL,)

    def __init__(self, name: str, model: str, network: Network, threshold: float) -> None:
        self.name = name
        self.models = (model,)
        self._network = network
        self._threshold = threshold

    def find(self, pieces: Sequence[PixelArray], scales: Sequence[float]) -> list[Detections]:
        """See Finder.find."""
        return find_in_batches(self._network, pieces, scales, self._decode)

    def _decode(self, outputs: list[FloatArray], stretch: tuple[float, float]) -> Detections:
        rows = np.concatenate([_rows(values) for values in outputs])
        if not np.isfinite(rows[:, 0]).all():  # a comparison with NaN would read as "no face"
            raise WithheldError(FAILURE, f"{self.name} gave scores that are not finite")
        with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite are refused below
            scores = 1 / (1 + np.exp(-rows[:, 0]))
            chosen = np.flatnonzero(scores >= self._threshold)
            priors = _priors(tuple(values.shape[1:] for values in outputs))[chosen]
            boxes = decode_boxes(rows[chosen, 1:], priors, VARIANCES)
        marks = np.full((len(chosen), 5, 2), np.nan)
        found = checked_detections(self.name, boxes / np.asarray(stretch * 2), scores[chosen], marks)
        return found.take(non_maximum_suppression(found.boxes, found.scores, NMS_IOU))


def _rows(values: FloatArray) -> FloatArray:
    """Return the values of a map (CHANNELS * priors, h, w) by prior: (h * w * priors, CHANNELS)."""
    return values.reshape(-1, CHANNELS, values.shape[1] * values.shape[2]).transpose(2, 0, 1).reshape(-1, CHANNELS)


@functools.lru_cache(maxsize=16)
def _priors(shapes: tuple[tuple[int, int], ...]) -> FloatArray:
    return np.concatenate([grid_priors(*own) for own in zip(shapes, STRIDES_PX, SIDES_PX, strict=True)])


class SsdOptions(PriorOptions):
    """Options of `ssd` in a file of the user's own; none has an effect on the bundled network."""

    boxes: Literal["shares", "priors"] = Field(
        "shares",
        description="What its boxes are: `shares` of the image's sides, or relative to `priors`, as `strides` and `anchors` say.",
    )


@takes(SsdOptions)
def create(options: BaseModel, runtime: Runtime, settings: DetectorSettings) -> Detector:
    """See DetectorFactory. The bundled network, or a file of the user's own, whose input is RGB -1..1 if the job says nothing."""
    own = cast(SsdOptions, options)
    if is_own(settings.name, own, runtime):
        layout: Layout = own.priors if own.boxes == "priors" else Shares()
        taken = image_input(own.input, "rgb", (127.0, 127.0, 127.0), 1 / 128)
        network = OwnNetwork(own, [(layout, taken)], runtime, settings)
        return build_looks(network.finder, network.settings, DEFAULT_THRESHOLD)
    model, data = load_network(settings.name, own, runtime)
    bundled = open_network(
        choose_backend(settings.detect.backend, runtime.device),
        expand_weights(data),
        threads=runtime.threads,
        device=runtime.device,
    )
    return build_looks(
        lambda threshold: Ssd(settings.name, model, bundled, threshold), asked_for(settings), DEFAULT_THRESHOLD
    )
