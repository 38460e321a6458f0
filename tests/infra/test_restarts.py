"""What each scheduler does with each exit code of a run: a finished one is never started again."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from anon_batch.errors import ExitCode

INFRA = Path(__file__).parents[2] / "infra"
FINISHED = {ExitCode.FINISHED, ExitCode.GATE_EXCEEDED}
# A scheduler that knows success and failure alone starts again on every code but 0.
FAILURES = set(ExitCode) - FINISHED


def of_ray_job(text: str, command: str) -> set[ExitCode]:
    """A driver of Ray's job API that fails is one that Ray, KubeRay or a user starts again."""
    return FAILURES if command.endswith("--finished-exit-zero") else FAILURES | {ExitCode.GATE_EXCEEDED}


def of_rayjob(text: str) -> set[ExitCode]:
    [spec] = [document["spec"] for document in yaml.safe_load_all(text) if document and document["kind"] == "RayJob"]
    return of_ray_job(text, spec["entrypoint"])


def of_skypilot(text: str) -> set[ExitCode]:
    recovery = yaml.safe_load(text)["resources"]["job_recovery"]
    assert recovery["max_restarts_on_errors"] == 0
    return {ExitCode(code) for code in recovery["recover_on_exit_codes"]}


def of_slurm(text: str) -> set[ExitCode]:
    assert text.count("scontrol requeue") == 1
    [code] = re.findall(r'^if \[ "\$code" -eq (\d+) \]', text, re.MULTILINE)
    assert text.rstrip().endswith('exit "$code"')
    return {ExitCode(int(code))}


def of_cluster(text: str) -> set[ExitCode]:
    """A cluster of `ray up` runs what `anon-batch submit` sends; nothing starts that again."""
    assert "anon-batch submit" in text
    assert "anon-batch run" not in text
    return set()


READERS: dict[str, Callable[[str], set[ExitCode]]] = {
    "rayjob.yaml": of_rayjob,
    "skypilot.yaml": of_skypilot,
    "skypilot-nodes.yaml": of_skypilot,
    "slurm.sbatch": of_slurm,
    "ray-cluster-aws.yaml": of_cluster,
    "ray-cluster-gcp.yaml": of_cluster,
}


@pytest.mark.parametrize("name", READERS)
def test_a_finished_run_is_never_started_again(name: str) -> None:
    again = READERS[name]((INFRA / name).read_text(encoding="utf-8"))
    assert again & FINISHED == set()
    if name.startswith(("skypilot", "slurm")):
        assert again == {ExitCode.TRY_AGAIN}


def test_every_file_that_runs_something_is_in_the_table() -> None:
    running = {
        path.name
        for path in INFRA.iterdir()
        if path.suffix in {".yaml", ".sbatch"}
        and re.search(r"anon-batch (run|submit)", path.read_text(encoding="utf-8"))
    }
    assert running == set(READERS)
