"""Runs the generator on faces: what it takes, how it is called, and what is made of its output."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from anon_batch import keys
from anon_batch.anonymize.faces import landmarks
from anon_batch.anonymize.faces.align import Crop
from anon_batch.anonymize.faces.blend import Composite
from anon_batch.anonymize.faces.colour import colour_share
from anon_batch.anonymize.faces.generator import Generator
from anon_batch.anonymize.faces.replace import Replacement
from anon_batch.errors import ConfigError
from anon_batch.models.cuda_calls import CudaCalls, half_on_cuda
from anon_batch.records import FloatArray

MAP_SIGMA = 3 / 128  # of the side
CUDA_CALL_FACES = 64
_LATENT_STREAM = (
    1 << 64
)  # added to the seed, so that the latent does not share random numbers with the choice of the donor
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of R, G, B (JFIF 1.02)


class GeneratorNetwork:
    """Runs the generator: float32 on the CPU, float16 in channels-last order on CUDA.

    On a CPU each face has a call and a thread of its own, because how a library divides a call's sums among threads, or a
    matrix's rows among its kernels, may depend on their number, and the last bits of the result with it. It is as fast.

    Args:
        generator: the network.
        threads: number of faces to work on at a time, on a CPU.
        device: `cpu`, `cuda` or `cuda:N`.

    Attributes:
        calls: the network on CUDA, inputs and latents to outputs; None on a CPU.

    Raises:
        ConfigError: the device does not exist.
    """

    def __init__(self, generator: Generator, threads: int, device: str) -> None:
        self._device = torch.device(device)
        self._cuda = self._device.type == "cuda"
        if self._cuda and not torch.cuda.is_available():
            raise ConfigError(
                "method `gan`: engine.num_gpus asks for a GPU, but torch finds no CUDA device; install torch with CUDA on "
                "the workers, or set engine.num_gpus: 0"
            )
        self._shape = generator.shape
        order = torch.channels_last
        self._generator = generator.to(self._device, memory_format=order)  # type: ignore[call-overload]
        self._threads = threads
        self.calls: CudaCalls | None = CudaCalls(self._in_half, self._device) if self._cuda else None

    def correct(self, faces: Sequence[Replacement]) -> Iterator[FloatArray]:
        """Yield the new pixels of each face's crop, (side, side, 3) float32 0 .. 255, in the faces' order."""
        if self.calls is None:
            # torch keeps the number of a call's threads by calling thread.
            with ThreadPoolExecutor(self._threads, "generator", torch.set_num_threads, (1,)) as pool:
                yield from pool.map(self._correct_alone, faces)
            return
        yield from self._correct_in_calls(self.calls, faces)

    def _correct_alone(self, face: Replacement) -> FloatArray:
        call = self._prepare([face])
        with torch.inference_mode():
            # torch's own memory is aligned, numpy's is not always, and sums may be ordered by that.
            latent = torch.tensor(call.latents)
            outputs = self._generator(
                torch.from_numpy(call.inputs).contiguous(memory_format=torch.channels_last), latent
            )
        return next(call.finish(outputs.numpy()))

    def _correct_in_calls(self, calls: CudaCalls, faces: Sequence[Replacement]) -> Iterator[FloatArray]:
        pending: deque[_Call] = deque()

        def arguments() -> Iterator[tuple[FloatArray, FloatArray]]:
            for at in range(0, len(faces), CUDA_CALL_FACES):
                pending.append(self._prepare(faces[at : at + CUDA_CALL_FACES]))
                yield pending[-1].pad(CUDA_CALL_FACES)

        for (outputs,) in calls(arguments()):
            yield from pending.popleft().finish(outputs)

    def _in_half(self, inputs: Tensor, latents: Tensor) -> tuple[Tensor]:
        with half_on_cuda():
            outputs = self._generator(inputs.contiguous(memory_format=torch.channels_last), latents)
        return (outputs.float(),)

    def _prepare(self, faces: Sequence[Replacement]) -> _Call:
        inputs = np.stack([network_input(face.crop, face.composite, self._shape.side) for face in faces])
        latents = np.stack([latent_of(face.seed, self._shape.latent) for face in faces])
        return _Call(faces, inputs, latents)


class _Call(NamedTuple):
    """The faces of one call of the network."""

    faces: Sequence[Replacement]
    inputs: FloatArray
    latents: FloatArray

    def pad(self, count: int) -> tuple[FloatArray, FloatArray]:
        """Return inputs and latents for a call of `count` faces, filled up with zeros."""
        missing = ((0, count - len(self.faces)),)
        return np.pad(self.inputs, (*missing, (0, 0), (0, 0), (0, 0))), np.pad(self.latents, (*missing, (0, 0)))

    def finish(self, outputs: FloatArray) -> Iterator[FloatArray]:
        """Yield the new pixels of each face from the network's output for it."""
        for face, given, output in zip(self.faces, self.inputs, outputs, strict=False):
            share = colour_share(face.crop.lab[~face.crop.unknown])
            yield add_change(face.composite.pixels, limit_colour(output - given[:3], share))


def network_input(crop: Crop, composite: Composite, side: int) -> FloatArray:
    """Return the generator's input, (10, side, side) float32: see `Generator.forward`."""
    share = composite.alpha[:, :, None]
    placed = crop.pixels + (composite.pixels - crop.pixels) * share
    images = [placed / np.float32(127.5) - 1, np.dstack([crop.unknown.astype(np.float32), share])]
    if crop.side != side:
        kind = cv2.INTER_AREA if crop.side > side else cv2.INTER_LINEAR
        images = [cv2.resize(image, (side, side), interpolation=kind) for image in images]
    marks = landmarks.maps(crop.points[None] * (side / crop.side), side, MAP_SIGMA * side)[0]
    return np.concatenate([np.dstack(images).transpose(2, 0, 1), marks]).astype(np.float32)


def latent_of(seed: int, length: int) -> FloatArray:
    """Return the latent of a face's seed, (length,) float32 standard normal."""
    return keys.generator(seed + _LATENT_STREAM).standard_normal(length).astype(np.float32)


def limit_colour(change: FloatArray, share: float) -> FloatArray:
    """Return a change (3, side, side) with a share of its colour, 0 .. 1, so that a grey image stays grey."""
    if share == 1:
        return change
    grey = np.einsum("chw,c->hw", change, _LUMA)
    return np.asarray(grey + (change - grey) * np.float32(share), np.float32)


def add_change(pixels: FloatArray, change: FloatArray) -> FloatArray:
    """Add the generator's change (3, s, s), range [-1, 1], to the composite (side, side, 3), 0 .. 255."""
    added = change.transpose(1, 2, 0) * np.float32(127.5)
    if added.shape[0] != pixels.shape[0]:
        added = cv2.resize(added, pixels.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(pixels + added, np.float32)
