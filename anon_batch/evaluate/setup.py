"""What an evaluation is asked to do, and the detectors, recogniser and methods that it does it with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from anon_batch.anonymize.ladder import Ladder
from anon_batch.anonymize.registry import load_method
from anon_batch.config import AnonymizeConfig, DetectorConfig, JobConfig
from anon_batch.detect.ensemble import Ensemble, build_detector
from anon_batch.errors import ConfigError
from anon_batch.evaluate.embedder import Embedder, EmbedderSettings, load_embedder
from anon_batch.evaluate.subjects import Method
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.storage import Storage

_NO_SCORER = "manifest"  # its boxes are the ground truth itself


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """What is to be measured.

    Args:
        job: configuration of detection and methods; its `manifest` and `output` do not count here.
        methods: names of the methods to compare.
        output: address of the folder for the results.
        manifest: address of the pictures; None for none.
        scorer: the second detector; None leaves out what needs one.
        embedder: the recogniser; None leaves out what needs one.
        pairs: address of the CSV of pairs.
        faces: address of the folder or manifest of single faces.
        only: address of the text file that names the ones of `faces` that count.
        limit: pictures of the manifest, persons, and single faces at most.
        seed: of samples and fakes.
    """

    job: JobConfig
    methods: tuple[str, ...]
    output: str
    manifest: str | None = None
    scorer: DetectorConfig | None = None
    embedder: EmbedderSettings | None = None
    pairs: str | None = None
    faces: str | None = None
    only: str | None = None
    limit: int | None = None
    seed: int = 0

    @property
    def threads(self) -> int:
        """CPU threads of networks, as a worker's."""
        return max(1, int(self.job.engine.num_cpus))

    @property
    def device(self) -> str:
        """Where networks run, as a worker's."""
        return "cuda" if self.job.engine.num_gpus > 0 else "cpu"

    def run_key(self, purpose: str) -> bytes:
        """A key of its own for each purpose. No secret: the seed is known."""
        return hashlib.sha256(f"anon-batch evaluation, seed {self.seed}, {purpose}".encode()).digest()


@dataclass(frozen=True, slots=True, eq=False)
class Instruments:
    """Loaded and checked.

    Args:
        detector: the first detector: what it finds is treated.
        scorer: the second detector.
        embedder: the recogniser.
        methods: to compare.
        models: `name@sha256` of every model of the registry that is used.
    """

    detector: Ensemble
    scorer: Ensemble | None
    embedder: Embedder | None
    methods: tuple[Method, ...]
    models: tuple[str, ...]


def open_instruments(plan: EvaluationPlan, storage: Storage) -> Instruments:
    """Loads everything, so that what is wrong is told before the first picture.

    Raises:
        ConfigError: no method, or a scorer that is no second detector.
        UnknownNameError: no such method or detector.
        ModelError: weights that are missing, not the pinned ones, or no recogniser.
        StorageError: the recogniser's file cannot be read.
    """
    if not plan.methods:
        raise ConfigError("--methods: names none; e.g. --methods pixelate,blur,solid")
    if plan.scorer is not None:
        _check_scorer(plan.scorer, plan.job)
    store = ModelStore(storage, plan.job.models)
    runtime = Runtime(store, plan.threads, plan.device)
    detector = build_detector(plan.job.detect, runtime)
    scorer = None
    if plan.scorer is not None:
        alone = plan.job.detect.model_copy(
            update={"detectors": (plan.scorer,), "min_side_px": 0.0, "refine_small": False}
        )
        scorer = build_detector(alone, runtime)
    methods = tuple(_load(name, plan, store) for name in dict.fromkeys(plan.methods))
    embedder = None if plan.embedder is None else load_embedder(storage, plan.embedder, plan.threads)
    used = [*detector.models, *(scorer.models if scorer else ())]
    used += [name for method in methods for name in method.ladder.model_names]
    models = tuple(f"{name}@{store.digest(name)}" for name in dict.fromkeys(used))
    return Instruments(detector, scorer, embedder, methods, models)


def _check_scorer(scorer: DetectorConfig, job: JobConfig) -> None:
    first = [detector.name for detector in job.detect.detectors]
    if scorer.name in first:
        raise ConfigError(
            f"--scorer {scorer.name}: it is one of detect.detectors ({', '.join(first)}), which choose what is treated; a "
            "detector cannot judge its own work: name another one, or `none`"
        )
    if scorer.name == _NO_SCORER:
        raise ConfigError(f"--scorer {_NO_SCORER}: these boxes are the ground truth itself; name a detector, or `none`")


def _load(name: str, plan: EvaluationPlan, store: ModelStore) -> Method:
    config: AnonymizeConfig = plan.job.anonymize.model_copy(update={"method": name})
    steps = [load_method(step, config, store, plan.threads, plan.device) for step in config.ladder]
    return Method(name, steps[0], Ladder(steps), config)
