"""MTCNN (Zhang et al. 2016, arXiv 1604.02878): three networks, each of which examines what the one before proposed.

The first slides over an image at sizes that fall by FACTOR and proposes windows. The second sees each window at 24 px and the
third at 48 px; both say how likely a face is and how to move the window, and the third gives five landmarks. Windows become
squares before they are cut; what lies beyond the image is black. It sees each face at its own size, so that
`detect.refine_small` has no effect.

Thresholds and the smallest face were chosen on 108 of 214 photographs of crowds (docs/results/detectors.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from anon_batch.detect.letterbox import find_in_batches
from anon_batch.detect.protocol import FAILURE, Detector, DetectorSettings, RealArray, checked_detections
from anon_batch.detect.rotated import LIKELY, RotatingDetector
from anon_batch.detect.tiling import TiledDetector
from anon_batch.errors import ConfigError, WithheldError
from anon_batch.geometry import box_areas, non_maximum_suppression
from anon_batch.models.backends import choose_backend, open_network
from anon_batch.models.network import Network
from anon_batch.models.runtime import Runtime
from anon_batch.plugins import PluginOptions
from anon_batch.records import DEFAULT_LABEL, Detections, FloatArray, PixelArray, Preview

MODELS = ("mtcnn_pnet", "mtcnn_rnet", "mtcnn_onet")
# Lower than its authors' 0.6, 0.7 and 0.7, with which it leaves 30 % of the faces of at least 16 px uncovered, not 14 %, at 0.2
# boxes a photograph that touch no label, not 5.3.
DEFAULT_THRESHOLD = 0.2
FACTOR = 0.709  # about half the area, as its authors use it
NMS_IOU = 0.4  # between faces, as in the other detectors
_WINDOW_PX, _STRIDE_PX = 12, 2  # of the first network
_CUT_PX = (24, 48)  # of the windows that the other two see
_LEVEL_IOU, _STAGE_IOU, _INSIDE = 0.5, 0.7, 0.7  # as its authors use them


class MtcnnOptions(PluginOptions):
    """The detector's own options; its `threshold` is that of the third network."""

    min_face_px: float = Field(
        12, ge=12, le=1000, description="Side of the smallest face that is searched, px after scaling."
    )
    proposal_threshold: float = Field(0.3, ge=0.1, le=1, description="Lowest score of a window of the first network.")
    window_threshold: float = Field(0.2, ge=0.1, le=1, description="Lowest score of a window of the second network.")


