"""The tasks of SkyPilot, read by SkyPilot itself where there is one, and run with a stand-in for Docker.

SkyPilot is not among the requirements of the tests, because it brings 460 MB: make an environment with `pip install skypilot` and
let ANON_BATCH_TEST_SKYPILOT name its Python.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from external_data import NO_TOOL
from linters import shellcheck

ROOT = Path(__file__).parents[2]
FILES = ("skypilot.yaml", "skypilot-nodes.yaml")
SKYPILOT_VARIABLE = "ANON_BATCH_TEST_SKYPILOT"
Task = dict[str, Any]
# Notes its arguments, says in the mounted folder how the run ended, unless it did not begin, and ends likewise.
_DOCKER = """\
#!/bin/sh
printf '%s\\n' "$@" >> "$RECORD"
[ -z "$BEGINS" ] || [ ! -d ~/state ] || echo "$CODE" > ~/state/code
exit "$CODE"
"""
# Takes the secret from the environment's place, as `--secret NAME` does.
_PARSE = """\
import json, sys, sky, yaml
config = yaml.safe_load(open(sys.argv[1]))
secrets = [(name, "x") for name in config.get("secrets") or {}]
task = sky.Task.from_yaml_config(config, list(json.loads(sys.argv[2]).items()), secrets_overrides=secrets)
[resources] = task.resources
print(json.dumps([task.num_nodes, resources.use_spot, resources.job_recovery]))
"""


@pytest.fixture(params=FILES)
def task(request: pytest.FixtureRequest) -> Task:
    return dict(yaml.safe_load((ROOT / "infra" / request.param).read_text(encoding="utf-8")))


def parsed(task: Task, tmp_path: Path, given: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Let SkyPilot read a task, with variables as from its command line."""
    python = os.environ.get(SKYPILOT_VARIABLE)
    if python is None:
        pytest.skip(f"{NO_TOOL}{SKYPILOT_VARIABLE} names no Python with skypilot, which needs 460 MB")
    file = tmp_path / "task.yaml"
    file.write_text(yaml.safe_dump(task), encoding="utf-8")
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"HOME": str(tmp_path)}
    command = [python, "-c", _PARSE, str(file), json.dumps(given)]
    return subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


GIVEN = {"IMAGE": "registry.example/anon-batch:0.1.0", "JOB": "jobs/minimal.yaml"}


def test_skypilot_itself_accepts_them(task: Task, tmp_path: Path) -> None:
    done = parsed(task, tmp_path, GIVEN)
    assert done.returncode == 0, done.stderr
    nodes, spot, recovery = json.loads(done.stdout.splitlines()[-1])
    assert (nodes, spot) == (task.get("num_nodes", 1), True)
    assert recovery["recover_on_exit_codes"] == [75]
    assert recovery["max_restarts_on_errors"] == 0
    task["resources"]["use_spots"] = True
    assert parsed(task, tmp_path, GIVEN).returncode != 0, "SkyPilot does not look at what it is given"


def test_skypilot_refuses_a_task_without_image(task: Task, tmp_path: Path) -> None:
    done = parsed(task, tmp_path, {"JOB": "jobs/minimal.yaml"})
    assert done.returncode != 0
    assert "IMAGE" in done.stderr


def test_spot_machines_and_no_restart_but_for_75(task: Task) -> None:
    resources = task["resources"]
    assert resources["use_spot"] is True
    assert resources["job_recovery"] == {"recover_on_exit_codes": [75], "max_restarts_on_errors": 0}
    assert "--finished-exit-zero" not in task["run"], "SkyPilot knows exit codes"


def test_what_must_be_given_is_null(task: Task) -> None:
    assert task["envs"] == {"IMAGE": None, "JOB": None}
    assert set((task.get("secrets") or {}).values()) <= {None}


def test_skypilots_own_ray_is_left_alone(task: Task) -> None:
    assert not {"6380", "8266", "52365"} & set(task["run"].replace(":", " ").replace('"', " ").split())
    assert "ray stop" not in task["run"]


def test_the_script_passes_shellcheck(task: Task) -> None:
    assert shellcheck(task["run"], exclude="SC2154,SC2312,SC2016") == ""


@pytest.mark.parametrize("code", [0, 10, 75, 130])
def test_a_task_ends_with_the_code_of_the_run(task: Task, tmp_path: Path, code: int) -> None:
    done = run(task, tmp_path, CODE=str(code))
    assert done.returncode == code, done.stderr
    arguments = (tmp_path / "record").read_text(encoding="utf-8").splitlines()
    assert arguments[0] == "run"
    assert f"{tmp_path}/job:/job:ro" in arguments
    program = arguments[arguments.index("registry.example/anon-batch:0.1.0") + 1 :]
    if "num_nodes" in task:
        assert program[:6] == ["ray", "symmetric-run", "--address", "10.0.0.1:6379", "--min-nodes", "2"]
        program = program[program.index("--") + 1 :]
        assert program[:2] == ["sh", "-c"]
        assert "anon-batch run /job/job.yaml" in program[2]
        assert program[-1] == "10.0.0.1:6379"
        assert "RAY_AUTH_TOKEN" in arguments
    else:
        assert program[:3] == ["anon-batch", "run", "/job/job.yaml"]
    assert not any("not-to-be-shown" in argument for argument in arguments), (
        "the token would be in the list of processes"
    )


def test_a_ray_that_does_not_start_is_a_failure(tmp_path: Path) -> None:
    """`ray symmetric-run` ends with 0 then; only the first machine knows of the run."""
    task = yaml.safe_load((ROOT / "infra/skypilot-nodes.yaml").read_text(encoding="utf-8"))
    assert run(task, tmp_path, BEGINS="").returncode == 1
    assert run(task, tmp_path, BEGINS="", SKYPILOT_NODE_RANK="1").returncode == 0


def run(task: Task, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run what a task runs on a machine, with a stand-in for Docker."""
    docker = folder / "docker"
    docker.write_text(_DOCKER, encoding="utf-8")
    docker.chmod(0o755)
    environment = {
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "RECORD": str(folder / "record"),
        "CODE": "0",
        "BEGINS": "yes",
        "IMAGE": "registry.example/anon-batch:0.1.0",
        "RAY_AUTH_TOKEN": "not-to-be-shown",
        "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2",
        "SKYPILOT_NODE_RANK": "0",
        "SKYPILOT_NUM_NODES": "2",
    }
    command = ["bash", "-c", task["run"]]
    return subprocess.run(command, env=environment | variables, capture_output=True, text=True, check=False)
