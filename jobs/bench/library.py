"""Speed of library calls: a detector, a method on a batch of pictures, the generator's network alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from anon_batch.config import JobConfig, LimitsConfig, load_job
from anon_batch.evidence.over_pictures import SpeedSample
from anon_batch.evidence.speed import time_passes
from anon_batch.records import DecodedImage

Clock = Callable[[], float]
_KEY = b"benchmark" * 4
_SHAPE_640 = (480, 640)


def job(settings: dict[str, Any] | None = None) -> JobConfig:
    """The defaults with some keys; nothing is read or written."""
    return load_job(None, {"manifest": "none", "output": "none", **(settings or {})})


def decoded(paths: Sequence[Path]) -> list[DecodedImage]:
    """The pictures of files."""
    from anon_batch.imaging.decode import decode

    return [decode(path.name, path.read_bytes(), LimitsConfig()) for path in paths]


def at_640_px(images: Sequence[DecodedImage]) -> list[DecodedImage]:
    """Pictures of 640 x 480 px, whatever they were: a network meets one size."""
    height, width = _SHAPE_640
    return [
        DecodedImage(image.image_id, np.asarray(cv2.resize(image.pixels, (width, height)), np.uint8)) for image in images
    ]


def sample_of(paths: Sequence[Path], detector: Any, least_score: float) -> SpeedSample:
    """The first pictures with faces that were found with a score, and these faces: 64, or a few more."""
    sample = SpeedSample()
    for path in paths:
        before = sample.faces
        [image] = decoded([path])
        [found] = detector.detect([image])
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
        (image, regions_of(found, image.width, image.height, how.expansion, how.shape)) for image, found in sample.pictures
    ]
    batches = [prepared[start : start + size] for start in range(0, len(prepared), size)]
    treated = sum(len(result.methods) for batch in batches for result in method.anonymize(batch, _KEY))
    if not treated:
        return 0.0, 0
    timing = time_passes(lambda batch: method.anonymize(batch, _KEY), batches, treated, clock)
    return float(timing.summary()["faces_per_s"]), treated


def detector_speed(detector: Any, images: Sequence[DecodedImage], batch_size: int, clock: Clock) -> float:
    """Pictures a second of `detector.detect` on batches, preparation and decoding of the network's output included."""
    batches = [images[start : start + batch_size] for start in range(0, len(images), batch_size)]
    return float(time_passes(detector.detect, batches, len(images), clock).summary()["faces_per_s"])


def generator_speed(data: bytes, device: str, faces: int, clock: Clock) -> float:
    """Faces a second of the generator's network in calls of `faces` crops of 128 px, input and output on the device.

    As a run has it: float32 on a CPU, half precision in channels-last order on CUDA.

    Args:
        data: the generator's weights.
        device: `cpu`, `cuda` or `cuda:N`.
        faces: of a call.
        clock: seconds; a wall clock for CUDA.
    """
    import torch

    from anon_batch.anonymize.crops import CROP_SIDE
    from anon_batch.anonymize.generator import INPUTS, load_generator

    on_cuda = device.startswith("cuda")
    generator = load_generator(data)
    network = generator.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    inputs = torch.rand(faces, INPUTS, CROP_SIDE, CROP_SIDE, device=device).to(memory_format=torch.channels_last)
    latents = torch.randn(faces, generator.shape.latent, device=device)

    def call(_: object) -> None:
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if on_cuda:
                stack.enter_context(torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True))
                stack.enter_context(torch.autocast("cuda", torch.float16))
            network(inputs, latents)
        if on_cuda:
            torch.cuda.synchronize()

    calls = max(1, 256 // faces) if on_cuda else 4
    return float(time_passes(call, range(calls), calls * faces, clock).summary()["faces_per_s"])


CPU_CLOCK: Clock = time.process_time
WALL_CLOCK: Clock = time.perf_counter
