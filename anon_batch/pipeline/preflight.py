"""Find errors of a job before its first image is processed."""

from __future__ import annotations

import dataclasses

from anon_batch import plugins
from anon_batch.anonymize.policy import Policy
from anon_batch.anonymizer import Anonymizer
from anon_batch.config import ImageConfig, JobConfig
from anon_batch.errors import ConfigError
from anon_batch.models.runtime import Runtime
from anon_batch.storage import Storage


def check_names(config: ImageConfig) -> None:
    """Check the names and options of detectors, methods and checks without loading their models.

    Raises:
        UnknownNameError: a detector, method or check does not exist.
        ConfigError: an option is wrong.
    """
    for detector in config.detect.detectors:
        plugins.check_options("detectors", detector.name, detector.options)
    options = config.anonymize.options
    for name in dict.fromkeys((*options, *Policy.from_config(config.anonymize).methods)):
        plugins.check_options("methods", name, options.get(name, {}))
    for name, own in config.checks.items():
        plugins.check_options("checks", name, own)


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
    anonymizer = Anonymizer.from_config(image, runtime, key=bytes(32))  # any key, because nothing is anonymized
    if config.identity.scope != "none" and not anonymizer.ladder.keeps_faces:
        raise ConfigError(
            f"identity.scope is {config.identity.scope}, and `{config.anonymize.face.method}` gives no person a face of its own "
            "in several images: use `gan` or `swap` with `donor_by: subject`"
        )
    return tuple(runtime.store.identify(name) for name in anonymizer.models)
