"""CPU time of one thread for each face, on portraits and on photographs of streets."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from anon_batch.anonymize.protocol import Patch
from anon_batch.anonymize.render import render
from anon_batch.anonymizer import Anonymizer
from anon_batch.imaging.source import SourceImage
from anon_batch.records import Detections
from tools.faces.sets import Data, read_pixels
from tools.faces.variants import load, run_key

BATCH, PASSES = 8, 3
IMAGES = 24  # of each kind

Figures = dict[str, float]


def write_time(data: Data, runs: Path, variant: str, label: str) -> None:
    """Time a variant, print the figures and keep them beside its outputs."""
    anonymizer, figures = load(variant), {}
    for kind, own_set in (("portraits", "pairs"), ("street", "photos")):
        images = data.images(own_set)
        own = _measure(anonymizer, variant.partition("@")[0], images[:: max(1, len(images) // IMAGES)])
        figures[kind] = own
        print(
            f"{label}: CPU time a face, {kind}: {own['alone_ms']:.1f} ms alone, {own['with_checks_ms']:.1f} ms with "
            f"fallbacks and checks ({own['faces']:.0f} faces, {own['accepted']:.0f} by the method itself)",
            flush=True,
        )
    (runs / label).mkdir(parents=True, exist_ok=True)
    (runs / label / "time.json").write_text(json.dumps(figures, indent=1), "utf-8")


def _measure(anonymizer: Anonymizer, name: str, paths: Sequence[Path]) -> Figures:
    sources = [SourceImage.from_array(path.name, read_pixels(path)) for path in paths]
    found = [own if isinstance(own, Detections) else Detections.empty() for own in anonymizer.detect(sources)]
    images = [(source, own) for source, own in zip(sources, found, strict=True) if len(own)]
    batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    regions_of = anonymizer.ladder.policy.regions_of
    prepared = [
        [(source.decode(), regions_of(own, source.width, source.height)) for source, own in batch] for batch in batches
    ]
    method, key = anonymizer.ladder[name], run_key("speed")
    answers = [answer for batch in prepared for own in render(method, batch, key) for answer in own]
    accepted = sum(isinstance(answer, Patch) for answer in answers)

    def alone() -> None:
        for batch in prepared:
            render(method, batch, key)

    def checked() -> None:
        for batch in batches:
            anonymizer.process([source for source, _ in batch], detections=[own for _, own in batch])

    faces, with_checks = sum(len(own) for _, own in images), _seconds(checked)
    return {
        "faces": float(faces),
        "accepted": float(accepted),
        "alone_ms": 1000 * min(_seconds(alone)) / max(accepted, 1),
        "with_checks_ms": 1000 * min(with_checks) / max(faces, 1),
        "with_checks_median_ms": 1000 * statistics.median(with_checks) / max(faces, 1),
    }


def _seconds(process: Callable[[], None]) -> list[float]:
    """Return the CPU seconds of each pass; the least is what other load on the machine disturbs least."""
    out = []
    for _ in range(PASSES):
        start = time.process_time()
        process()
        out.append(time.process_time() - start)
    return out