class MtcnnFinder:
    """Finds faces with the three networks.

    Args:
        networks: as `tools/convert_mtcnn.py` makes them: RGB 0..255 to logit, box and, the third, points.
        options: the smallest face, and the thresholds of the first two.
        threshold: lowest score of a face.
    """

    name = "mtcnn"
    models = MODELS
    labels = (DEFAULT_LABEL,)

    def __init__(self, networks: Sequence[Network], options: MtcnnOptions, threshold: float) -> None:
        self._networks = networks
        self._options = options
        self._threshold = threshold

    def find(self, pieces: Sequence[PixelArray], scales: Sequence[float]) -> list[Detections]:
        """See Finder.find."""
        windows = self._propose(pieces, scales)
        seen = self._look(1, pieces, windows)
        moved = [self._choose(own, values) for own, values in zip(windows, seen, strict=True)]
        seen = self._look(2, pieces, moved)
        return [self._faces(own, values) for own, values in zip(moved, seen, strict=True)]

    def _propose(self, pieces: Sequence[PixelArray], scales: Sequence[float]) -> list[FloatArray]:
        """Return the squares (N, 4), px of each piece, that may hold a face."""
        levels = [self._levels(min(piece.shape[:2]), scale) for piece, scale in zip(pieces, scales, strict=True)]
        shown = [piece for piece, own in zip(pieces, levels, strict=True) for _ in own]
        found = iter(find_in_batches(self._networks[0], shown, [*chain(*levels)], self._decode_map, multiple_px=1))
        windows = []
        for own in levels:
            parts = [next(found) for _ in own]
            merged = Detections.merge(parts) if parts else Detections.empty()
            kept = merged.take(non_maximum_suppression(merged.boxes, merged.scores, _STAGE_IOU))
            windows.append(_squares(kept.boxes))
        return windows

    def _levels(self, shorter_px: int, scale: float) -> list[float]:
        """Return the factors by which a piece is resized for the first network, falling."""
        factor, factors = scale * _WINDOW_PX / self._options.min_face_px, []
        while round(shorter_px * factor) >= _WINDOW_PX:
            factors.append(factor)
            factor *= FACTOR
        return factors

    def _decode_map(self, outputs: list[FloatArray], stretch: tuple[float, float]) -> Detections:
        values = outputs[0].reshape(5, -1)
        scores = self._scores(values[0])
        chosen = np.flatnonzero(scores >= self._options.proposal_threshold)
        rows, columns = np.divmod(chosen, outputs[0].shape[2])
        corners = np.stack([columns, rows], axis=1).astype(np.float64) * _STRIDE_PX
        windows = np.concatenate([corners, corners + _WINDOW_PX], axis=1)
        kept = non_maximum_suppression(windows.astype(np.float32), scores[chosen], _LEVEL_IOU)
        boxes = _move(windows[kept], values[1:, chosen[kept]].T) / np.asarray(stretch * 2)
        return checked_detections(self.name, boxes, scores[chosen[kept]], np.full((len(kept), 5, 2), np.nan))

    def _look(self, stage: int, pieces: Sequence[PixelArray], windows: Sequence[FloatArray]) -> list[FloatArray]:
        """Return what a later network says of the windows (N, 4) of each piece: (N, channels)."""
        network, side = self._networks[stage], _CUT_PX[stage - 1]
        cuts = (cut_square(piece, box, side) for piece, own in zip(pieces, windows, strict=True) for box in own)
        seen = _run(network, cuts, side)
        channels = 5 if stage == 1 else 15
        return [np.array([next(seen) for _ in own], np.float32).reshape(len(own), channels) for own in windows]

    def _choose(self, windows: FloatArray, values: FloatArray) -> FloatArray:
        """Return the windows that the second network confirms, moved, as squares."""
        scores = self._scores(values[:, 0])
        chosen = np.flatnonzero(scores >= self._options.window_threshold)
        kept = chosen[non_maximum_suppression(windows[chosen], scores[chosen], _STAGE_IOU)]
        moved = checked_detections(
            self.name, _move(windows[kept], values[kept, 1:]), scores[kept], np.full((len(kept), 5, 2), np.nan)
        )
        return _squares(moved.boxes)

    def _faces(self, windows: FloatArray, values: FloatArray) -> Detections:
        scores = self._scores(values[:, 0])
        chosen = np.flatnonzero(scores >= self._threshold)
        corners, sides = windows[chosen, None, :2], (windows[chosen, 2:] - windows[chosen, :2])[:, None]
        points = corners + values[chosen, 5:].reshape(-1, 2, 5).transpose(0, 2, 1) * sides
        found = checked_detections(self.name, _move(windows[chosen], values[chosen, 1:5]), scores[chosen], points)
        found = found.take(non_maximum_suppression(found.boxes, found.scores, NMS_IOU))
        return found.take(_not_inside(found.boxes))

    def _scores(self, logits: FloatArray) -> FloatArray:
        if not np.isfinite(logits).all():  # a comparison with NaN would read as "no face"
            raise WithheldError(FAILURE, f"{self.name} gave scores that are not finite")
        with np.errstate(over="ignore"):
            return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


