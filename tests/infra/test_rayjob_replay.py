"""What KubeRay does with infra/rayjob.yaml: nodes with its `ray start` options and a token, and the submitter's steps."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from kubernetes_files import of_kind
from releases import environment, make_images, make_manifest, wait_until
from servers import free_ports

from anon_batch.formats.ledger import Ledger
from anon_batch.formats.release import Release
from anon_batch.storage import Storage

pytestmark = pytest.mark.full

BIN = Path(sys.executable).parent
TOKEN = "0123456789abcdef" * 4


@dataclass(frozen=True)
class Started:
    """A head and a worker.

    Args:
        api: address of the dashboard.
        folder: of Ray's sessions and logs.
        env: variables of the pods.
    """

    api: str
    folder: Path
    env: dict[str, str]

    def job(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(BIN / "ray"), "job", arguments[0], "--address", self.api, *arguments[1:]]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture
def started() -> Iterator[Started]:
    cluster = of_kind("RayJob")["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    env = environment(
        {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    )
    gcs, dashboard, client, *agents = free_ports(5)
    head = {
        **cluster["headGroupSpec"]["rayStartParams"],
        "dashboard-host": "127.0.0.1",  # not from outside this machine
        "port": gcs,
        "dashboard-port": dashboard,
        "ray-client-server-port": client,
    }
    worker = {**cluster["workerGroupSpecs"][0]["rayStartParams"], "address": f"127.0.0.1:{gcs}", "num-cpus": 2}
    folder = Path(tempfile.mkdtemp(prefix="rj-"))  # not tmp_path: the paths of its sockets must stay short
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        for name, options, agent in (("head", {"head": None, **head}, agents[0]), ("worker", worker, agents[1])):
            given = {**options, "node-ip-address": "127.0.0.1", "dashboard-agent-listen-port": agent}
            if name == "head":
                given["temp-dir"] = folder / "ray"
            stack.enter_context(_node(folder / f"{name}.log", given, env))
            if name == "head":
                wait_until(lambda: _alive(f"http://127.0.0.1:{dashboard}") == 1, "the head", 400)
        wait_until(lambda: _alive(f"http://127.0.0.1:{dashboard}") == 2, "the worker", 400)
        yield Started(f"http://127.0.0.1:{dashboard}", folder, env)


@contextlib.contextmanager
def _node(log: Path, options: dict[str, Any], env: dict[str, str]) -> Iterator[None]:
    flags = [f"--{name}" if value is None else f"--{name}={value}" for name, value in options.items()]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [str(BIN / "ray"), "start", "--block", "--disable-usage-stats", *flags],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


def _alive(api: str) -> int:
    with contextlib.suppress(requests.RequestException, KeyError, ValueError):
        answer = requests.get(f"{api}/api/v0/nodes", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10).json()
        return sum(node["state"] == "ALIVE" for node in answer["data"]["result"]["result"])
    return 0


def test_a_run_that_exceeds_a_gate_is_a_success_and_starts_no_second_cluster(started: Started, tmp_path: Path) -> None:
    make_images(tmp_path / "images", 6)
    (tmp_path / "images/class0/0002.png").write_bytes(b"not an image")
    make_manifest(tmp_path / "images", str(tmp_path / "m.parquet"))
    output, ledger = str(tmp_path / "release"), str(tmp_path / "ledger")
    job = yaml.safe_load(of_kind("ConfigMap")["data"]["job.yaml"])
    job |= {"manifest": str(tmp_path / "m.parquet"), "output": output, "ledger": ledger, "gates": {"failed": 0}}
    job |= {"engine": {"workers": 2, "num_cpus": 1}, "detect": {"detectors": ["manifest"]}}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    entrypoint = of_kind("RayJob")["spec"]["entrypoint"].replace("/jobs/job.yaml", str(tmp_path / "job.yaml"))

    submission = "anon-batch-abcde"
    assert started.job("status", submission).returncode != 0  # the submitter asks first, because it may start again
    sent = started.job("submit", "--submission-id", submission, "--no-wait", "--", *shlex.split(entrypoint))
    assert sent.returncode == 0, sent.stdout + sent.stderr
    log = started.job("logs", "--follow", submission)
    assert "EXCEEDED failed" in log.stdout + log.stderr, log.stdout + log.stderr
    status = started.job("status", submission)
    assert "succeeded" in status.stdout + status.stderr

    storage = Storage()
    gates = Release(storage, output).read_gates()
    assert gates is not None
    assert not gates.passed
    assert Ledger(storage, ledger).last_driver_log() is not None, "the pods' logs go with the cluster"
    assert requests.get(f"{started.api}/api/jobs/", timeout=10).status_code == 401
    files = [path for path in started.folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert [path for path in files if TOKEN.encode() in path.read_bytes()] == []
