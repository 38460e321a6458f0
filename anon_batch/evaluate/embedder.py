"""A face recogniser: aligned crops to features. Its file is the user's; this package carries none.

The crop is the one that ArcFace (Deng et al. 2019, "ArcFace: additive angular margin loss for deep face recognition") and
its successors are trained on: five landmarks laid on a fixed template of 112 x 112 px by a similarity.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from anon_batch.anonymize.faces.landmarks import similarity
from anon_batch.errors import ModelError
from anon_batch.models.backends import open_network
from anon_batch.models.network import Network
from anon_batch.records import FloatArray, PixelArray
from anon_batch.storage import Storage, absolute

CROP_PX = 112
# ArcFace's template: right eye, left eye, nose tip, right and left mouth corner, px of the crop as OpenCV counts them.
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float64
)


@dataclass(frozen=True, slots=True)
class EmbedderSettings:
    """Which recogniser, and how it wants its input: (value - mean) / scale of each channel.

    Args:
        address: of the ONNX file.
        order: of the channels. What a file wants is not in it: try both, the right one tells people apart better.
        mean: of a value 0 .. 255.
        scale: what is divided by.
    """

    address: str
    order: Literal["bgr", "rgb"] = "bgr"
    mean: float = 127.5
    scale: float = 127.5


class Embedder:
    """Features of aligned face crops, by an ONNX network (1, 3, 112, 112) -> (1, D) on the CPU.

    Args:
        settings: which file and how it wants its input.
        data: the file.
        threads: of a call.

    Raises:
        ModelError: the file is no such network.
    """

    def __init__(self, settings: EmbedderSettings, data: bytes, threads: int) -> None:
        self.settings = settings
        self.name = posixpath.splitext(posixpath.basename(settings.address))[0]
        self.sha256 = hashlib.sha256(data).hexdigest()
        try:
            self._network: Network = open_network("onnxruntime", data, threads=threads, device="cpu")
            self.dimensions = len(self._features(np.zeros((CROP_PX, CROP_PX, 3), np.uint8)))
        except ModelError as exc:
            raise ModelError(f"--embedder {settings.address}: {exc}") from exc
        except Exception as exc:  # onnxruntime's exceptions share no base class
            raise ModelError(
                f"--embedder {settings.address}: does not take crops of {CROP_PX} x {CROP_PX} px "
                f"({(str(exc).splitlines() or [''])[0][:200]}); give a face recogniser with input (1, 3, 112, 112)"
            ) from exc

    def embed(self, crops: Sequence[PixelArray]) -> FloatArray:
        """(N, D) features, of length 1, of N aligned (112, 112, 3) uint8 RGB crops."""
        if not crops:
            return np.zeros((0, self.dimensions), np.float32)
        rows = np.stack([self._features(crop) for crop in crops])
        return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), np.float32)

    def _features(self, crop: PixelArray) -> FloatArray:
        ordered = crop[:, :, ::-1] if self.settings.order == "bgr" else crop
        values = (ordered.astype(np.float32) - self.settings.mean) / self.settings.scale
        outputs = self._network.run(np.ascontiguousarray(values.transpose(2, 0, 1)[None], np.float32))
        return np.asarray(outputs[0], np.float32).reshape(-1)

    def describe(self) -> dict[str, Any]:
        """For the document."""
        settings = self.settings
        return {
            "name": self.name,
            "sha256": self.sha256,
            "dimensions": self.dimensions,
            "order": settings.order,
            "mean": settings.mean,
            "scale": settings.scale,
        }


def load_embedder(storage: Storage, settings: EmbedderSettings, threads: int) -> Embedder:
    """Reads the file and opens it.

    Raises:
        ModelError: it is no face recogniser.
        StorageError: it is not there or cannot be read.
    """
    return Embedder(settings, storage.read(absolute(settings.address)), threads)


def aligned_crop(pixels: PixelArray, landmarks: npt.NDArray[np.floating[Any]]) -> PixelArray:
    """The face as recognisers want it.

    Args:
        pixels: (H, W, 3) uint8.
        landmarks: (5, 2) px.

    Returns:
        (112, 112, 3) uint8; what lies outside the picture is black.
    """
    # OpenCV counts from the middle of the first pixel, landmarks from its corner.
    to_crop = similarity(np.asarray(landmarks, np.float64) - 0.5, TEMPLATE)
    return np.asarray(cv2.warpAffine(pixels, to_crop, (CROP_PX, CROP_PX), flags=cv2.INTER_LINEAR), np.uint8)
