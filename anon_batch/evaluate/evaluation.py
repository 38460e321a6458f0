"""All measures of a plan: one document of figures, and the contact sheets.

The document (`measures.json`), version 1:

- `plan`: configuration, seed and inputs, with numbers of pictures; `models`: `name@sha256`; `versions`; `machine`;
- `skipped`: measure -> why it is not here, and what to give;
- `originals`: measure -> the same figures of the pictures as they were, where there are any;
- `methods`: method -> measure -> figures, and its `ladder`;
- `sheets`: names of the contact sheets beside it.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import cv2

from anon_batch import __version__
from anon_batch.errors import ConfigError, ManifestError
from anon_batch.evaluate.contact_sheet import StripSample, draw_sheet
from anon_batch.evaluate.images import SpeedSample, measure_pictures, measure_speed
from anon_batch.evaluate.pairs_csv import Pair, read_pairs
from anon_batch.evaluate.person_pairs import measure_pairs
from anon_batch.evaluate.reidentification import attack
from anon_batch.evaluate.samples import Selection, drawn, read_names, select_faces, select_from_manifest
from anon_batch.evaluate.setup import EvaluationPlan, Instruments, open_instruments
from anon_batch.evaluate.single_faces import measure_faces
from anon_batch.storage import Storage, absolute, join

DOCUMENT = "measures.json"
DOCUMENT_VERSION = 1
_PACKAGES = ("numpy", "opencv-python", "onnxruntime", "torch", "Pillow")


@dataclass(slots=True, eq=False)
class _Inputs:
    """What is listed, before any picture is read."""

    pictures: Selection | None = None
    pairs: list[Pair] | None = None
    faces: Selection | None = None


@dataclass(slots=True, eq=False)
class _Results:
    """What is measured so far."""

    methods: dict[str, dict[str, Any]]
    originals: dict[str, Any] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    sheets: list[str] = field(default_factory=list)
    sample: SpeedSample = field(default_factory=SpeedSample)


def evaluate(plan: EvaluationPlan, say: Callable[[str], None]) -> dict[str, Any]:
    """Measures, writes the document and the sheets to `plan.output`, and returns the document.

    Args:
        plan: what is to be measured.
        say: is told how far it is, a line at a time.

    Raises:
        UsageError: something is wrong with the inputs; most of it is told before the first picture is read.
        StorageError: a picture or file cannot be read, or the results cannot be written.
    """
    storage = Storage(plan.job.storage)
    cv2.setNumThreads(plan.threads)
    instruments = open_instruments(plan, storage)
    inputs = _list_inputs(plan, storage)
    results = _Results({method.name: {"ladder": list(method.ladder.names)} for method in instruments.methods})
    _note_skipped(plan, results.skipped)
    if inputs.pictures is not None:
        _over_pictures(plan, storage, instruments, inputs.pictures, results, say)
    if inputs.pairs is not None:
        _over_pairs(plan, storage, instruments, inputs.pairs, results, say)
    if inputs.faces is not None:
        _over_faces(plan, storage, instruments, inputs.faces, results, say)
    _over_time(plan, instruments, results, say)
    document = _document(plan, instruments, results)
    storage.put(join(absolute(plan.output), DOCUMENT), json.dumps(document, indent=1).encode())
    return document


def _list_inputs(plan: EvaluationPlan, storage: Storage) -> _Inputs:
    if plan.only is not None and plan.faces is None:
        raise ConfigError("--only names pictures of --faces: give both")
    out = _Inputs()
    if plan.manifest is not None:
        out.pictures = select_from_manifest(
            storage, plan.manifest, limit=plan.limit, seed=plan.seed, labelled_only=plan.scorer is not None
        )
    if plan.pairs is not None and plan.embedder is not None:
        listed = read_pairs(storage, plan.pairs)
        chosen = drawn(((index, pair.person) for index, pair in enumerate(listed)), plan.limit, plan.seed)
        out.pairs = [listed[index] for index in chosen]
        if len(out.pairs) < 2:
            raise ConfigError("--limit 1: telling people apart takes two pairs at least")
    if plan.faces is not None:
        only = None if plan.only is None else read_names(storage, plan.only)
        out.faces = select_faces(storage, plan.faces, only=only, limit=plan.limit, seed=plan.seed)
    if plan.manifest is None and out.pairs is None and out.faces is None:
        raise ConfigError(
            "nothing to measure on: give a MANIFEST with ground truth, --pairs with --embedder, or --faces"
        )
    return out


def _note_skipped(plan: EvaluationPlan, skipped: dict[str, str]) -> None:
    lacking = {
        "MANIFEST": plan.manifest is None,
        "--scorer DETECTOR": plan.scorer is None,
        "--pairs FILE": plan.pairs is None,
        "--embedder FILE": plan.embedder is None,
        "--faces FOLDER": plan.faces is None,
    }
    needs = {
        "average_precision": ("MANIFEST", "--scorer DETECTOR"),
        "reidentification": ("--pairs FILE", "--embedder FILE"),
        "identity": ("--pairs FILE", "--embedder FILE"),
        "frechet": ("--faces FOLDER", "--embedder FILE"),
        "landmarks": ("--faces FOLDER",),
    }
    for measure, inputs in needs.items():
        if missing := [name for name in inputs if lacking[name]]:
            skipped[measure] = f"give {' and '.join(missing)}"


def _over_pictures(
    plan: EvaluationPlan,
    storage: Storage,
    instruments: Instruments,
    chosen: Selection,
    results: _Results,
    say: Callable[[str], None],
) -> None:
    progress = _Progress("pictures", chosen.chosen_count, say)
    found = measure_pictures(plan, storage, instruments, chosen, results.sample, progress.tick)
    results.inputs["manifest"] = {
        **chosen.counts(),
        "measured": found.pictures,
        "failures": dict(sorted(found.failures.items())),
    }
    if not found.pictures:
        raise ManifestError(f"manifest {chosen.address}: none of its pictures could be decoded: {dict(found.failures)}")
    if found.before is not None:
        results.originals["average_precision"] = found.before.summary()
    for name, sections in results.methods.items():
        sections.update(found.summary(name))
    _put_sheets(plan, storage, found.strips, "sheet", results)


def _over_pairs(
    plan: EvaluationPlan,
    storage: Storage,
    instruments: Instruments,
    pairs: list[Pair],
    results: _Results,
    say: Callable[[str], None],
) -> None:
    if instruments.embedder is None:
        return
    progress = _Progress("persons", len(pairs), say)
    found = measure_pairs(plan, storage, instruments, instruments.embedder, pairs, results.sample, progress.tick)
    results.inputs["pairs"] = {
        "persons": len(pairs),
        "measured": found.persons,
        "unusable": found.unusable,
        "failures": dict(sorted(found.failures.items())),
    }
    results.originals["reidentification"] = {"original_gallery": attack(found.original(), found.original())}
    for name, sections in results.methods.items():
        sections["reidentification"] = found.reidentification(name)
        sections["identity"] = found.identity(name)


def _over_faces(
    plan: EvaluationPlan,
    storage: Storage,
    instruments: Instruments,
    chosen: Selection,
    results: _Results,
    say: Callable[[str], None],
) -> None:
    progress = _Progress("single faces", chosen.chosen_count, say)
    found = measure_faces(plan, storage, instruments, chosen, results.sample, progress.tick)
    results.inputs["faces"] = {
        **chosen.counts(),
        "measured": found.faces,
        "unusable": found.unusable,
        "failures": dict(sorted(found.failures.items())),
    }
    if not found.faces:
        raise ConfigError(
            f"--faces {chosen.address}: no face with landmarks was found in any of {chosen.chosen_count:,} pictures; use a "
            "detector that gives landmarks, or other pictures"
        )
    if (reason := found.too_few()) is not None:
        results.skipped["frechet"] = reason
    if originals := found.landmarks(None):
        results.originals["landmarks"] = originals
    if (floor := found.frechet(None)) is not None:
        results.originals["frechet"] = floor
    for name, sections in results.methods.items():
        sections["landmarks"] = found.landmarks(name)
        if (distance := found.frechet(name)) is not None:
            sections["frechet"] = distance
    _put_sheets(plan, storage, found.strips, "sheet-faces", results)


def _over_time(plan: EvaluationPlan, instruments: Instruments, results: _Results, say: Callable[[str], None]) -> None:
    if not results.sample.faces:
        results.skipped["speed"] = "no face was found in any picture"
        return
    for method in instruments.methods:
        say(f"timing {method.name}")
        results.methods[method.name]["speed"] = measure_speed(plan, method, results.sample)


def _put_sheets(plan: EvaluationPlan, storage: Storage, sample: StripSample, prefix: str, results: _Results) -> None:
    strips = sample.strips()
    for method in results.methods if strips else ():
        name = f"{prefix}-{method}.jpg"
        storage.put(join(absolute(plan.output), name), draw_sheet(strips, method))
        results.sheets.append(name)


def _document(plan: EvaluationPlan, instruments: Instruments, results: _Results) -> dict[str, Any]:
    job = plan.job.model_dump(mode="json", include={"detect", "anonymize", "limits"})
    job["anonymize"].pop("method")  # each method in turn
    scorer = None if plan.scorer is None else plan.scorer.model_dump(mode="json")
    embedder = None if instruments.embedder is None else instruments.embedder.describe()
    return {
        "format_version": DOCUMENT_VERSION,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "plan": {
            "config": job,
            "scorer": scorer,
            "embedder": embedder,
            "limit": plan.limit,
            "seed": plan.seed,
            "inputs": results.inputs,
        },
        "models": list(instruments.models),
        "versions": {"anon-batch": __version__, "python": platform.python_version(), **_versions()},
        "machine": {
            "platform": platform.platform(),
            "cpu_count": os.cpu_count(),
            "threads": plan.threads,
            "device": plan.device,
        },
        "skipped": results.skipped,
        "originals": results.originals,
        "methods": results.methods,
        "sheets": results.sheets,
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # a build of it under another name
            found[package] = "unknown"
    return found


class _Progress:
    """Says every tenth of the way how far it is."""

    def __init__(self, what: str, total: int, say: Callable[[str], None]) -> None:
        self._what, self._total, self._say = what, total, say
        self._done, self._said = 0, 0
        say(f"{total:,} {what}")

    def tick(self, count: int) -> None:
        self._done += count
        tenth = 10 * self._done // max(self._total, 1)
        if tenth > self._said:
            self._said = tenth
            self._say(f"{self._done:,} of {self._total:,} {self._what}")
