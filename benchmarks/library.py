"""Speed of library calls: a detector, a method on a batch of pictures, the generator's network alone."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from anon_batch.config import JobConfig, load_job
from anon_batch.evaluate.speed import SpeedSample, time_passes
from anon_batch.records import DecodedImage, FloatArray, Preview

Clock = Callable[[], float]
GeneratorCalls = Callable[[Iterable[tuple[FloatArray, FloatArray]]], Iterator[Sequence[FloatArray]]]
QUEUED_CALLS = 16
_HELD_CALLS = 4  # inputs of so many differ: more than a processor's caches hold
_CPU_CALLS = 4
_KEY = b"benchmark" * 4
_SHAPE_640 = (480, 640)


def job(settings: dict[str, Any] | None = None) -> JobConfig:
    """The defaults with some keys; nothing is read or written."""
    return load_job(None, {"manifest": "none", "output": "none", **(settings or {})})


def decoded(paths: Sequence[Path]) -> list[DecodedImage]:
    """The pictures of files."""
    from anon_batch.imaging.decode import decode

    return [decode(path.name, path.read_bytes()) for path in paths]


def at_640_px(images: Sequence[DecodedImage]) -> list[DecodedImage]:
    """Pictures of 640 x 480 px, whatever they were: a network meets one size."""
    height, width = _SHAPE_640
    return [
        DecodedImage(image.image_id, np.asarray(cv2.resize(image.pixels, (width, height)), np.uint8))
        for image in images
    ]


def sample_of(paths: Sequence[Path], detector: Any, least_score: float) -> SpeedSample:
    """The first pictures with faces that were found with a score, and these faces: 64, or a few more."""
    sample = SpeedSample()
    for path in paths:
        before = sample.faces
        [image] = decoded([path])
        [found] = detector.detect([Preview(image.image_id, image.pixels)])
        found = found.take(found.scores >= least_score)
        sample.offer(image, found)
        if before and len(found) and sample.faces == before:
            break
    return sample


def method_speed(method: Any, config: JobConfig, sample: SpeedSample, clock: Clock) -> tuple[float, int]:
    """Faces a second of `method.anonymize` on batches, and how many faces it treats of the sample; (0, 0) where none."""
    from anon_batch.geometry import regions_of

    how, size = config.anonymize, config.detect.batch_size
    prepared = [
        (image, regions_of(found, image.width, image.height, how.expansion, how.shape))
        for image, found in sample.images
    ]
    batches = [prepared[start : start + size] for start in range(0, len(prepared), size)]
    treated = sum(len(result.methods) for batch in batches for result in method.anonymize(batch, _KEY))
    if not treated:
        return 0.0, 0
    timing = time_passes(lambda batch: method.anonymize(batch, _KEY), batches, treated, clock)
    return float(timing.faces_per_s), treated


def detector_speed(detector: Any, images: Sequence[DecodedImage], batch_size: int, clock: Clock) -> float:
    """Pictures a second of `detector.detect`, preparation and decoding of the network's output included.

    Args:
        detector: a job's.
        images: of a pass.
        batch_size: pictures that `detect` gets at once. On CUDA a call of the network is prepared while the one before is
            computed, within one `detect`: several calls' worth.
        clock: seconds; a wall clock for CUDA.
    """
    previews = [Preview(image.image_id, image.pixels) for image in images]
    batches = [previews[start : start + batch_size] for start in range(0, len(images), batch_size)]
    return float(time_passes(detector.detect, batches, len(images), clock).faces_per_s)


def generator_speed(data: bytes, device: str, faces: int, clock: Clock) -> float:
    """Faces a second of the generator's network in calls of `faces` crops of 128 px.

    On a CPU calls one after the other whose inputs lie ready, float32; on CUDA those of a run: see `queued_speed`.

    Args:
        data: the generator's weights.
        device: `cpu`, `cuda` or `cuda:N`.
        faces: of a call.
        clock: seconds; a wall clock for CUDA.

    Raises:
        ConfigError: the device is not there.
    """
    import torch

    from anon_batch.anonymize.faces.align import CROP_SIDE
    from anon_batch.anonymize.faces.generator import INPUTS, load_generator
    from anon_batch.anonymize.methods.gan import GeneratorNetwork

    generator = load_generator(data)
    calls = GeneratorNetwork(generator, 1, device).calls
    if calls is not None:
        return queued_speed(calls, generator.shape.latent, faces, clock)
    inputs = torch.rand(faces, INPUTS, CROP_SIDE, CROP_SIDE).to(memory_format=torch.channels_last)
    latents = torch.randn(faces, generator.shape.latent)

    def call(_: object) -> None:
        with torch.inference_mode():
            generator(inputs, latents)

    return float(time_passes(call, range(_CPU_CALLS), _CPU_CALLS * faces, clock).faces_per_s)


def queued_speed(calls: GeneratorCalls, latent: int, faces: int, clock: Clock) -> float:
    """Faces a second of the generator from crops in the host's memory to results there, many calls in one row.

    Args:
        calls: of the network, `CudaCalls`: it copies and computes one call while the next one is made ready.
        latent: length of a face's latent.
        faces: of a call.
        clock: seconds of the wall: it waits for the device.
    """
    from anon_batch.anonymize.faces.align import CROP_SIDE
    from anon_batch.anonymize.faces.generator import INPUTS

    numbers, sides = np.random.default_rng(0), (CROP_SIDE, CROP_SIDE)
    held = [
        (numbers.random((faces, INPUTS, *sides), np.float32), numbers.standard_normal((faces, latent), np.float32))
        for _ in range(_HELD_CALLS)
    ]

    def row(_: object) -> None:
        for _results in calls(itertools.islice(itertools.cycle(held), QUEUED_CALLS)):
            pass

    return float(time_passes(row, range(1), QUEUED_CALLS * faces, clock).faces_per_s)


CPU_CLOCK: Clock = time.process_time
WALL_CLOCK: Clock = time.perf_counter
