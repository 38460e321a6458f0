"""A machine that runs one node of Ray: its network, its processes, its death."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass

import psutil


@dataclass
class Machine:
    """A machine that may run one node.

    Args:
        name, address: of the machine; IPv4.
        namespace: None on loopback.
        process: the node's first; None while there is none.
    """

    name: str
    address: str
    namespace: str | None = None
    process: subprocess.Popen[bytes] | None = None

    def inside(self, arguments: list[str]) -> list[str]:
        """Return a command that runs in the machine's network."""
        return arguments if self.namespace is None else ["ip", "netns", "exec", self.namespace, *arguments]

    def processes(self) -> list[psutil.Process]:
        """Return all processes of the node."""
        with contextlib.suppress(psutil.NoSuchProcess):
            if self.process is not None:
                return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def workers(self, actor: str = "ShardActor") -> list[psutil.Process]:
        """Return the processes of a class of actors."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if process.name().startswith("ray::") and actor in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def kill(self) -> None:
        """SIGKILL all processes of the node at once."""
        if self.process is None:
            return
        processes = self.processes()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        psutil.wait_procs(processes, 10)
        self.process = None
