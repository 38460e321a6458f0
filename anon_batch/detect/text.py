"""Text: name tags, signs, screens, documents. Finds lines and words; reads nothing.

PP-OCRv4's detector (Baidu), which says of each pixel how likely it is text (Liao et al. 2020, arXiv 1911.08947). Pixels that
touch are a line. The network is trained on lines shrunk towards their middle, so a box grows by UNCLIP times area by perimeter,
as there. `detect.backend` is onnxruntime or openvino: the torch backend does not have all of its operators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from pydantic import BaseModel

from anon_batch.detect.letterbox import find_in_batches
from anon_batch.detect.protocol import FAILURE, Detector, DetectorSettings, checked_detections
from anon_batch.detect.tiling import TiledDetector
from anon_batch.errors import WithheldError
from anon_batch.models.backends import choose_backend, open_network
from anon_batch.models.network import Network
from anon_batch.models.runtime import Runtime
from anon_batch.models.text_graph import prepare_text_network
from anon_batch.records import TEXT_LABEL, Detections, FloatArray, PixelArray

MODEL_NAME = "text"
DEFAULT_THRESHOLD = 0.5  # mean of a line's pixels, as its authors use it
PIXEL_THRESHOLD = 0.3
UNCLIP = 1.6
LEAST_PX = 3  # side of a line before it grows, network px


class TextFinder:
    """Finds lines of text.

    Args:
        network: as `prepare_text_network` makes it.
        threshold: lowest mean of a line's pixels.
    """

    name = "text"
    models = (MODEL_NAME,)
    labels = (TEXT_LABEL,)

    def __init__(self, network: Network, threshold: float) -> None:
        self._network = network
        self._threshold = threshold

    def find(self, pieces: Sequence[PixelArray], scales: Sequence[float]) -> list[Detections]:
        """See Finder.find."""
        return find_in_batches(self._network, pieces, scales, self._decode)

    def _decode(self, outputs: list[FloatArray], stretch: tuple[float, float]) -> Detections:
        [likely] = outputs[0]
        if not np.isfinite(likely).all():  # a comparison with NaN would read as "no text"
            raise WithheldError(FAILURE, f"{self.name} gave values that are not finite")
        boxes, scores = _lines(likely)
        chosen = np.flatnonzero(scores >= self._threshold)
        marks = np.full((len(chosen), 5, 2), np.nan)
        found = checked_detections(self.name, boxes[chosen] / np.asarray(stretch * 2), scores[chosen], marks)
        return replace(found, labels=(TEXT_LABEL,) * len(found))


def _lines(likely: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return boxes (N, 4), network px, and means (N,) of the areas in a map (h, w) that are text."""
    areas = (likely > PIXEL_THRESHOLD).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(areas, connectivity=8, ltype=cv2.CV_32S)
    if count == 1:
        return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    sums = np.bincount(labels.ravel(), likely.ravel().astype(np.float64), minlength=count)[1:]
    x, y, width, height, pixels = stats[1:].T.astype(np.float64)
    large = np.minimum(width, height) >= LEAST_PX
    grow = UNCLIP * width * height / (2 * (width + height))
    boxes = np.stack([x - grow, y - grow, x + width + grow, y + height + grow], axis=1)
    return boxes[large].astype(np.float32), (sums / pixels)[large].astype(np.float32)


def create(options: BaseModel, runtime: Runtime, settings: DetectorSettings) -> Detector:
    """See DetectorFactory. There are no options; `detect.precision`, `refine_small` and `rotated` are for faces."""
    network = open_network(
        choose_backend(settings.detect.backend, runtime.device),
        prepare_text_network(runtime.store.load(MODEL_NAME)),
        threads=runtime.threads,
        device=runtime.device,
    )
    finder = TextFinder(network, settings.threshold(DEFAULT_THRESHOLD))
    return TiledDetector(finder, settings.scale, settings.detect)
