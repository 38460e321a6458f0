"""A Ray cluster of several nodes for tests: each node a machine of its own where the system allows it, else on loopback."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import namespaces
import requests
from machines import Machine
from misbehaving_plugin import HOLD
from relay import End, Relay
from releases import command, environment
from servers import S3Server, free_ports, wait_for

RAY = str(Path(sys.executable).with_name("ray"))
_NODE = ("--block", "--disable-usage-stats", "--num-cpus=1", "--object-store-memory=80000000")
_LOSS_IS_NOTICED_S = {  # within about 3 s, because a test waits for it
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}


@dataclass
class Nodes:
    """A cluster, and how to reach it from this process.

    Args:
        machines: the head first.
        folder: of sessions and logs of all nodes.
        env: variables of nodes and drivers: token and store.
        address: of the cluster, for drivers on its machines.
        api: leads from this process to the job API.
        store: leads from the machines to the store.
    """

    machines: list[Machine]
    folder: Path
    env: dict[str, str]
    address: str
    api: Relay
    store: Relay

    @property
    def head(self) -> Machine:
        return self.machines[0]

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let workers wait in slow images for the duration of the block."""
        hold = Path(self.env[HOLD])
        hold.touch()
        try:
            yield
        finally:
            hold.unlink()

    def start(self, machine: Machine) -> None:
        """Start a node; the head first."""
        where = [f"--address={self.address}"]
        if machine is self.head:
            host, port = self.api.connects[:2]
            where = [
                "--head",
                f"--port={self.address.split(':')[1]}",
                f"--dashboard-host={host}",
                f"--dashboard-port={port}",
            ]
        start = [
            RAY,
            "start",
            *_NODE,
            f"--node-ip-address={machine.address}",
            f"--temp-dir={self.folder}/{machine.name}",
        ]
        if machine.namespace is not None:  # all its processes end with the first, as those of a machine do
            start = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *start]
        with self._log(machine).open("ab") as log:
            machine.process = subprocess.Popen(
                machine.inside([*start, *where]),
                env=environment({**self.env, **_LOSS_IS_NOTICED_S}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if machine is self.head:
            wait_for(self._answers, f"the job API, see {self._log(machine)}", 240)

    def start_all(self) -> None:
        """Start the nodes that do not run, and wait until all have joined."""
        for machine in self.machines:
            if machine.process is None or machine.process.poll() is not None:
                self.start(machine)
        wanted = {machine.address for machine in self.machines}
        wait_for(lambda: wanted <= set(self.alive()), f"{wanted} to join, see {self.folder}", 240)

    def alive(self) -> dict[str, str]:
        """Return address and id of the nodes that the cluster counts on."""
        nodes = self.call("get", "/api/v0/nodes")["data"]["result"]["result"]
        return {node["node_ip"]: node["node_id"] for node in nodes if node["state"] == "ALIVE"}

    def drain(self, machine: Machine, seconds: int) -> None:
        """Announce that a machine goes away in some seconds, as an autoscaler does for a spot machine."""
        node = f"--node-id={self.alive()[machine.address]}"
        reason = [
            "--reason=DRAIN_NODE_REASON_PREEMPTION",
            "--reason-message=spot",
            f"--deadline-remaining-seconds={seconds}",
        ]
        done = self.on_head([RAY, "drain-node", f"--address={self.address}", node, *reason])
        assert done.returncode == 0, done.stderr + done.stdout

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the answer of Ray's HTTP server."""
        headers = {"Authorization": f"Bearer {self.env['RAY_AUTH_TOKEN']}"} if "RAY_AUTH_TOKEN" in self.env else {}
        answer = requests.request(method, f"{self.api.url}{path}", json=body, headers=headers, timeout=20)
        answer.raise_for_status()
        return answer.json()

    def on_head(self, arguments: list[str], timeout_s: float = 200) -> subprocess.CompletedProcess[str]:
        """Run a command on the head's machine."""
        inside = self.head.inside(arguments)
        return subprocess.run(
            inside, env=environment(self.env), capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def driver(self, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a command line on the head's machine, outside the cluster's processes."""
        inside = self.head.inside(command(*arguments))
        with log.open("ab") as file:
            return subprocess.Popen(
                inside,
                env=environment(self.env),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def _answers(self) -> bool:
        assert self.head.process is not None
        assert self.head.process.poll() is None, self._log(self.head).read_text()
        with contextlib.suppress(requests.RequestException):
            return isinstance(self.call("get", "/api/jobs/"), list)
        return False

    def _log(self, machine: Machine) -> Path:
        return self.folder / f"{machine.name}.log"


@contextlib.contextmanager
def ray_nodes(store: S3Server, *, token: str | None, isolated: bool) -> Iterator[Nodes]:
    """Run a cluster of a head and two more nodes with a CPU each.

    Args:
        store: that the nodes reach.
        token: of the cluster; None for one without.
        isolated: give each node a network and processes of its own; else all are on loopback.
    """
    names, folder = ("head", "one", "two"), Path(tempfile.mkdtemp(prefix="rn", dir="/tmp"))  # short: it holds sockets
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        if isolated:
            made = stack.enter_context(namespaces.bridged(names))
            machines = [Machine(name, made[name][1], made[name][0]) for name in names]
            bridge, port, api_port = End(made["bridge"][1], 0, made["bridge"][0]), 6379, 8265
        else:
            machines = [Machine(name, f"127.0.0.{number}") for number, name in enumerate(names, 2)]
            bridge, (port, api_port) = End("127.0.0.1", 0), free_ports(2)
        head, server = machines[0], requests.utils.urlparse(store.endpoint_url)
        to_store = stack.enter_context(Relay(bridge, End(server.hostname, server.port)))
        to_api = stack.enter_context(Relay(End("127.0.0.1", 0), End(head.address, api_port, head.namespace)))
        program = folder / "bin" / "anon-batch"  # what a job's driver is started by
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {shlex.join(command())} "$@"\n')
        program.chmod(0o755)
        env = {
            **store.env,
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "AWS_ENDPOINT_URL": to_store.url,
            "AWS_EC2_METADATA_DISABLED": "true",
            "HOME": "/proc/nobody",
            HOLD: str(folder / "hold"),
        }
        env |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {"RAY_AUTH_MODE": "disabled"}
        nodes = Nodes(machines, folder, env, f"{head.address}:{port}", to_api, to_store)
        for machine in machines:
            stack.callback(machine.kill)
        nodes.start_all()
        yield nodes