def _run(network: Network, cuts: Iterator[PixelArray], side: int) -> Iterator[FloatArray]:
    """Yield the network's values (channels,) of each cut, in calls of its batch size, padded with black."""
    counts = []

    def batches() -> Iterator[PixelArray]:
        while True:
            batch = np.zeros((network.batch_size, side, side, 3), np.uint8)
            count = 0
            for slot, cut in zip(range(network.batch_size), cuts, strict=False):
                batch[slot], count = cut, count + 1
            if not count:
                return
            counts.append(count)
            yield batch

    for at, outputs in enumerate(network.run_images(batches())):
        yield from outputs[0][: counts[at]].reshape(counts[at], -1).copy()


def cut_square(pixels: PixelArray, box: FloatArray, side: int) -> PixelArray:
    """Return a window of an image (H, W, 3), rounded to whole px, at (side, side, 3); black beyond the image's borders."""
    height, width = pixels.shape[:2]
    x1, y1, x2, y2 = (round(value) for value in box.tolist())
    left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
    cut = np.zeros((side, side, 3), np.uint8)
    if left >= right or top >= bottom:
        return cut
    (a, c), (b, d) = _within(side, x1, x2, left, right), _within(side, y1, y2, top, bottom)
    shrinks = c - a < right - left
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    cut[b:d, a:c] = cv2.resize(pixels[top:bottom, left:right], (c - a, d - b), interpolation=how)
    return cut


def _within(side: int, low: int, high: int, first: int, stop: int) -> tuple[int, int]:
    """Return where the px `first` to `stop` of a window from `low` to `high` lie when it is `side` px long."""
    start, end = (round((at - low) / (high - low) * side) for at in (first, stop))
    start = min(start, side - 1)
    return start, max(end, start + 1)


def _squares(boxes: FloatArray) -> FloatArray:
    """Return the squares around the middles of boxes (N, 4), as long as their longer sides."""
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True, initial=0) / 2
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    return np.asarray(np.concatenate([middle - half, middle + half], axis=1), np.float32)


def _move(windows: RealArray, offsets: RealArray) -> RealArray:
    """Return windows (N, 4) whose corners moved by offsets (N, 4), in shares of their sides."""
    sides = windows[:, 2:] - windows[:, :2]
    return windows + offsets * np.tile(sides, 2)


def _not_inside(boxes: FloatArray) -> npt.NDArray[np.intp]:
    """Return which of some boxes (N, 4), the best first, to keep: those of which _INSIDE is not shared with a better one.

    The share is of the smaller of the two.
    """
    areas, alive = box_areas(boxes), np.ones(len(boxes), np.bool_)
    for at, box in enumerate(boxes):
        if alive[at]:
            rest = boxes[at + 1 :]
            sides = np.minimum(rest[:, 2:], box[2:]) - np.maximum(rest[:, :2], box[:2])
            shared = np.clip(sides, 0, None).prod(axis=1)
            alive[at + 1 :] &= shared < _INSIDE * np.minimum(areas[at + 1 :], areas[at])
    return np.flatnonzero(alive)


class Mtcnn:
    """The detector `mtcnn`; see DetectorFactory. `detect.precision` and `refine_small` have no effect."""

    Options = MtcnnOptions
    name = MtcnnFinder.name
    models = MtcnnFinder.models
    labels = MtcnnFinder.labels

    def __init__(self, options: MtcnnOptions, runtime: Runtime, settings: DetectorSettings) -> None:
        detect = settings.detect
        backend = choose_backend(detect.backend, runtime.device)
        if backend == "openvino":  # because it gives other values for maps of one cell
            raise ConfigError("detector `mtcnn` does not run on detect.backend: openvino; use onnxruntime or auto")
        networks = [
            open_network(backend, runtime.store.load(model), threads=runtime.threads, device=runtime.device)
            for model in MODELS
        ]
        finder = MtcnnFinder(networks, options, settings.threshold(DEFAULT_THRESHOLD))
        self._looks: Detector = TiledDetector(finder, settings.scale, detect)
        if detect.rotated:
            self._looks = RotatingDetector(self._looks, MtcnnFinder(networks, options, LIKELY), detect.merge_iou)

    def detect(self, images: Sequence[Preview]) -> list[Detections]:
        """See Detector.detect."""
        return self._looks.detect(images)
