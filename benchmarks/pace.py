"""Rates of one core: images from file to file, by each program's own decoder and encoder, and faces by the method alone."""

from __future__ import annotations

import io
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from anon_batch.errors import RowError
from anon_batch.evaluate.subjects import EvaluatedMethod, detect_faces
from anon_batch.imaging.source import SourceImage
from anon_batch.records import Detections, ManifestRow
from benchmarks.peers import PeerMethod

PASSES = 3


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate over repeated passes.

    Args:
        count: images or faces in one pass.
        passes: after one to warm up.
        per_s: of the median pass.
        slowest, fastest: of single passes.
    """

    count: int
    passes: int
    per_s: float
    slowest: float
    fastest: float


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a method is.

    Args:
        images: files that are read, searched, anonymized and encoded.
        faces: that are anonymized, with fallbacks and checks, without detection; None without faces.
    """

    images: Rate
    faces: Rate | None


def measure_pace(method: EvaluatedMethod, files: Sequence[bytes], key: bytes) -> Pace:
    """Time a method on image files, at least one.

    Args:
        method: ours or a peer, with networks on one thread.
        files: bytes of images.
        key: of the fakes.
    """
    process = _by_peer(method) if isinstance(method, PeerMethod) else _by_us(method, key)
    images = measure_rate([lambda data=data: process(data) for data in files], len(files))
    found = list(_found(method, files))
    count = sum(len(method.regions(*one)) for one in found)
    faces = measure_rate([lambda one=one: method.anonymize([one], key) for one in found], count) if count else None
    return Pace(images, faces)


def measure_rate(
    work: Sequence[Callable[[], object]], count: int, clock: Callable[[], float] = time.process_time
) -> Rate:
    """Do all work once to warm up, then PASSES times.

    Args:
        work: of one pass; each is complete when it returns.
        count: what it handles.
        clock: seconds; by default CPU time of the process, which other programs on the machine do not use up.
    """
    rates = []
    for _ in range(PASSES + 1):
        start = clock()
        for each in work:
            each()
        rates.append(count / max(clock() - start, 1e-9))
    rates = rates[1:]
    return Rate(count, PASSES, statistics.median(rates), min(rates), max(rates))


def _found(method: EvaluatedMethod, files: Sequence[bytes]) -> Iterator[tuple[SourceImage, Detections]]:
    for at, data in enumerate(files):
        opened = method.anonymizer.open(str(at), data)
        if isinstance(opened, SourceImage):
            row = ManifestRow(at, str(at), "none")
            for image in detect_faces(method.anonymizer, [(row, opened)], Counter()):
                yield image.image, image.detections


def _by_us(method: EvaluatedMethod, key: bytes) -> Callable[[bytes], object]:
    anonymizer = method.anonymizer.with_key(key)

    def process(data: bytes) -> object:
        try:
            return anonymizer.anonymize_bytes(data)
        except RowError:  # withheld, which takes as long
            return None

    return process


def _by_peer(method: PeerMethod) -> Callable[[bytes], object]:
    """Return what the peer's command does with a file."""
    import imageio.v2 as iio

    def process(data: bytes) -> object:
        frame: Any = iio.imread(io.BytesIO(data))
        if frame.ndim == 2:
            frame = frame[:, :, None].repeat(3, axis=2)
        frame = frame[:, :, :3]
        out = io.BytesIO()
        iio.imwrite(out, method.program.anonymize(frame, method.program.find(frame), method.mode), format="jpeg")
        return out.getvalue()

    return process
