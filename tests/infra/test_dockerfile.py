"""The Dockerfile: what a linter says, and that it brings what the shipped jobs need."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from linters import hadolint

from anon_batch import __version__
from anon_batch.anonymize.checks.residual import DEFAULT_DETECTORS
from anon_batch.config import JobConfig, load_job
from anon_batch.models.registry import MODELS
from anon_batch.models.store import CACHE_VARIABLE
from tools.lock import LOCKS, PYTHON_VERSION, read_lock

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "infra/Dockerfile"


@pytest.fixture(scope="module")
def text() -> str:
    return DOCKERFILE.read_text(encoding="utf-8")


def test_hadolint_finds_nothing() -> None:
    assert hadolint(DOCKERFILE) == ""


def test_the_base_is_one_image_of_a_named_release(text: str) -> None:
    [base] = re.findall(r"^ARG BASE=(.+)$", text, re.MULTILINE)
    assert re.fullmatch(rf"python:{re.escape(PYTHON_VERSION)}\.\d+-slim-bookworm@sha256:[0-9a-f]{{64}}", base)
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["scratch", "scratch", "${BASE}"]


def test_it_runs_as_a_user_that_kubernetes_can_tell_from_root(text: str) -> None:
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == ["1000:1000"]
    assert "HOME=/home/ray" in text, "`ray up` reads HOME of the image, and takes /root where there is none"


def test_its_labels_are_those_of_this_version(text: str) -> None:
    assert f"ARG VERSION={__version__}\n" in text
    labels = set(re.findall(r"org\.opencontainers\.image\.(\w+)=", text))
    assert labels == {"title", "description", "source", "licenses", "version", "revision"}


def needed_models(job: JobConfig) -> set[str]:
    """Return the registry's models that a job loads and no package carries."""
    names = {detector.name for detector in job.detect.detectors}
    if (options := job.checks.get("residual")) is not None:
        default = [name for name in DEFAULT_DETECTORS if name not in names][:1]
        names |= {getattr(detector, "name", detector) for detector in options.get("detectors") or default}
    return {name for name in names if name in MODELS and MODELS[name].package is None}


def test_the_weights_of_every_shipped_job_are_inside(text: str) -> None:
    [default] = re.findall(r'^ARG MODELS="([^"]*)"$', text, re.MULTILINE)
    needed = {name for path in sorted((ROOT / "jobs").glob("*.yaml")) for name in needed_models(load_job(path, {}))}
    assert needed | {DEFAULT_DETECTORS[0]} == set(default.split())
    assert f"ENV {CACHE_VARIABLE}=" in text


@pytest.mark.parametrize("kind", sorted(LOCKS))
def test_the_head_of_ray_up_can_start_workers(kind: str) -> None:
    """Ray's autoscaler imports these inside the image; without them it would install them at each start."""
    assert {"boto3", "google-api-python-client", "gcsfs"} <= {package.name for package in read_lock(LOCKS[kind])}
