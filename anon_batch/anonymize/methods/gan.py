"""`gan`: a donor's composite that the generator corrects until it belongs.

The generator sees what `swap` paints, the masks and the landmarks, and the seed's latent; the face that is replaced was
erased before. Faces of all pictures of a batch go through together, yet no face's result depends on which others are there:
on CUDA in calls of one fixed size, on a CPU each in a call of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from anon_batch import keys
from anon_batch.anonymize.faces import landmarks
from anon_batch.anonymize.faces.align import CROP_SIDE, Crop, reduced_unknown
from anon_batch.anonymize.faces.blend import Composite
from anon_batch.anonymize.faces.context import colour_share
from anon_batch.anonymize.faces.donors import MODEL_NAME as DONORS
from anon_batch.anonymize.faces.donors import DonorBank
from anon_batch.anonymize.faces.generator import Generator, load_generator
from anon_batch.anonymize.faces.replace import Limits, Replacement, painted, replacements
from anon_batch.anonymize.protocol import Batch
from anon_batch.config import AnonymizeConfig
from anon_batch.errors import ConfigError
from anon_batch.models.cuda_calls import CudaCalls, half_on_cuda
from anon_batch.models.store import ModelStore
from anon_batch.records import AnonymizedImage, FloatArray

MODEL_NAME = "generator"
MAP_SIGMA = 3.0  # px of the crop
CUDA_CALL_FACES = 64
_LATENT_STREAM = 1 << 64  # the latent's random numbers are none of the donor choice's
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of R, G, B (JFIF 1.02)
_MAX_SATURATED = 0.5  # share of the new pixels beyond black or white
_MIN_DEVIATION = 2.0  # of the new pixels, levels: less is no face


class Gan:
    """Replaces faces by generated ones.

    Args:
        generator: the network.
        bank: donors.
        limits: which faces are replaced.
        soft_edge: width of the blend outside the mask, as a share of the region's longer side.
        threads: on a CPU, the faces that are worked on at a time.
        device: `cpu`, `cuda` or `cuda:N`.

    Raises:
        ConfigError: the device is not there.
    """

    def __init__(
        self, generator: Generator, bank: DonorBank, limits: Limits, soft_edge: float, threads: int, device: str
    ) -> None:
        self.name = "gan"
        self.model_names: tuple[str, ...] = (MODEL_NAME, DONORS)
        self._bank, self._limits, self._soft_edge = bank, limits, soft_edge
        self._network = GeneratorNetwork(generator, threads, device)

    def anonymize(self, batch: Batch, run_key: bytes) -> list[AnonymizedImage]:
        """Treats faces within the limits that have something of the picture around them."""
        prepared = [replacements(image, regions, self._bank, run_key, self._limits) for image, regions in batch]
        faces = [face for made, _ in prepared for face in made]
        corrected = self._network.corrected(faces)
        results = []
        for (image, _), (made, refused) in zip(batch, prepared, strict=True):
            pairs = [(face, next(corrected)) for face in made]
            faults = {face.region.index: fault for face, pixels in pairs if (fault := fault_of(face.crop, pixels))}
            good = [(face, pixels) for face, pixels in pairs if face.region.index not in faults]
            results.append(painted(image, good, {**refused, **faults}, self._soft_edge, self.name))
        return results


class GeneratorNetwork:
    """Runs the generator: float32 on the CPU, float16 in channels-last order on CUDA.

    On a CPU a face has a call and a thread of its own: how a library shares a call's sums out among threads, or a
    matrix's rows among its kernels, may depend on their number, and a face's last bits with it. It is as fast.

    Args:
        generator: the network.
        threads: on a CPU, the faces that are worked on at a time.
        device: `cpu`, `cuda` or `cuda:N`.

    Attributes:
        calls: on CUDA the network, inputs and latents to outputs; None on a CPU.

    Raises:
        ConfigError: the device is not there.
    """

    def __init__(self, generator: Generator, threads: int, device: str) -> None:
        self._device = torch.device(device)
        self._cuda = self._device.type == "cuda"
        if self._cuda and not torch.cuda.is_available():
            raise ConfigError(
                "method `gan`: engine.num_gpus asks for a GPU, but torch finds no CUDA device; install torch with CUDA on "
                "the workers, or set engine.num_gpus: 0"
            )
        self._latent = generator.shape.latent
        order = torch.channels_last
        self._generator = generator.to(self._device, memory_format=order)  # type: ignore[call-overload]
        self._threads = threads
        self.calls: CudaCalls | None = CudaCalls(self._in_half, self._device) if self._cuda else None

    def corrected(self, faces: Sequence[Replacement]) -> Iterator[FloatArray]:
        """New pixels of each face's crop, (side, side, 3) float32 0 .. 255, in the faces' order."""
        if self.calls is None:
            # torch keeps the number of a call's threads by calling thread.
            with ThreadPoolExecutor(self._threads, "generator", torch.set_num_threads, (1,)) as pool:
                yield from pool.map(self._corrected_alone, faces)
            return
        yield from self._corrected_in_calls(self.calls, faces)

    def _corrected_alone(self, face: Replacement) -> FloatArray:
        asked = self._asked([face])
        with torch.inference_mode():
            # torch's own memory is aligned, numpy's is not always, and sums may be ordered by that.
            latent = torch.tensor(asked.latents)
            outputs = self._generator(
                torch.from_numpy(asked.inputs).contiguous(memory_format=torch.channels_last), latent
            )
        return next(asked.corrected(outputs.numpy()))

    def _corrected_in_calls(self, calls: CudaCalls, faces: Sequence[Replacement]) -> Iterator[FloatArray]:
        asked: deque[_Asked] = deque()

        def arguments() -> Iterator[tuple[FloatArray, FloatArray]]:
            for at in range(0, len(faces), CUDA_CALL_FACES):
                asked.append(self._asked(faces[at : at + CUDA_CALL_FACES]))
                yield asked[-1].filled_up(CUDA_CALL_FACES)

        for (outputs,) in calls(arguments()):
            yield from asked.popleft().corrected(outputs)

    def _in_half(self, inputs: Tensor, latents: Tensor) -> tuple[Tensor]:
        with half_on_cuda():
            outputs = self._generator(inputs.contiguous(memory_format=torch.channels_last), latents)
        return (outputs.float(),)

    def _asked(self, faces: Sequence[Replacement]) -> _Asked:
        small = [reduced(face.crop, face.composite) for face in faces]
        inputs = network_input([crop for crop, _ in small], [composite for _, composite in small])
        latents = np.stack([latent_of(face.seed, self._latent) for face in faces])
        return _Asked(faces, [colour_share(crop) for crop, _ in small], inputs, latents)


class _Asked(NamedTuple):
    """Faces before the network and after it."""

    faces: Sequence[Replacement]
    colour_shares: Sequence[float]
    inputs: FloatArray
    latents: FloatArray

    def filled_up(self, count: int) -> tuple[FloatArray, FloatArray]:
        """Inputs and latents for a call of `count` faces; what is missing is zeros."""
        missing = ((0, count - len(self.faces)),)
        return np.pad(self.inputs, (*missing, (0, 0), (0, 0), (0, 0))), np.pad(self.latents, (*missing, (0, 0)))

    def corrected(self, outputs: FloatArray) -> Iterator[FloatArray]:
        """New pixels of each face from what the network gave for it."""
        for face, share, given, output in zip(self.faces, self.colour_shares, self.inputs, outputs, strict=False):
            yield with_change(face.composite.pixels, coloured(output - given[:3], share))


def network_input(crops: Sequence[Crop], composites: Sequence[Composite]) -> FloatArray:
    """What the generator takes, (n, 10, side, side) float32: see `Generator.forward`."""
    side = crops[0].pixels.shape[0]
    inputs = np.empty((len(crops), 10, side, side), np.float32)
    for row, crop, composite in zip(inputs, crops, composites, strict=True):
        row[:3] = composite.pixels.transpose(2, 0, 1) / np.float32(127.5) - 1
        row[3] = crop.unknown
        row[4] = composite.weight
    inputs[:, 5:] = landmarks.maps(np.stack([crop.points for crop in crops]), side, MAP_SIGMA)
    return inputs


def latent_of(seed: int, length: int) -> FloatArray:
    """The latent of a face's seed, (length,) float32 standard normal."""
    return keys.generator(seed + _LATENT_STREAM).standard_normal(length).astype(np.float32)


