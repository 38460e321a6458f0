"""Throughput of a method on this machine, faces/s."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from anon_batch.anonymize.protocol import Method, Patch
from anon_batch.anonymize.render import Batch, render
from anon_batch.evaluate.subjects import EvaluatedMethod
from anon_batch.imaging.source import SourceImage
from anon_batch.models.runtime import Runtime
from anon_batch.records import Detections

MIN_PASSES = 3
MIN_SECONDS = 1.0
MAX_PASSES = 50
_MAX_FACES, _MAX_PIXELS = 64, 32_000_000  # because more would take memory and not change the result


@dataclass(frozen=True, slots=True)
class Timing:
    """Throughput over repeated passes.

    Args:
        faces: in one pass.
        passes: number of timed passes.
        faces_per_s: of the median pass.
        slowest, fastest: of single passes, faces/s.
    """

    faces: int
    passes: int
    faces_per_s: float
    slowest: float
    fastest: float


@dataclass(frozen=True, slots=True)
class SpeedMeasures:
    """Throughput of one method.

    Args:
        images: in the sample.
        median_region_px: longer side of the median region's mask.
        batch_size: images in a batch.
        threads: CPU threads of one model call.
        device: of the models.
        alone: of the method by itself; None if it refuses every face or cannot be called by itself.
        with_checks: of the method with its fallbacks and the check of every result.
    """

    images: int
    median_region_px: float
    batch_size: int
    threads: int
    device: str
    alone: Timing | None
    with_checks: Timing


@dataclass(slots=True, eq=False)
class SpeedSample:
    """The first images with faces, kept for timing.

    Args:
        images: with their detections.
        faces: number of detections.
        pixels: number of pixels.
    """

    images: list[tuple[SourceImage, Detections]] = field(default_factory=list)
    faces: int = 0
    pixels: int = 0

    def offer(self, image: SourceImage, detections: Detections) -> None:
        """Keep the image if it has faces and the sample has room; the first one is always kept."""
        size = image.width * image.height
        full = self.faces >= _MAX_FACES or (self.images and self.pixels + size > _MAX_PIXELS)
        if len(detections) and not full:
            self.images.append((image, detections))
            self.faces += len(detections)
            self.pixels += size


def time_passes(
    process: Callable[[Any], object], batches: Sequence[Any], faces: int, clock: Callable[[], float] = time.perf_counter
) -> Timing:
    """Process all batches once to warm up, then at least `MIN_PASSES` times and for `MIN_SECONDS`.

    Args:
        process: takes a batch; its result must be complete when it returns.
        batches: of one pass.
        faces: in all batches together.
        clock: seconds.
    """
    for batch in batches:
        process(batch)
    seconds: list[float] = []
    while len(seconds) < MAX_PASSES and (len(seconds) < MIN_PASSES or sum(seconds) < MIN_SECONDS):
        start = clock()
        for batch in batches:
            process(batch)
        seconds.append(clock() - start)
    rates = [faces / max(spent, 1e-9) for spent in seconds]
    return Timing(faces, len(rates), statistics.median(rates), min(rates), max(rates))


def measure_speed(
    method: EvaluatedMethod, sample: SpeedSample, runtime: Runtime, batch_size: int, key: bytes
) -> SpeedMeasures:
    """Time the method by itself, and with its fallbacks and checks. Faces that it refuses do not count for it alone.

    Args:
        method: to time.
        sample: images with at least one face.
        runtime: of the method.
        batch_size: images in a batch.
        key: of the fakes.
    """
    size = batch_size
    batches = [sample.images[start : start + size] for start in range(0, len(sample.images), size)]
    prepared = [[(image.decode(), method.regions(image, found)) for image, found in batch] for batch in batches]
    extents = [region.mask_extent for batch in prepared for _, regions in batch for region in regions]
    return SpeedMeasures(
        images=len(sample.images),
        median_region_px=float(np.median([max(x2 - x1, y2 - y1) for x1, y1, x2, y2 in extents])),
        batch_size=batch_size,
        threads=runtime.threads,
        device=runtime.device,
        alone=None if method.alone is None else _time_alone(method.alone, prepared, key),
        with_checks=time_passes(lambda batch: method.anonymize(batch, key), batches, sample.faces),
    )


def _time_alone(alone: Method, batches: Sequence[Batch], key: bytes) -> Timing | None:
    rendered = [answers for batch in batches for answers in render(alone, batch, key)]
    accepted = sum(isinstance(answer, Patch) for answers in rendered for answer in answers)
    return time_passes(lambda batch: render(alone, batch, key), batches, accepted) if accepted else None
