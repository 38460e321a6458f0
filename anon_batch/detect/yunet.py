"""YuNet (Wu, Peng, Yu 2023, Machine Intelligence Research 20) through OpenCV's FaceDetectorYN, on the CPU."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from anon_batch.config import DetectConfig, DetectorConfig
from anon_batch.detect.interface import FaceDetector, checked_detections, network_size
from anon_batch.detect.tiling import TiledDetector
from anon_batch.errors import ModelError
from anon_batch.models.store import ModelStore
from anon_batch.records import Detections, PixelArray

DEFAULT_THRESHOLD = 0.15  # recall first, as CenterFace; five boxes a photograph of a crowd are false
NMS_IOU = 0.4
_TOP_K = 5000  # boxes before NMS
_AREA_BELOW = 0.5  # bilinear sampling skips source pixels below this factor
_BOX, _LANDMARKS, _SCORE = slice(0, 4), slice(4, 14), 14  # columns of FaceDetectorYN's rows


class YuNet:
    """Finds faces with a network of the YuNet family.

    Args:
        name: of the detector and of its model.
        data: the ONNX file.
        threshold: lowest score of a face.
        threads: CPU threads of OpenCV, for the whole process.
    """

    def __init__(self, name: str, data: bytes, threshold: float, threads: int) -> None:
        self.name = name
        self.model_names = (name,)
        cv2.setNumThreads(threads)
        weights, nothing = np.frombuffer(data, np.uint8), np.zeros(0, np.uint8)
        try:
            with _quiet_opencv():
                self._network = cv2.FaceDetectorYN.create(
                    "onnx", weights, nothing, (32, 32), threshold, NMS_IOU, _TOP_K
                )
        except cv2.error as exc:
            raise ModelError(f"OpenCV {cv2.__version__} cannot load the model {name!r}: {exc.err}") from exc
        self._lock = threading.Lock()  # the input size is state of the network

    def find(self, pieces: Sequence[PixelArray], scales: Sequence[float]) -> list[Detections]:
        """See Finder.find."""
        return [self._find(piece, scale) for piece, scale in zip(pieces, scales, strict=True)]

    def _find(self, piece: PixelArray, scale: float) -> Detections:
        height, width = piece.shape[:2]
        size = (network_size(width, scale), network_size(height, scale))
        bgr = np.ascontiguousarray(piece[:, :, ::-1])
        if size != (width, height):
            method = cv2.INTER_AREA if scale < _AREA_BELOW else cv2.INTER_LINEAR
            bgr = np.asarray(cv2.resize(bgr, size, interpolation=method), np.uint8)
        with self._lock:
            self._network.setInputSize(size)
            rows = self._network.detect(bgr)[1]
        if rows is None:
            return Detections.empty()
        stretch = (size[0] / width, size[1] / height)
        boxes = rows[:, _BOX].copy()
        boxes[:, 2:] += boxes[:, :2]  # from x, y, width, height
        landmarks = rows[:, _LANDMARKS].reshape(-1, 5, 2)
        return checked_detections(
            self.name, boxes / np.asarray(stretch * 2), rows[:, _SCORE], landmarks / np.asarray(stretch)
        )


@contextlib.contextmanager
def _quiet_opencv() -> Iterator[None]:
    # OpenCV 5 warns about a target that FaceDetectorYN itself sets.
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def create(
    detector: DetectorConfig, detect: DetectConfig, store: ModelStore, threads: int, device: str
) -> FaceDetector:
    """See DetectorFactory. Runs on the CPU whatever the device; `detect.backend` does not concern it."""
    threshold = DEFAULT_THRESHOLD if detector.threshold is None else detector.threshold
    finder = YuNet(detector.name, store.load(detector.name), threshold, threads)
    return TiledDetector(finder, detector.scale or detect.scale, detect)
