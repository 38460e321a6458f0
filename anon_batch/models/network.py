"""The interface of an image network, and what the backends share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Literal, Protocol

import cv2
import numpy as np

from anon_batch.records import FloatArray, PixelArray

Backend = Literal["onnxruntime", "openvino", "torch"]


class Network(Protocol):
    """An image network.

    Attributes:
        batch_size: number of images of one size that `run` takes, no fewer and no more. It is fixed because kernels are
            chosen by batch size, and an image's result must not depend on the images beside it.
    """

    batch_size: int

    def run(self, batch: FloatArray) -> list[FloatArray]:
        """Run the network on one batch.

        Args:
            batch: (batch_size, 3, H, W) float32, contiguous.

        Returns:
            The outputs of the graph in its order, float32.
        """

    def run_images(self, batches: Iterable[PixelArray]) -> Iterator[list[FloatArray]]:
        """Run the network on several batches; on CUDA, prepare the next batch while the current one is computed.

        Args:
            batches: (batch_size, H, W, 3) uint8 RGB each, contiguous, any H and W; the network gets them as (batch_size, 3,
                H, W) float32, 0 to 255. The iterable is read ahead of the outputs.

        Yields:
            What `run` returns for each batch, in order. The arrays are valid until the next ones are requested.
        """


class SynchronousNetwork(ABC):
    """Base for backends that run batches synchronously."""

    @abstractmethod
    def run(self, batch: FloatArray) -> list[FloatArray]:
        """See Network.run."""

    def run_images(self, batches: Iterable[PixelArray]) -> Iterator[list[FloatArray]]:
        """See Network.run_images."""
        for batch in batches:
            yield self.run(to_nchw(batch))


def to_nchw(images: PixelArray) -> FloatArray:
    """Convert (B, H, W, 3) uint8 to (B, 3, H, W) float32 with the same values."""
    count, height, width, channels = images.shape
    batch = np.empty((count, channels, height, width), np.float32)
    for planes, image in zip(batch, images, strict=True):
        for plane, channel in zip(planes, cv2.split(image), strict=True):  # because it is faster than a transposed copy
            plane[...] = channel
    return batch
