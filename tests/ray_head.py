"""A Ray head with job server and token, as processes of their own on this machine."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from releases import environment
from servers import free_ports, wait_for

_PORTS = (
    "port",
    "dashboard-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
    "node-manager-port",
    "object-manager-port",
    "ray-client-server-port",
)
_START_S = 90.0


@dataclass(frozen=True)
class RayHead:
    """A running head.

    Args:
        address: of the job server.
        token: that all clients need.
    """

    address: str
    token: str = field(repr=False)

    @property
    def env(self) -> dict[str, str]:
        """The variables by which a client shows the token."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}

    def answers(self) -> bool:
        """Whether the job server is there."""
        headers = {"Authorization": f"Bearer {self.token}"}
        try:
            with urllib.request.urlopen(
                urllib.request.Request(f"{self.address}/api/version", headers=headers), timeout=2
            ):
                return True
        except (OSError, urllib.error.HTTPError):
            return False


@contextlib.contextmanager
def ray_head(num_cpus: int) -> Iterator[RayHead]:
    """Run a head with a job server until the block ends; all its processes end with it.

    The program `anon-batch` of its jobs runs this package with the tests' plug-ins.
    """
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # not tmp_path: the paths of its sockets must stay short
    ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
    head = RayHead(f"http://127.0.0.1:{ports['dashboard-port']}", secrets.token_hex(16))
    (program := folder / "bin/anon-batch").parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m anon_batch "$@"\n')
    program.chmod(0o755)
    path = os.pathsep.join([str(program.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    python_path = os.pathsep.join([str(Path(__file__).parents[1]), environment()["PYTHONPATH"]])
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [
                *(
                    sys.executable,
                    "-m",
                    "ray.scripts.scripts",
                    "start",
                    "--head",
                    "--block",
                    "--include-dashboard=true",
                ),
                *("--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", f"--temp-dir={folder}/ray"),
                *(f"--num-cpus={num_cpus}", "--object-store-memory=100000000", "--disable-usage-stats"),
                *(f"--{name}={port}" for name, port in ports.items()),
            ],
            env={**environment(head.env), "PATH": path, "PYTHONPATH": python_path},
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
        try:

            def ready() -> bool:
                log.seek(0)
                assert process.poll() is None, f"Ray did not start: {log.read().decode(errors='replace')[-3000:]}"
                return head.answers()

            wait_for(ready, "Ray's job server", _START_S)
            yield head
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(15)
            shutil.rmtree(folder, ignore_errors=True)
