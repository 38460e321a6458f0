"""Run a command and measure it together with every process that it starts."""

from __future__ import annotations

import os
import resource
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

_INTERVAL_S = 0.1
_MEMORY_EVERY = 3  # looks; reading memory maps takes milliseconds


class Measured(NamedTuple):
    """What a command took.

    Args:
        seconds: wall time.
        cpu_s: CPU time of the command and its descendants.
        peak_mib: largest sum of their memory; a page that several share counts once.
        own_cpu_s: CPU time of the command's first process alone.
        own_peak_mib: largest resident memory of that process.
        output: what the command wrote to standard output.
    """

    seconds: float
    cpu_s: float
    peak_mib: float
    own_cpu_s: float
    own_peak_mib: float
    output: str


def measure(
    command: Sequence[str], environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> Measured:
    """Run a command to its end.

    Args:
        command: program and arguments.
        environment: variables added to this process's own.
        folder: working directory; None is this process's own.

    Raises:
        RuntimeError: the command ended with a code other than 0 and 10 (finished, a gate exceeded).
    """
    waited, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = subprocess.Popen(
        list(command),
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watch = _Watch(process.pid)
    output, errors = process.communicate()
    seconds = time.monotonic() - begin
    watch.stop()
    if process.returncode not in (0, 10):
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {errors[-2000:]}")
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Ray's processes are waited for by nobody, and short ones end between two looks: each way misses some.
    exact_s = now.ru_utime + now.ru_stime - waited.ru_utime - waited.ru_stime
    cpu_s = max(exact_s, watch.cpu_s)
    return Measured(seconds, cpu_s, watch.peak_mib, watch.own_cpu_s, watch.own_peak_mib, output)


class _Watch:
    """Looks at a process and its descendants every 0.1 s from a thread."""

    def __init__(self, pid: int) -> None:
        self.peak_mib = self.own_peak_mib = 0.0
        self._cpu_s: dict[tuple[int, float], float] = {}
        self._root = psutil.Process(pid)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def cpu_s(self) -> float:
        return sum(self._cpu_s.values())

    @property
    def own_cpu_s(self) -> float:
        return self._cpu_s.get((self._root.pid, self._root.create_time()), 0.0)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        looks = 0
        while True:
            try:
                self._look(with_memory=looks % _MEMORY_EVERY == 0)
            except psutil.NoSuchProcess:
                return
            looks += 1
            if self._stop.wait(_INTERVAL_S):
                return

    def _look(self, *, with_memory: bool) -> None:
        self.own_peak_mib = max(self.own_peak_mib, self._root.memory_info().rss / 2**20)
        memory_bytes = 0
        for process in (self._root, *self._root.children(recursive=True)):
            try:
                times = process.cpu_times()
                self._cpu_s[process.pid, process.create_time()] = times.user + times.system
                if with_memory:
                    memory_bytes += _memory_bytes(process)
            except psutil.Error:
                continue
        self.peak_mib = max(self.peak_mib, memory_bytes / 2**20)


def _memory_bytes(process: psutil.Process) -> int:
    """Return the proportional set size where the system tells it, else the resident set size."""
    full = process.memory_full_info()
    return int(getattr(full, "pss", full.rss))
