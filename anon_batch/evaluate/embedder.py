"""A face recogniser, which maps aligned crops to features. The user provides the file; this package contains none.

The crop is that of ArcFace (Deng et al. 2019, "ArcFace: additive angular margin loss for deep face recognition") and its
successors: a similarity transform maps five landmarks to a fixed template of 112 x 112 px.
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
from anon_batch.errors import ConfigError, ModelError
from anon_batch.models.backends import open_network
from anon_batch.models.network import Network
from anon_batch.records import FloatArray, PixelArray
from anon_batch.storage import Storage, absolute

CROP_PX = 112
# ArcFace's template: right eye, left eye, nose tip, right and left mouth corner, px of the crop in OpenCV's convention.
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float64
)


@dataclass(frozen=True, slots=True)
class EmbedderSettings:
    """A recogniser and its input: (value - mean) / scale of each channel.

    Args:
        address: of the ONNX file.
        order: of the channels. The file does not say: try both, the right one separates persons better.
        mean: subtracted from each value 0 to 255.
        scale: divisor.
    """

    address: str
    order: Literal["bgr", "rgb"] = "bgr"
    mean: float = 127.5
    scale: float = 127.5


@dataclass(frozen=True, slots=True)
class EmbedderDescription:
    """A recogniser in measures.json: name and digest of the file, length of a feature, and its input."""

    name: str
    sha256: str
    dimensions: int
    order: str
    mean: float
    scale: float


class Embedder:
    """Compute features of aligned face crops with an ONNX network (1, 3, 112, 112) -> (1, D) on the CPU.

    Args:
        settings: of the file.
        data: the file.
        threads: of a call.
        name: that the results use; None takes the file's name.

    Raises:
        ModelError: the file is not such a network.
    """

    def __init__(self, settings: EmbedderSettings, data: bytes, threads: int, name: str | None = None) -> None:
        self.settings = settings
        self.name = name or _stem(settings)
        self.sha256 = hashlib.sha256(data).hexdigest()
        try:
            self._network: Network = open_network("onnxruntime", data, threads=threads, device="cpu")
            self.dimensions = len(self._features(np.zeros((CROP_PX, CROP_PX, 3), np.uint8)))
        except ModelError as exc:
            raise ModelError(f"--embedder {settings.address}: {exc}") from exc
        except Exception as exc:  # because onnxruntime's exceptions share no base class
            raise ModelError(
                f"--embedder {settings.address}: does not accept crops of {CROP_PX} x {CROP_PX} px "
                f"({(str(exc).splitlines() or [''])[0][:200]}); use a face recogniser with input (1, 3, 112, 112)"
            ) from exc

    def embed(self, crops: Sequence[PixelArray]) -> FloatArray:
        """Return (N, D) features of length 1 for N aligned (112, 112, 3) uint8 RGB crops."""
        if not crops:
            return np.zeros((0, self.dimensions), np.float32)
        rows = np.stack([self._features(crop) for crop in crops])
        return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), np.float32)

    def _features(self, crop: PixelArray) -> FloatArray:
        ordered = crop[:, :, ::-1] if self.settings.order == "bgr" else crop
        values = (ordered.astype(np.float32) - self.settings.mean) / self.settings.scale
        outputs = self._network.run(np.ascontiguousarray(values.transpose(2, 0, 1)[None], np.float32))
        return np.asarray(outputs[0], np.float32).reshape(-1)

    def description(self) -> EmbedderDescription:
        """Return what measures.json says about the recogniser."""
        settings = self.settings
        return EmbedderDescription(
            self.name, self.sha256, self.dimensions, settings.order, settings.mean, settings.scale
        )


def load_embedder(storage: Storage, settings: EmbedderSettings, threads: int, name: str | None = None) -> Embedder:
    """Read the file and load the network.

    Raises:
        ModelError: it is not a face recogniser.
        StorageError: it is missing or cannot be read.
    """
    return Embedder(settings, storage.read(absolute(settings.address)), threads, name)


def load_embedders(storage: Storage, listed: Sequence[EmbedderSettings], threads: int) -> tuple[Embedder, ...]:
    """Load several recognisers. Those whose files have the same name get a number.

    Raises:
        ConfigError: one is listed twice with the same input.
        ModelError, StorageError: as `load_embedder`.
    """
    if len(set(listed)) < len(listed):
        raise ConfigError("--embedder names the same recogniser twice; give each once")
    stems = [_stem(settings) for settings in listed]
    names = [stem if stems.count(stem) == 1 else f"{stem}-{at}" for at, stem in enumerate(stems, 1)]
    return tuple(load_embedder(storage, one, threads, name) for one, name in zip(listed, names, strict=True))


def _stem(settings: EmbedderSettings) -> str:
    return posixpath.splitext(posixpath.basename(settings.address))[0]


def aligned_crop(pixels: PixelArray, landmarks: npt.NDArray[np.floating[Any]]) -> PixelArray:
    """Align a face as recognisers expect it.

    Args:
        pixels: (H, W, 3) uint8.
        landmarks: (5, 2) px.

    Returns:
        (112, 112, 3) uint8; pixels outside the image are black.
    """
    # Because OpenCV counts from the centre of the first pixel and landmarks from its corner, subtract half a pixel.
    to_crop = similarity(np.asarray(landmarks, np.float64) - 0.5, TEMPLATE)
    return np.asarray(cv2.warpAffine(pixels, to_crop, (CROP_PX, CROP_PX), flags=cv2.INTER_LINEAR), np.uint8)
