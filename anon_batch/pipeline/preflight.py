"""Find errors of a job before its first image is processed."""

from __future__ import annotations

import dataclasses

from anon_batch.anonymizer import Anonymizer
from anon_batch.config import JobConfig
from anon_batch.models.runtime import Runtime
from anon_batch.storage import Storage


def preflight(config: JobConfig) -> tuple[str, ...]:
    """Load detectors, methods and checks once, on the CPU, to check all names, options and weights.

    Returns:
        `name@sha256` of every model that the job uses.

    Raises:
        UnknownNameError: a detector, method or check does not exist.
        ModelError: weights are missing, or their digest is wrong.
        ConfigError: an option is wrong, or a backend is not installed.
    """
    runtime = dataclasses.replace(Runtime.for_job(config, Storage(config.storage)), threads=1, device="cpu")
    image = config.image
    if config.engine.num_gpus > 0 and image.detect.backend == "auto":
        # Because the device decides which file of a model is used, choose the backend that workers with a GPU choose.
        image = image.model_copy(update={"detect": image.detect.model_copy(update={"backend": "torch"})})
    models = Anonymizer.from_config(image, runtime, key=bytes(32)).models  # any key, because nothing is anonymized
    return tuple(f"{name}@{runtime.store.digest(name)}" for name in models)
