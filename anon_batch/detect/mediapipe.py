"""MediaPipe's face detector for the full range (Google; BlazeFace, Bazarevsky et al. 2019, arXiv 1907.05047).

Each cell at a stride of 4 px has one anchor at its middle. For each the network gives the logit of a face, the centre and the
sides of its box and six points, all in px from the anchor. Its squares lie higher than the boxes of other detectors, so they grow
by TALLER and move down by LOWERED. What has its middle in the margin is no face.

The first four points are the eyes, the nose tip and the middle of the mouth; the last two, at the ears, are not used. A face's
five landmarks need two corners of the mouth: they lie on both sides of its middle, MOUTH of the line between the eyes away.

MediaPipe itself shrinks every image to 192 px. Here the network slides over the image, at its own size and at sizes of SMALLER
that of the one before, down to WHOLE_PX: at each it finds faces from about 8 to 150 px. TALLER, LOWERED and the threshold were
chosen on 108 of 214 photographs of crowds (docs/results/detectors.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from pydantic import BaseModel

from anon_batch.detect.letterbox import find_in_batches
from anon_batch.detect.looks import build_looks
from anon_batch.detect.protocol import FAILURE, Detector, DetectorSettings, RealArray, checked_detections
from anon_batch.errors import WithheldError
from anon_batch.geometry import non_maximum_suppression
from anon_batch.models.backends import choose_backend, open_network
from anon_batch.models.network import Network
from anon_batch.models.runtime import Runtime
from anon_batch.records import DEFAULT_LABEL, Detections, FloatArray, PixelArray

MODEL_NAME = "mediapipe"
MARGIN_PX = 32  # black, which the converted network adds on all sides
CHANNELS = 17  # logit, box (4), six points (12)
# At 0.15 / 0.2 the job of this detector leaves 6.2 / 7.3 % of the faces of at least 16 px uncovered, and 8.5 / 4.9 boxes an image
# touch no label.
DEFAULT_THRESHOLD = 0.2
NMS_IOU = 0.4
TALLER, LOWERED = 1.1, 0.07  # of the box's side
MOUTH = 0.41  # half of the mouth, by the line between the eyes
SMALLER, WHOLE_PX = 0.25, 192
_STRIDE_PX = 4


class MediaPipe:
    """Finds faces with MediaPipe's full-range network.

    Args:
        network: as `tools/convert_mediapipe.py` makes it: RGB 0..255 to (B, CHANNELS, h, w), h = (H + 2 * MARGIN_PX) / 4.
        threshold: lowest score of a face.
    """

    name = "mediapipe"
    models = (MODEL_NAME,)
    labels = (DEFAULT_LABEL,)

    def __init__(self, network: Network, threshold: float) -> None:
        self._network = network
        self._threshold = threshold

    def find(self, pieces: Sequence[PixelArray], scales: Sequence[float]) -> list[Detections]:
        """See Finder.find."""
        levels = [_levels(max(piece.shape[:2]), scale) for piece, scale in zip(pieces, scales, strict=True)]
        shown = [piece for piece, own in zip(pieces, levels, strict=True) for _ in own]
        found = iter(find_in_batches(self._network, shown, [*chain(*levels)], self._decode))
        return [self._merge([next(found) for _ in own]) for own in levels]

    def _merge(self, parts: list[Detections]) -> Detections:
        if len(parts) == 1:
            return parts[0]
        merged = Detections.merge(parts)
        return merged.take(non_maximum_suppression(merged.boxes, merged.scores, NMS_IOU))

    def _decode(self, outputs: list[FloatArray], stretch: tuple[float, float]) -> Detections:
        [cells] = outputs
        values = cells.reshape(CHANNELS, -1)
        if not np.isfinite(values[0]).all():  # a comparison with NaN would read as "no face"
            raise WithheldError(FAILURE, f"{self.name} gave scores that are not finite")
        with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite are refused below
            scores = 1 / (1 + np.exp(-values[0]))
            chosen = np.flatnonzero(scores >= self._threshold)
            rows, columns = np.divmod(chosen, cells.shape[2])
            anchors = (np.stack([columns, rows], axis=1) + 0.5) * _STRIDE_PX - MARGIN_PX
            boxes, landmarks = _decode_cells(values[1:, chosen].T, anchors)
        found = checked_detections(
            self.name, boxes / np.asarray(stretch * 2), scores[chosen], landmarks / np.asarray(stretch)
        )
        size = (np.asarray(cells.shape[:0:-1]) * _STRIDE_PX - 2 * MARGIN_PX) / np.asarray(stretch)
        centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
        found = found.take(np.flatnonzero(((centres >= 0) & (centres <= size)).all(axis=1)))
        return found.take(non_maximum_suppression(found.boxes, found.scores, NMS_IOU))


def _levels(longer_px: int, scale: float) -> list[float]:
    """Return the factors by which a piece is resized."""
    factors = [scale]
    while longer_px * factors[-1] > WHOLE_PX:
        factors.append(SMALLER * factors[-1])
    return factors


def _decode_cells(values: RealArray, anchors: RealArray) -> tuple[RealArray, RealArray]:
    """Return boxes (N, 4) and landmarks (N, 5, 2), network px, of anchors (N, 2) with values (N, 16)."""
    centre, sides = anchors + values[:, :2], values[:, 2:4]
    centre = centre + np.asarray([0, LOWERED]) * sides
    half = sides * np.asarray([1, TALLER]) / 2
    points = anchors[:, None] + values[:, 4:].reshape(-1, 6, 2)
    right_eye, left_eye, nose, mouth = points[:, :4].transpose(1, 0, 2)
    aside = MOUTH * (left_eye - right_eye)
    landmarks = np.stack([right_eye, left_eye, nose, mouth - aside, mouth + aside], axis=1)
    return np.concatenate([centre - half, centre + half], axis=1), landmarks


def create(options: BaseModel, runtime: Runtime, settings: DetectorSettings) -> Detector:
    """See DetectorFactory. There is no int8 model, so `detect.precision` has no effect, and there are no options."""
    detect = settings.detect
    network = open_network(
        choose_backend(detect.backend, runtime.device),
        runtime.store.load(MODEL_NAME),
        threads=runtime.threads,
        device=runtime.device,
    )
    return build_looks(lambda threshold: MediaPipe(network, threshold), settings, DEFAULT_THRESHOLD)
