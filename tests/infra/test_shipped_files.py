"""The files of jobs/ and infra/ are valid and agree with each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from anon_batch import plugins
from anon_batch.anonymize.policy import Policy
from anon_batch.config import load_job
from tools.lock import LOCKS, read_lock

ROOT = Path(__file__).parents[2]
JOBS = sorted((ROOT / "jobs").glob("*.yaml"))


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_job_files_are_valid(path: Path) -> None:
    job = load_job(path, {})
    assert set(Policy.from_config(job.anonymize).methods) <= set(plugins.names("methods"))
    assert {detector.name for detector in job.detect.detectors} <= set(plugins.names("detectors"))


def test_ray_versions_agree() -> None:
    rayjob = (ROOT / "infra/rayjob.yaml").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    [requirement] = [r for r in map(Requirement, project["project"]["dependencies"]) if r.name == "ray"]
    [locked] = [package.version for package in read_lock(LOCKS["cuda"]) if package.name == "ray"]
    assert locked in requirement.specifier
    assert re.findall(r"rayVersion: \"?([\d.]+)", rayjob) == [locked]