def reduced(crop: Crop, composite: Composite) -> tuple[Crop, Composite]:
    """Crop and composite at the generator's resolution."""
    side = crop.pixels.shape[0]
    if side == CROP_SIDE:
        return crop, composite
    factor = side // CROP_SIDE
    size = (CROP_SIDE, CROP_SIDE)
    pixels = np.asarray(cv2.resize(crop.pixels, size, interpolation=cv2.INTER_AREA), np.float32)
    small = Crop(pixels, reduced_unknown(crop.unknown), crop.points / factor)
    pixels, weight = (cv2.resize(v, size, interpolation=cv2.INTER_AREA) for v in (composite.pixels, composite.weight))
    return small, Composite(np.asarray(pixels, np.float32), np.asarray(weight, np.float32))


def coloured(change: FloatArray, share: float) -> FloatArray:
    """A correction (3, side, side) with a share of its colour, 0 .. 1: none is brought into a grey picture."""
    if share == 1:
        return change
    grey = np.einsum("chw,c->hw", change, _LUMA)
    return np.asarray(grey + (change - grey) * np.float32(share), np.float32)


def with_change(pixels: FloatArray, change: FloatArray) -> FloatArray:
    """The composite (side, side, 3), 0 .. 255, with the generator's correction (3, s, s) of the range [-1, 1] added."""
    added = change.transpose(1, 2, 0) * np.float32(127.5)
    if added.shape[0] != pixels.shape[0]:
        added = cv2.resize(added, pixels.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(pixels + added, np.float32)


def fault_of(crop: Crop, pixels: npt.NDArray[np.float32]) -> str:
    """Why a generated face cannot be one; empty where it can."""
    new = pixels[crop.unknown]
    if not np.isfinite(new).all():
        return "the generator gave values that are not finite"
    saturated = float(((new < 0) | (new > 255)).mean())
    if saturated > _MAX_SATURATED:
        return f"{saturated:.0%} of the generated pixels lie beyond black or white"
    if float(new.clip(0, 255).std()) < _MIN_DEVIATION:
        return "the generated face is one flat colour"
    return ""


def create(config: AnonymizeConfig, store: ModelStore, threads: int, device: str) -> Gan:
    """Factory of the registry."""
    generator = load_generator(store.load(MODEL_NAME))
    bank = DonorBank(store.load(DONORS))
    limits = Limits(config.min_generated_px, config.min_replaced_score)
    return Gan(generator, bank, limits, config.soft_edge, threads, device)
