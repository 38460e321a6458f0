"""A network that the user provides, with a declaration of what it expects: a YAML file beside the ONNX file.

    path: mobilenet_v2.onnx          # relative to the declaration
    sha256: 3f5d...                  # of the file; a different file is refused
    size: 224                        # side of its input, px; or [height, width]
    layout: nchw                     # or nhwc: order of the input's axes
    order: rgb
    mean: [123.675, 116.28, 103.53]  # subtracted from the values 0 to 255 of each channel; one number for all of them
    scale: [58.395, 57.12, 57.375]   # then they are divided by this
    output: 0                        # which of the graph's outputs holds the features
    licence: BSD-3-Clause
    trained_on: ImageNet-1k

The ONNX file does not say any of this itself, and wrong numbers give features that look right and mean little.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import cv2
import numpy as np
import yaml
from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from anon_batch.config.checking import validate
from anon_batch.config.section import Section
from anon_batch.errors import ConfigError, ModelError
from anon_batch.models.backends import open_network
from anon_batch.models.network import Network
from anon_batch.models.onnx_graph import put_channels_first
from anon_batch.records import FloatArray, PixelArray
from anon_batch.storage import Storage, absolute, join
from anon_batch.storage.addresses import is_local, local_path

SUFFIXES = (".yaml", ".yml")

Channels = tuple[float, float, float]
Divisors = tuple[PositiveFloat, PositiveFloat, PositiveFloat]


class NetworkFile(Section):
    """The declaration of a network: its input is (value - mean) / scale of each channel, in this order and size."""

    path: str = Field(description="Address of the ONNX file, absolute or relative to the declaration.")
    name: str = Field("", description="What results call it; default the file's name without suffix.")
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="Of the ONNX file.")
    size: tuple[PositiveInt, PositiveInt] = Field((112, 112), description="Height and width of the input, px.")
    layout: Literal["nchw", "nhwc"] = Field("nchw", description="Order of the input's axes.")
    order: Literal["rgb", "bgr"] = Field("rgb", description="Of the channels.")
    mean: Channels = Field((127.5, 127.5, 127.5), description="Subtracted from the values 0 to 255.")
    scale: Divisors = Field((127.5, 127.5, 127.5), description="Divisor of the values.")
    output: int = Field(0, ge=0, description="Which of the graph's outputs holds the features.")
    licence: str = Field("not stated", description="Of the weights.")
    trained_on: str = Field("not stated", description="What the network was trained on.")

    @field_validator("size", mode="before")
    @classmethod
    def _square(cls, value: Any) -> Any:
        return (value, value) if isinstance(value, int) else value

    @field_validator("mean", "scale", mode="before")
    @classmethod
    def _of_all_channels(cls, value: Any) -> Any:
        return (value, value, value) if isinstance(value, int | float) else value

    @property
    def title(self) -> str:
        """What results call it."""
        return self.name or posixpath.splitext(posixpath.basename(self.path))[0]


_File = TypeVar("_File", bound=NetworkFile)


def read_network_file(storage: Storage, address: str, kind: type[_File]) -> _File:
    """Read a declaration; its `path` becomes absolute. The address of an ONNX file itself stands for the defaults.

    Args:
        storage: of the declaration.
        address: of a YAML file or an ONNX file.
        kind: of the declaration, with its keys and defaults.

    Raises:
        ConfigError: not a declaration.
        StorageError: it cannot be read.
    """
    where = absolute(address)
    if not address.endswith(SUFFIXES):
        return kind(path=where)
    try:
        read = yaml.safe_load(storage.read(where).decode("utf-8-sig"))
    except (UnicodeDecodeError, yaml.YAMLError) as exc:
        raise ConfigError(f"{address}: not YAML ({(str(exc).splitlines() or [''])[0][:200]})") from None
    if not isinstance(read, dict):
        raise ConfigError(f"{address}: expected keys and values, at least `path: FILE.onnx`")
    file = validate(kind, read, address)
    beside = is_local(file.path) and not posixpath.isabs(local_path(file.path))
    return file.model_copy(update={"path": join(posixpath.dirname(where), file.path) if beside else file.path})


class FeatureNetwork:
    """Computes features of images with an ONNX network, one image at a time on the CPU.

    Args:
        file: its declaration.
        data: the ONNX file.
        threads: of a call.

    Attributes:
        name: what results call it.
        sha256: of the file.
        dimensions: length of a feature.

    Raises:
        ModelError: the file has another digest, or is not such a network.
    """

    def __init__(self, file: NetworkFile, data: bytes, threads: int) -> None:
        self.file, self.name = file, file.title
        self.sha256 = hashlib.sha256(data).hexdigest()
        if file.sha256 not in (None, self.sha256):
            raise ModelError(f"{file.path}: sha256 is {self.sha256}, its declaration says {file.sha256}")
        self._mean, self._scale = np.array(file.mean, np.float32), np.array(file.scale, np.float32)
        try:
            network = put_channels_first(data) if file.layout == "nhwc" else data
            self._network: Network = open_network("onnxruntime", network, threads=threads, device="cpu")
            self.dimensions = len(self._features(np.zeros((*file.size, 3), np.uint8)))
        except ModelError as exc:
            raise ModelError(f"{file.path}: {exc}") from exc
        except Exception as exc:  # because onnxruntime's exceptions share no base class
            raise ModelError(
                f"{file.path}: does not accept images of {file.size[1]} x {file.size[0]} px, or has no output "
                f"{file.output} ({(str(exc).splitlines() or [''])[0][:200]}); declare its `size`, `layout` and `output`"
            ) from exc

    def of(self, images: Sequence[PixelArray]) -> FloatArray:
        """Return features (N, D) float32 of N images (H, W, 3) uint8 RGB of any size, resized to the input's.

        Raises:
            ModelError: a feature is not finite.
        """
        if not images:
            return np.zeros((0, self.dimensions), np.float32)
        rows = np.stack([self._features(image) for image in images])
        if not np.isfinite(rows).all():
            raise ModelError(f"{self.file.path}: gives features that are not finite")
        return rows

    def description(self) -> dict[str, str]:
        """Return what results say about the network."""
        return {"sha256": self.sha256, "licence": self.file.licence, "trained_on": self.file.trained_on}

    def _features(self, image: PixelArray) -> FloatArray:
        height, width = self.file.size
        if image.shape[:2] != (height, width):
            shrinks = image.shape[0] > height or image.shape[1] > width
            method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            image = np.asarray(cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=method), np.uint8)
        ordered = image[:, :, ::-1] if self.file.order == "bgr" else image
        values = (ordered.astype(np.float32) - self._mean) / self._scale
        outputs = self._network.run(np.ascontiguousarray(values.transpose(2, 0, 1)[None], np.float32))
        return np.asarray(outputs[self.file.output], np.float32).reshape(-1)


def load_feature_network(storage: Storage, address: str, threads: int) -> FeatureNetwork:
    """Read a declaration and its network.

    Raises:
        ConfigError, ModelError, StorageError: as `read_network_file` and `FeatureNetwork`.
    """
    file = read_network_file(storage, address, NetworkFile)
    return FeatureNetwork(file, storage.read(file.path), threads)


def load_feature_networks(storage: Storage, addresses: Sequence[str], threads: int) -> tuple[FeatureNetwork, ...]:
    """Load several networks.

    Raises:
        ConfigError: two of them have one name.
        ModelError, StorageError: as `load_feature_network`.
    """
    networks = tuple(load_feature_network(storage, address, threads) for address in addresses)
    names = [network.name for network in networks]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(
            f"--features: two networks are called {twice[0]}; give them names in their declarations (`name`)"
        )
    return networks
