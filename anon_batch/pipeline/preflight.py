"""Find errors of a job before its first image is processed."""

from __future__ import annotations

from anon_batch.anonymize.checks import load_checks
from anon_batch.anonymize.ladder import build_ladder
from anon_batch.config import JobConfig
from anon_batch.detect.ensemble import build_detector
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.storage import Storage


def preflight(config: JobConfig) -> tuple[str, ...]:
    """Load detectors and methods once, on the CPU, to check all names and weights.

    Returns:
        `name@sha256` of every model that the job uses.

    Raises:
        UnknownNameError: a detector or method does not exist.
        ModelError: weights are missing, or their digest is wrong.
        ConfigError: a backend is not installed.
    """
    store = ModelStore(Storage(config.storage), config.models)
    detect = config.detect
    if (
        config.engine.num_gpus > 0 and detect.backend == "auto"
    ):  # as workers choose, because it decides which file is used
        detect = detect.model_copy(update={"backend": "torch"})
    runtime = Runtime(store)
    detector = build_detector(detect, runtime)
    ladder = build_ladder(config.anonymize, runtime, load_checks(config.checks, runtime).of_regions)
    names = dict.fromkeys([*detector.models, *ladder.models])
    return tuple(f"{name}@{store.digest(name)}" for name in names)
