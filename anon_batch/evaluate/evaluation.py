"""Run all measures of an evaluation; write measures.json, the contact sheets and the blind test."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import cv2
import torch

from anon_batch import __version__
from anon_batch.errors import ConfigError, ManifestError
from anon_batch.evaluate.appearance import Appearance
from anon_batch.evaluate.attacks.audit import Audit
from anon_batch.evaluate.attacks.training_faces import load_training
from anon_batch.evaluate.blind_page import render_blind_page
from anon_batch.evaluate.blind_sample import MIN_SIDE_PX, BlindFace, BlindSample
from anon_batch.evaluate.contact_sheet import FaceSample, draw_sheet
from anon_batch.evaluate.images import measure_images
from anon_batch.evaluate.inputs import list_inputs, skipped_measures
from anon_batch.evaluate.measures import FILENAME, InputCounts, Machine, Measures, MethodMeasures, Plan
from anon_batch.evaluate.pairs_csv import Pair
from anon_batch.evaluate.person_pairs import measure_pairs
from anon_batch.evaluate.probe_features import DetectorFeatures, NoiseFeatures
from anon_batch.evaluate.samples import Selection
from anon_batch.evaluate.setup import EvaluationConfig, Setup, load_setup
from anon_batch.evaluate.single_faces import measure_single_faces
from anon_batch.evaluate.speed import SpeedSample, measure_speed
from anon_batch.evaluate.utility.of_methods import MethodUtility
from anon_batch.evaluate.wider.lists import WiderLists
from anon_batch.storage import Storage, absolute, join

_PACKAGES = ("numpy", "opencv-python", "onnxruntime", "torch", "Pillow")

OnMessage = Callable[[str], None]


@dataclass(slots=True, eq=False)
class _Results:
    """What is measured so far."""

    methods: dict[str, MethodMeasures]
    originals: MethodMeasures = field(default_factory=MethodMeasures)
    skipped: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, InputCounts] = field(default_factory=dict)
    sheets: list[str] = field(default_factory=list)
    blind_pages: list[str] = field(default_factory=list)


def evaluate(
    config: EvaluationConfig, on_message: OnMessage, adapt: Callable[[Setup], Setup] = lambda setup: setup
) -> Measures:
    """Measure, write measures.json, contact sheets and blind test to `config.output`, and return the measures.

    Args:
        config: what to measure.
        on_message: gets progress messages.
        adapt: changes what was loaded before it is used, for example to measure other programs as methods.

    Raises:
        UsageError: an input is invalid; most errors are raised before the first image is read.
        StorageError: an image or file cannot be read, or the results cannot be written.
    """
    return _Evaluation(config, on_message, adapt).run()


class _Evaluation:
    """One evaluation, with the models and results that its passes share."""

    def __init__(self, config: EvaluationConfig, on_message: OnMessage, adapt: Callable[[Setup], Setup]) -> None:
        self._config, self._on_message = config, on_message
        self._storage = Storage(config.job.storage)
        self._setup = adapt(load_setup(config, self._storage))
        self._speed_sample = SpeedSample()
        store = self._setup.runtime.store
        features = DetectorFeatures(store)
        probe_models = [store.identify(name) for name in features.models]
        self._models = tuple(dict.fromkeys([*self._setup.models, *probe_models]))
        self._appearance = Appearance(
            [method.name for method in self._setup.methods],
            (features, NoiseFeatures()),
            BlindSample(config.seed) if config.blind else None,
            config.seed,
        )
        self._utility = MethodUtility(
            [method.name for method in self._setup.methods],
            self._setup.networks,
            (features, NoiseFeatures()),
            config.label_column,
            config.seed,
        )
        self._results = _Results({method.name: MethodMeasures(method.ladder) for method in self._setup.methods})
        cv2.setNumThreads(self._setup.runtime.threads)
        torch.set_num_threads(self._setup.runtime.threads)  # because more wait for each other on a busy machine

    def run(self) -> Measures:
        inputs = list_inputs(self._config, self._storage)
        self._results.skipped.update(skipped_measures(self._config))
        if inputs.images is not None:
            self._measure_images(inputs.images, inputs.wider)
        if inputs.pairs is not None:
            self._measure_pairs(inputs.pairs, inputs.pairs_listed)
        if inputs.faces is not None:
            self._measure_single_faces(inputs.faces)
        self._measure_appearance()
        self._measure_speed()
        measures = _measures(self._config, self._setup, self._models, self._results)
        self._storage.put(join(absolute(self._config.output), FILENAME), measures.to_json())
        return measures

    def _measure_images(self, selection: Selection, wider: WiderLists) -> None:
        progress = _Progress("images", selection.chosen_count, self._on_message)
        found = measure_images(
            self._config,
            self._storage,
            self._setup,
            selection,
            self._speed_sample,
            self._appearance,
            self._utility,
            progress.advance,
            wider,
        )
        results = self._results
        results.inputs["manifest"] = _counts(selection, found.images, 0, found.failures)
        if not found.images:
            hint = "; add their folder to `sources.allow`" if "source_refused" in found.failures else ""
            raise ManifestError(
                f"manifest {selection.address}: no image could be decoded: {dict(found.failures)}{hint}"
            )
        if found.before is not None:
            results.originals = replace(
                results.originals, average_precision=found.before.measures(), wider=found.before.wider_measures()
            )
        for name, counts in found.methods.items():
            self._add(
                name,
                outcomes=counts.outcomes(name),
                missed=counts.missed.summary(),
                utility=self._utility.findings(name),
            )
            if found.before is not None:
                self._add(
                    name,
                    average_precision=counts.scores.measures(found.before, self._config.seed),
                    wider=counts.scores.wider_measures(found.before, self._config.seed),
                )
        self._write_sheets(found.sample, "sheet")

    def _measure_pairs(self, pairs: list[Pair], listed: int) -> None:
        if not self._setup.embedders:
            return
        progress = _Progress("persons", len(pairs), self._on_message)
        found = measure_pairs(
            self._config,
            self._storage,
            self._setup,
            pairs,
            self._speed_sample,
            self._appearance,
            progress.advance,
        )
        results = self._results
        failures = dict(sorted(found.failures.items()))
        results.inputs["pairs"] = InputCounts(listed, listed, len(pairs), len(found.persons), found.unusable, failures)
        config, setup = self._config, self._setup
        audit = Audit(
            found.persons,
            setup.embedders,
            setup.eraser,
            config.attacks,
            config.run_key,
            config.seed,
            load_training(config.attacks, config.job, self._storage, setup.runtime, setup.eraser, config.seed),
            self._on_message,
        )
        results.originals = replace(results.originals, reidentification=audit.of_originals())
        for method in setup.methods:
            self._add(
                method.name,
                reidentification=audit.of(method),
                identity={rows.embedder.name: rows.identity(method.name) for rows in found.recognisers},
            )

    def _measure_single_faces(self, selection: Selection) -> None:
        progress = _Progress("single faces", selection.chosen_count, self._on_message)
        found = measure_single_faces(
            self._config,
            self._storage,
            self._setup,
            selection,
            self._speed_sample,
            self._appearance,
            progress.advance,
        )
        results = self._results
        results.inputs["faces"] = _counts(selection, found.faces, found.unusable, found.failures)
        if not found.faces:
            raise ConfigError(
                f"--faces {selection.address}: no face with landmarks was detected in {selection.chosen_count:,} images; use "
                "a detector with landmarks, or other images"
            )
        if (reason := found.too_few()) is not None:
            results.skipped["frechet"] = reason
        results.originals = replace(results.originals, landmarks=found.landmarks(None), frechet=found.frechet(None))
        for name in results.methods:
            self._add(name, landmarks=found.landmarks(name), frechet=found.frechet(name))
        self._write_sheets(found.sample, "sheet-faces")

    def _measure_appearance(self) -> None:
        if (reason := self._appearance.too_few) is not None:
            self._results.skipped["probe"] = reason
        for name in self._results.methods:
            self._add(name, probe=self._appearance.probe(name), seam=self._appearance.seam(name))
            if self._appearance.blind is not None:
                self._write_blind_page(name, self._appearance.blind.faces(name))

    def _write_blind_page(self, method: str, faces: Sequence[BlindFace]) -> None:
        if not faces:
            self._results.skipped["blind"] = f"no face of {MIN_SIDE_PX} px and more was anonymized by {method}"
            return
        name = f"blind-{method}.html"
        page = render_blind_page(faces, method, self._config.seed)
        self._storage.put(join(absolute(self._config.output), name), page)
        self._results.blind_pages.append(name)

    def _measure_speed(self) -> None:
        if not self._speed_sample.faces:
            self._results.skipped["speed"] = "no face was detected in any image"
            return
        size, key = self._config.job.detect.batch_size, self._config.run_key("speed")
        for method in self._setup.methods:
            self._on_message(f"timing {method.name}")
            speed = measure_speed(method, self._speed_sample, self._setup.runtime, size, key)
            self._add(method.name, speed=speed)

    def _add(self, method: str, **measures: object) -> None:
        self._results.methods[method] = replace(self._results.methods[method], **measures)  # type: ignore[arg-type]

    def _write_sheets(self, sample: FaceSample, prefix: str) -> None:
        faces = sample.faces()
        for method in self._results.methods if faces else ():
            name = f"{prefix}-{method}.jpg"
            self._storage.put(join(absolute(self._config.output), name), draw_sheet(faces, method))
            self._results.sheets.append(name)


def _counts(selection: Selection, measured: int, unusable: int, failures: Mapping[str, int]) -> InputCounts:
    return InputCounts(
        selection.listed_count,
        selection.eligible_count,
        selection.chosen_count,
        measured,
        unusable,
        dict(sorted(failures.items())),
    )


def _measures(config: EvaluationConfig, setup: Setup, models: tuple[str, ...], results: _Results) -> Measures:
    job = config.job.model_dump(mode="json", include={"detect", "anonymize", "limits"})
    job["anonymize"]["face"].pop("method")  # because each method is evaluated in turn
    return Measures(
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        plan=Plan(
            config=job,
            scorer=None if config.scorer is None else config.scorer.model_dump(mode="json"),
            embedders=tuple(embedder.description() for embedder in setup.embedders),
            attacks=config.attacks,
            features={network.name: network.description() for network in setup.networks},
            limit=config.limit,
            seed=config.seed,
            inputs=results.inputs,
        ),
        models=models,
        versions={"anon-batch": __version__, "python": platform.python_version(), **_versions()},
        machine=Machine(platform.platform(), os.cpu_count(), setup.runtime.threads, setup.runtime.device),
        skipped=results.skipped,
        originals=results.originals,
        methods=results.methods,
        sheets=tuple(results.sheets),
        blind_pages=tuple(results.blind_pages),
    )


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # because a build may have another name
            found[package] = "unknown"
    return found


class _Progress:
    """Report progress after every tenth."""

    def __init__(self, what: str, total: int, on_message: OnMessage) -> None:
        self._what, self._total, self._on_message = what, total, on_message
        self._done, self._reported = 0, 0
        on_message(f"{total:,} {what}")

    def advance(self, count: int) -> None:
        self._done += count
        tenth = 10 * self._done // max(self._total, 1)
        if tenth > self._reported:
            self._reported = tenth
            self._on_message(f"{self._done:,} of {self._total:,} {self._what}")
