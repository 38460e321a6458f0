"""Run variants over the sets through the product's own path."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anon_batch.anonymizer import Anonymizer
from anon_batch.geometry import union_of_masks
from anon_batch.imaging.source import SourceImage
from anon_batch.outcomes import Anonymized, Withheld
from anon_batch.records import Detections
from tools.faces.sets import Data, read_pixels
from tools.faces.stored import Found, Outputs
from tools.faces.variants import load, run_key

BATCH = 8


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
