"""Variants of methods by name: `swap`, `gan`, `swap@expansion=1.3`, `swap@donor_by=subject,soft_edge=0`."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from anon_batch.anonymizer import Anonymizer
from anon_batch.config import JobConfig, ModelsConfig, load_job, parse_override
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.storage import Storage


def job_of(variant: str) -> JobConfig:
    """Return the job of a variant: its method for faces, and after `@` settings of faces or options of the method.

    Raises:
        ConfigError: a setting is wrong.
    """
    method, _, settings = variant.partition("@")
    keys: dict[str, Any] = {"manifest": "none", "output": "none", "anonymize.face.method": method}
    known = set(type(load_job(None, {**keys}).anonymize.face).model_fields)
    for key, value in (parse_override(text) for text in settings.split(",") if text):
        keys[f"anonymize.face.{key}" if key in known else f"anonymize.options.{method}.{key}"] = value
    return load_job(None, keys)


def runtime() -> Runtime:
    """Return one thread on the CPU, with the weights of this package and of the folder in ANON_BATCH_TEST_MODELS."""
    mirror = os.environ.get("ANON_BATCH_TEST_MODELS")
    return Runtime(ModelStore(Storage(), ModelsConfig(mirror=mirror) if mirror else ModelsConfig()))


def load(variant: str) -> Anonymizer:
    """Return the anonymizer of a variant, as a job makes it."""
    return Anonymizer.from_config(job_of(variant).image, runtime(), run_key("release"))


def run_key(purpose: str, seed: int = 0) -> bytes:
    """Return the key that `anon-batch evaluate` uses for a purpose and seed."""
    return hashlib.sha256(f"anon-batch evaluation, seed {seed}, {purpose}".encode()).digest()
