"""dlib's two detectors of faces (King 2009, JMLR 10): `dlib_hog`, gradients and linear filters, and `dlib_mmod`, a network.

Both give boxes without landmarks and a margin, which is above 0 where dlib itself says "face"; a score here is the margin's
logistic function, so that dlib's own threshold is 0.5. They search faces of at least 80 px, so images are doubled first
(`upsample`). Both are for upright faces, and `detect.refine_small` and `rotated` have no effect.

They need the package `dlib`, which the extra of that name installs. It runs the network in about two seconds for an image of 0.12
megapixels, and in 0.8 GB for one of MMOD_TILE_PX, so `dlib_mmod` searches in windows of at most that size.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from pydantic import Field

from anon_batch.config import TileConfig
from anon_batch.detect.protocol import DetectorSettings, checked_detections, network_size
from anon_batch.detect.tiling import TiledDetector
from anon_batch.errors import ConfigError, ModelError
from anon_batch.geometry import non_maximum_suppression
from anon_batch.models.runtime import Runtime
from anon_batch.plugins import PluginOptions
from anon_batch.records import DEFAULT_LABEL, Detections, PixelArray

MMOD = "dlib_mmod"
# In 108 photographs of crowds it leaves 82 / 72 / 57 % of the faces of at least 16 px uncovered at 0.5 (dlib's own) / 0.4 / 0.3,
# and 0.01 / 0.06 / 0.62 boxes an image touch no label.
HOG_THRESHOLD = 0.3
MMOD_THRESHOLD = 0.5  # below, dlib gives none
MMOD_TILE_PX, MMOD_OVERLAP_PX = 400, 128
NMS_IOU = 0.4
TALLER = 1.2  # than dlib's squares, which end at the brows and the chin
_LEAST_PX = 128  # side of an image that the network can search
_LOWEST = 0.02  # score: below, dlib gives a box for nearly every pixel

# Return (left, top, right, bottom, margin) of what is found, in px, both ends inclusive.
Search = Callable[[PixelArray], list[tuple[int, int, int, int, float]]]


class DlibOptions(PluginOptions):
    """The options of both detectors."""

    upsample: int = Field(
        1, ge=0, le=3, description="How often an image is doubled before the search for faces of at least 80 px."
    )


class DlibFinder:
    """Finds faces with one of dlib's detectors.

    Args:
        name: of the detector.
        models: names of the models that it runs.
        search: searches an image (H, W, 3) uint8 RGB, contiguous.
        threshold: lowest score of a face.
    """

    labels = (DEFAULT_LABEL,)

    def __init__(self, name: str, models: tuple[str, ...], search: Search, threshold: float) -> None:
        self.name = name
        self.models = models
        self._search = search
        self._threshold = threshold

    def find(self, pieces: Sequence[PixelArray], scales: Sequence[float]) -> list[Detections]:
        """See Finder.find."""
        return [self._find(piece, scale) for piece, scale in zip(pieces, scales, strict=True)]

    def _find(self, piece: PixelArray, scale: float) -> Detections:
        height, width = piece.shape[:2]
        size = network_size(width, scale), network_size(height, scale)
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        shown = piece if size == (width, height) else cv2.resize(piece, size, interpolation=how)
        padding = [(0, max(0, _LEAST_PX - side)) for side in shown.shape[:2]]
        faces = self._search(np.ascontiguousarray(np.pad(shown, [*padding, (0, 0)])))
        rows = np.array(faces, np.float64).reshape(-1, 5)
        boxes = (rows[:, :4] + [0, 0, 1, 1]) / np.array([size[0] / width, size[1] / height] * 2)
        taller = (TALLER - 1) / 2 * (boxes[:, 3] - boxes[:, 1])
        boxes[:, 1], boxes[:, 3] = boxes[:, 1] - taller, boxes[:, 3] + taller
        with np.errstate(over="ignore"):
            scores = 1 / (1 + np.exp(-rows[:, 4]))
        found = checked_detections(self.name, boxes, scores, np.full((len(rows), 5, 2), np.nan))
        found = found.take(np.flatnonzero(found.scores >= self._threshold))
        return found.take(non_maximum_suppression(found.boxes, found.scores, NMS_IOU))


def _import_dlib(name: str) -> Any:
    try:
        import dlib  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:
        raise ConfigError(
            f"detector `{name}` needs the package dlib; install it with `pip install 'anon-batch[dlib]'`"
        ) from None
    return dlib


class DlibHog:
    """The detector `dlib_hog`; see DetectorFactory. Its filters come with dlib."""

    Options = DlibOptions
    name = "dlib_hog"
    models = ()
    labels = DlibFinder.labels

    def __init__(self, options: DlibOptions, runtime: Runtime, settings: DetectorSettings) -> None:
        detector = _import_dlib(self.name).get_frontal_face_detector()
        threshold = settings.threshold(HOG_THRESHOLD)
        lowest = min(max(threshold, _LOWEST), 1 - 1e-9)
        margin = math.log(lowest / (1 - lowest))

        def search(pixels: PixelArray) -> list[tuple[int, int, int, int, float]]:
            boxes, margins, _ = detector.run(pixels, options.upsample, margin)
            return [(*_corners(box), own) for box, own in zip(boxes, margins, strict=True)]

        finder = DlibFinder(self.name, self.models, search, threshold)
        self.detect = TiledDetector(finder, settings.scale, settings.detect).detect


class DlibMmod:
    """The detector `dlib_mmod`; see DetectorFactory."""

    Options = DlibOptions
    name = MMOD
    models = (MMOD,)
    labels = DlibFinder.labels

    def __init__(self, options: DlibOptions, runtime: Runtime, settings: DetectorSettings) -> None:
        dlib = _import_dlib(self.name)
        with tempfile.NamedTemporaryFile(suffix=".dat") as file:  # because dlib reads files alone
            file.write(runtime.store.load(MMOD))
            file.flush()
            try:
                network = dlib.cnn_face_detection_model_v1(file.name)
            except RuntimeError as exc:
                raise ModelError(f"dlib cannot load the model {MMOD!r}: {exc}") from None

        def search(pixels: PixelArray) -> list[tuple[int, int, int, int, float]]:
            return [(*_corners(face.rect), face.confidence) for face in network(pixels, options.upsample)]

        finder = DlibFinder(self.name, self.models, search, settings.threshold(MMOD_THRESHOLD))
        tile = settings.detect.tile
        size = min(tile.size_px or MMOD_TILE_PX, MMOD_TILE_PX)
        overlap = min(tile.overlap_px, MMOD_OVERLAP_PX, size // 2)
        detect = settings.detect.model_copy(update={"tile": TileConfig(size_px=size, overlap_px=overlap)})
        self.detect = TiledDetector(finder, settings.scale, detect).detect


def _corners(box: Any) -> tuple[int, int, int, int]:
    return box.left(), box.top(), box.right(), box.bottom()
