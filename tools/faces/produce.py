"""Run variants over the sets through the product's own path, and time them."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anon_batch.anonymize.protocol import Patch
from anon_batch.anonymize.render import render
from anon_batch.anonymizer import Anonymizer
from anon_batch.geometry import union_of_masks
from anon_batch.imaging.source import SourceImage
from anon_batch.outcomes import Anonymized, Withheld
from anon_batch.records import Detections
from tools.faces.sets import Data, read_pixels
from tools.faces.stored import Found, Outputs
from tools.faces.variants import load, run_key

BATCH = 8
PASSES = 3


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over a set.

    Args:
        name: of the folder.
        images: of the set.
        ids: of the images, from which seeds derive.
        key: of the run.
    """

    name: str
    images: Sequence[Path]
    ids: Sequence[str]
    key: bytes


def passes(data: Data, name: str, seeds: int, every: int) -> Iterator[Pass]:
    """Yield the passes over a set: for photographs one for each seed; for pairs also with other keys and ids."""
    images = data.images(name)
    if name in {"held", "photos"}:
        images = images[::every]
    ids = [path.name for path in images]
    yield Pass(name, images, ids, run_key("release"))
    if name == "photos":
        for seed in range(1, seeds):
            yield Pass(f"photos.seed{seed}", images, ids, run_key("release", seed))
    if name == "pairs":
        persons = np.arange(len(images)) // 2
        yield Pass("pairs.attacker", images, ids, run_key("attacker"))
        yield Pass("pairs.identity", images, [f"identity-{person}" for person in persons], run_key("identity"))
        smiling = images[1::2]
        shifted = [f"identity-{person + 1}" for person in range(len(smiling))]
        yield Pass("pairs.shifted", smiling, shifted, run_key("identity"))


def produce(data: Data, runs: Path, variant: str, label: str, sets: Sequence[str], seeds: int, every: int) -> None:
    """Write the outputs of a variant for each set.

    Args:
        data: the sets.
        runs: folder of all variants.
        variant: see `tools.faces.variants`.
        label: name of the folder below `runs`.
        sets: names of the sets.
        seeds: passes over the photographs.
        every: take one in so many images of a set.
    """
    anonymizer = load(variant)
    for name in sets:
        detected: dict[Path, Detections] = {}
        for own in passes(data, name, seeds, every):
            start, outputs = time.process_time(), Outputs(runs / label / own.name)
            found = _run_pass(anonymizer.with_key(own.key), own, outputs, detected)
            outputs.put_listing(found)
            faces = sum(len(image.detections) for image in found.values())
            seconds = time.process_time() - start
            print(f"{label}: {own.name}: {len(found)} images, {faces} faces, {seconds:.0f} s of CPU", flush=True)


def _run_pass(
    anonymizer: Anonymizer, own: Pass, outputs: Outputs, detected: dict[Path, Detections]
) -> dict[str, Found]:
    found: dict[str, Found] = {}
    for start in range(0, len(own.images), BATCH):
        paths, ids = own.images[start : start + BATCH], own.ids[start : start + BATCH]
        sources = [SourceImage.from_array(name, read_pixels(path)) for name, path in zip(ids, paths, strict=True)]
        _detect(anonymizer, paths, sources, detected)
        outcomes = anonymizer.process(sources, detections=[detected[path] for path in paths])
        for path, outcome in zip(paths, outcomes, strict=True):
            methods = {}
            if isinstance(outcome, Withheld):
                print(f"{path.name}: withheld: {outcome.error}", flush=True)
            elif isinstance(outcome, Anonymized):
                height, width = outcome.pixels.shape[:2]
                outputs.put(
                    path, outcome.pixels, union_of_masks(outcome.regions, width, height), outcome.result.touched
                )
                methods = dict(outcome.result.methods)
            found[path.name] = Found(detected[path], methods)
    return found


def _detect(
    anonymizer: Anonymizer, paths: Sequence[Path], sources: Sequence[SourceImage], detected: dict[Path, Detections]
) -> None:
    todo = [(path, source) for path, source in zip(paths, sources, strict=True) if path not in detected]
    if todo:
        answers = anonymizer.detect([source for _, source in todo])
        for (path, _), found in zip(todo, answers, strict=True):
            detected[path] = Detections.empty() if isinstance(found, Withheld) else found


def measure_time(data: Data, variant: str, portraits: int = 24, street: int = 24) -> dict[str, dict[str, float]]:
    """Return the CPU time of one thread for each face, ms: kind of image -> `alone` and `with_checks`.

    Args:
        data: the sets.
        variant: to time.
        portraits: number of portraits, of one face each.
        street: number of photographs.
    """
    anonymizer = load(variant)
    method = anonymizer.ladder[variant.partition("@")[0]]
    pairs, photos = data.images("pairs"), data.images("photos")
    chosen = {
        "portraits": pairs[:: max(1, len(pairs) // portraits)],
        "street": photos[:: max(1, len(photos) // street)],
    }
    out = {}
    for kind, paths in chosen.items():
        sources = [SourceImage.from_array(path.name, read_pixels(path)) for path in paths]
        found = [item if isinstance(item, Detections) else Detections.empty() for item in anonymizer.detect(sources)]
        images = [(source, own) for source, own in zip(sources, found, strict=True) if len(own)]
        faces = sum(len(own) for _, own in images)
        batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
        policy = anonymizer.ladder.policy
        prepared = [
            [(image.decode(), policy.regions_of(own, image.width, image.height)) for image, own in batch]
            for batch in batches
        ]
        key = run_key("speed")
        answers = [one for batch in prepared for own in render(method, batch, key) for one in own]
        accepted = sum(isinstance(one, Patch) for one in answers)
        alone, checked = [], []
        for _ in range(PASSES):
            start = time.process_time()
            for batch in prepared:
                render(method, batch, key)
            middle = time.process_time()
            for batch in batches:
                anonymizer.process([image for image, _ in batch], detections=[own for _, own in batch])
            alone.append(middle - start)
            checked.append(time.process_time() - middle)
        out[kind] = {
            "faces": faces,
            "accepted": accepted,
            "alone_ms": 1000 * min(alone) / max(accepted, 1),
            "with_checks_ms": 1000 * min(checked) / max(faces, 1),
            "with_checks_median_ms": 1000 * statistics.median(checked) / max(faces, 1),
        }
    return out


def write_time(data: Data, runs: Path, variant: str, label: str) -> None:
    """Time a variant, print the figures and keep them beside its outputs."""
    figures = measure_time(data, variant)
    (runs / label).mkdir(parents=True, exist_ok=True)
    (runs / label / "time.json").write_text(json.dumps(figures, indent=1), "utf-8")
    for kind, own in figures.items():
        print(
            f"{label}: CPU time a face, {kind}: {own['alone_ms']:.1f} ms alone, {own['with_checks_ms']:.1f} ms with "
            f"fallbacks and checks ({own['faces']:.0f} faces, {own['accepted']:.0f} by the method itself)",
            flush=True,
        )
