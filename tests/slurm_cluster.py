"""A Slurm cluster of two nodes on this machine, each in namespaces of its own: network, processes, mounts and host name."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from external_data import NO_TOOL
from servers import wait_for

_PROGRAMS = {
    "slurmctld": "slurm-wlm",
    "slurmd": "slurm-wlm",
    "munged": "munge",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
}
_CONFIG = """\
ClusterName=test
SlurmctldHost=controller(10.77.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/controller.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
KillWait=15
NodeName=n1 NodeAddr=10.77.0.11 NodeHostname=n1 CPUs=2
NodeName=n2 NodeAddr=10.77.0.12 NodeHostname=n2 CPUs=2
PartitionName=main Nodes=ALL Default=YES State=UP MaxTime=INFINITE
"""
_HOSTS = "127.0.0.1 localhost\n10.77.0.1 controller\n10.77.0.11 n1\n10.77.0.12 n2\n"
# The first process of a namespace adopts orphans, so that it has to wait for them.
_NODE = """\
until ip link show eth0 >/dev/null 2>&1; do sleep 0.1; done
hostname {name} && mount -t tmpfs tmpfs {folder}/local && mount --bind {folder}/hosts /etc/hosts || exit 1
slurmd -D -N {name} &
while :; do wait; sleep 1; done
"""


@dataclass
class Slurm:
    """A running cluster.

    Args:
        folder: what its nodes share.
        namespace: process in the controller's network.
    """

    folder: Path
    namespace: int
    environment: dict[str, str] = field(repr=False)

    def command(self, *arguments: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
        """Run one of Slurm's commands and return what it prints."""
        command = ["nsenter", "--net", f"--target={self.namespace}", *arguments]
        environment = self.environment | (env or {})
        done = subprocess.run(
            command, env=environment, cwd=cwd, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def submit(self, script: Path, *arguments: str, cwd: Path, env: dict[str, str] | None = None) -> int:
        """Submit a script and return the job's number. Options of sbatch go before `--`."""
        split = arguments.index("--") if "--" in arguments else 0
        options, rest = arguments[:split], [part for part in arguments[split:] if part != "--"]
        text = self.command("sbatch", "--parsable", *options, str(script), *rest, cwd=cwd, env=env)
        return int(text)

    def show(self, job: int) -> dict[str, str]:
        """Return what Slurm knows of a job."""
        return dict(re.findall(r"(\w+)=(\S*)", self.command("scontrol", "show", "job", str(job))))

    def idle(self) -> int:
        """Return the number of idle nodes."""
        return int(self.command("sinfo", "--noheader", "--states=idle", "--format=%D").strip() or 0)

    def logs(self) -> str:
        """Return the ends of the daemons' logs."""
        return "".join(path.read_text(encoding="utf-8")[-1500:] for path in sorted(self.folder.glob("*.log")))

    def ended(self, job: int, timeout_s: float = 60) -> dict[str, str]:
        """Wait for the end of a job and return what Slurm knows of it."""
        running = ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING")
        wait_for(lambda: self.show(job)["JobState"] not in running, f"job {job} to end", timeout_s)
        return self.show(job)

    def start_again(self, job: int, restarts: int) -> None:
        """Wait until a job was put back into the queue, and let it begin within seconds instead of after two minutes.

        Because a node refuses what the controller signed in the second in which the job left it, leave a few seconds between.
        """
        wait_for(lambda: int(self.show(job)["Restarts"]) >= restarts, f"job {job} to be put back", 60)
        wait_for(
            lambda: self.show(job)["JobState"] != "COMPLETING" and self.idle() == 2, f"job {job} to leave its nodes", 60
        )
        self.command("scontrol", "update", f"JobId={job}", "StartTime=now+5")


@contextlib.contextmanager
def slurm_cluster() -> Iterator[Slurm]:
    """Start a cluster, and end it with everything that runs on it."""
    missing = sorted({package for name, package in _PROGRAMS.items() if shutil.which(name) is None})
    if missing:
        pytest.skip(f"{NO_TOOL}no Slurm (apt-get install -y --no-install-recommends {' '.join(missing)})")
    if os.geteuid() != 0 or subprocess.run(["unshare", "-n", "true"], check=False, capture_output=True).returncode:
        pytest.skip(f"{NO_TOOL}only root may make network namespaces")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        _write_files(folder)
        start = _Starter(stack, folder, environment)
        munge = [
            f"--{name}={folder}/munge.{name}" for name in ("socket", "key-file", "pid-file", "log-file", "seed-file")
        ]
        start("munged", "--foreground", "--force", *munge)
        controller = start("unshare", "--net", "--uts", "sh", "-c", "hostname controller; sleep infinity")
        _wait_for_namespace(controller)
        _in(controller, "ip link add bridge0 type bridge; ip addr add 10.77.0.1/24 dev bridge0")
        _in(controller, "ip link set bridge0 up; ip link set lo up")
        enter = ("nsenter", "--net", "--uts", f"--target={controller}")
        start(*enter, "slurmctld", "-D")
        for index in (1, 2):
            _start_node(start, controller, index, folder)
        slurm = Slurm(folder, controller, environment)
        wait_for(lambda: slurm.idle() == 2, "two idle nodes", 60)
        yield slurm


def _write_files(folder: Path) -> None:
    (folder / "slurm.conf").write_text(_CONFIG.format(folder=folder), encoding="utf-8")
    (folder / "hosts").write_text(_HOSTS, encoding="utf-8")
    (folder / "munge.key-file").write_bytes(os.urandom(1024))
    (folder / "munge.key-file").chmod(0o600)
    for name in ("state", "local", "spool-n1", "spool-n2", "work"):
        (folder / name).mkdir()


class _Starter:
    """Starts processes that end with the stack."""

    def __init__(self, stack: contextlib.ExitStack, folder: Path, environment: dict[str, str]) -> None:
        self._stack, self._folder, self._environment = stack, folder, environment

    def __call__(self, *command: str) -> int:
        """Start a process and return its number."""
        with (self._folder / "processes.log").open("ab") as log:
            process = subprocess.Popen(
                command, env=self._environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        self._stack.callback(self._end, process)
        return process.pid

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _start_node(start: _Starter, controller: int, index: int, folder: Path) -> None:
    name = f"n{index}"
    script = _NODE.format(name=name, folder=folder)
    isolated = ("unshare", "--net", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    node = start(*isolated, "sh", "-c", script)
    _wait_for_namespace(node)
    _in(controller, f"ip link add {name} type veth peer name eth0 netns {node}; ip link set {name} master bridge0 up")
    _in(node, f"ip addr add 10.77.0.1{index}/24 dev eth0; ip link set eth0 up; ip link set lo up")


def _wait_for_namespace(process: int) -> None:
    """Wait until a process has left this process's network."""
    own = os.readlink("/proc/self/ns/net")
    deadline = time.monotonic() + 10
    while os.readlink(f"/proc/{process}/ns/net") == own:
        assert time.monotonic() < deadline, "no namespace"
        time.sleep(0.02)


def _in(process: int, commands: str) -> None:
    """Run shell commands in the network of a process."""
    subprocess.run(["nsenter", "--net", f"--target={process}", "sh", "-ec", commands], check=True, timeout=20)
