"""A face recogniser, which maps aligned crops to features. The package contains none: `sface` is a pinned download.

Users name another one by its file or its declaration. The declaration is that of `network_file`, with these keys besides:

    template: [[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]]   # of five landmarks, px of the input

The crop is that of ArcFace (Deng et al. 2019, "ArcFace: additive angular margin loss for deep face recognition") and its
successors, unless the declaration has a template: a similarity transform maps five landmarks to fixed places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from anon_batch.anonymize.faces.landmarks import similarity
from anon_batch.errors import ConfigError
from anon_batch.models.registry import model_entry
from anon_batch.models.store import ModelStore
from anon_batch.recognition.network_file import Channels, FeatureNetwork, NetworkFile, read_network_file
from anon_batch.records import FloatArray, PixelArray

CROP_PX = 112
# ArcFace's template: right eye, left eye, nose tip, right and left mouth corner, px of the crop in OpenCV's convention.
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float64
)

Places = npt.NDArray[np.float64]
Point = tuple[float, float]


class EmbedderFile(NetworkFile):
    """The declaration of a recogniser."""

    order: Literal["rgb", "bgr"] = Field("bgr", description="Of the channels.")
    template: tuple[Point, Point, Point, Point, Point] | None = Field(
        None,
        description="Places of right eye, left eye, nose tip, right and left mouth corner, px of the input; default ArcFace's.",
    )

    @property
    def places(self) -> Places:
        """(5, 2) places of the landmarks, px of the input in OpenCV's convention."""
        if self.template is not None:
            return np.array(self.template, np.float64)
        height, width = self.size
        # Pixel centres: x + 0.5 of ArcFace's crop lies at (x + 0.5) * scale of the input.
        return np.asarray((TEMPLATE + 0.5) * (width / CROP_PX, height / CROP_PX) - 0.5, np.float64)


def _pinned(name: str, **declared: Any) -> EmbedderFile:
    entry = model_entry(name)
    return EmbedderFile(path=name, licence=entry.licence, trained_on=entry.trained_on, **declared)


# The recognisers of the registry, by name. OpenCV's FaceRecognizerSF gives SFace red, green and blue from 0 to 255; its graph
# holds the normalisation.
_PINNED = {"sface": _pinned("sface", order="rgb", mean=0, scale=1)}


class Face(NamedTuple):
    """A face in an image: (H, W, 3) uint8 RGB pixels and its (5, 2) landmarks, px."""

    pixels: PixelArray
    landmarks: npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class EmbedderDescription:
    """A recogniser in measures.json: what its declaration says, and the length of a feature."""

    name: str
    sha256: str
    dimensions: int
    size: tuple[int, int]
    order: str
    mean: Channels
    scale: Channels
    licence: str
    trained_on: str


class Embedder:
    """Compute features of faces with an ONNX network (1, 3, H, W) -> (1, D) on the CPU.

    Args:
        file: its declaration.
        data: the file.
        threads: of a call.
        name: that the results use; None takes the declaration's.

    Raises:
        ModelError: the file is not such a network, or not the declared one.
    """

    def __init__(self, file: EmbedderFile, data: bytes, threads: int, name: str | None = None) -> None:
        self.file = file
        self.name = name or file.title
        self._network = FeatureNetwork(file, data, threads)
        self.sha256, self.dimensions = self._network.sha256, self._network.dimensions

    def embed(self, faces: Sequence[Face]) -> FloatArray:
        """Return (N, D) features of length 1 for N faces.

        Raises:
            ModelError: a feature is not finite.
        """
        rows = self._network.of([aligned(face, self.file.places, self.file.size) for face in faces])
        return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), np.float32)

    def facts(self) -> dict[str, Any]:
        """Return, as JSON values, what features depend on: those of recognisers with other facts are not comparable."""
        said = self.file.model_dump(mode="json", include={"size", "layout", "order", "mean", "scale", "output"})
        return {"sha256": self.sha256, **said, "template": self.file.places.tolist()}

    def description(self) -> EmbedderDescription:
        """Return what measures.json says about the recogniser."""
        file = self.file
        return EmbedderDescription(
            self.name,
            self.sha256,
            self.dimensions,
            file.size,
            file.order,
            file.mean,
            file.scale,
            file.licence,
            file.trained_on,
        )


def load_embedder(store: ModelStore, wanted: str, threads: int, name: str | None = None) -> Embedder:
    """Load the recogniser that a user names.

    Args:
        store: gives the pinned weights, and reads the user's files.
        wanted: name of a pinned recogniser (`sface`), or address of a declaration or of an ONNX file with ArcFace's input.
        threads: of a call.
        name: that the results use; None takes the declaration's.

    Raises:
        ConfigError: not a declaration.
        ModelError: it is not a face recogniser, or its weights are not on this machine and cannot be downloaded.
        StorageError: a file is missing or cannot be read.
    """
    return _load(store, _read_declaration(store, wanted), threads, name)


def load_embedders(store: ModelStore, wanted: Sequence[str], threads: int) -> tuple[Embedder, ...]:
    """Load several recognisers. Those with the same name get a number.

    Raises:
        ConfigError: one is listed twice with the same input, or a declaration is invalid.
        ModelError, StorageError: as `load_embedder`.
    """
    files = [_read_declaration(store, own) for own in wanted]
    if len(set(files)) < len(files):
        raise ConfigError("--embedder names the same recogniser twice; give each once")
    titles = [file.title for file in files]
    names = [title if titles.count(title) == 1 else f"{title}-{at}" for at, title in enumerate(titles, 1)]
    return tuple(_load(store, file, threads, name) for file, name in zip(files, names, strict=True))


def _read_declaration(store: ModelStore, wanted: str) -> EmbedderFile:
    return _PINNED.get(wanted) or read_network_file(store.storage, wanted, EmbedderFile)


def _load(store: ModelStore, file: EmbedderFile, threads: int, name: str | None) -> Embedder:
    data = store.load(file.path) if file.path in _PINNED else store.storage.read(file.path)
    return Embedder(file, data, threads, name)


def aligned(face: Face, places: Places = TEMPLATE, size: tuple[int, int] = (CROP_PX, CROP_PX)) -> PixelArray:
    """Align a face as recognisers expect it.

    Args:
        face: pixels and landmarks.
        places: (5, 2) where the landmarks go, px of the crop in OpenCV's convention.
        size: height and width of the crop, px.

    Returns:
        (height, width, 3) uint8 RGB; pixels outside the image are black.
    """
    # Because OpenCV counts from the centre of the first pixel and landmarks from its corner, subtract half a pixel.
    to_crop = similarity(np.asarray(face.landmarks, np.float64) - 0.5, places)
    return np.asarray(cv2.warpAffine(face.pixels, to_crop, size[::-1], flags=cv2.INTER_LINEAR), np.uint8)
