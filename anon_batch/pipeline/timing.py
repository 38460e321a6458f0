"""Measure a worker's time: by stage over all threads, and by phase of the thread that drives the networks."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_OUTSIDE_ATTEMPTS = ("start", "between", "commit")


class Stopwatch:
    """Sum up seconds by stage over threads.

    Attributes:
        seconds: stage -> wall time, including waits for storage, locks and a free CPU.
        cpu_seconds: stage -> CPU time of the threads in it, without the threads of the networks' own libraries.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.seconds: dict[str, float] = defaultdict(float)
        self.cpu_seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        begin, cpu_begin = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            cpu, wall = time.thread_time() - cpu_begin, time.perf_counter() - begin
            with self._lock:
                self.seconds[stage] += wall
                self.cpu_seconds[stage] += cpu


class WorkerClock:
    """Share out a worker's time between two commits.

    Time that is spent after the statistics are serialized (the put of the part itself, failed attempts, waiting for the
    next shard) is attributed to the worker's next commit. Time after its last commit is in no statistics.

    Args:
        started_at: `time.perf_counter()` when the worker began to load its models.
    """

    def __init__(self, started_at: float) -> None:
        self._mark = started_at
        self._cpu_mark = time.process_time()
        self._phases: dict[str, float] = defaultdict(float)
        self._reported: dict[str, float] = {}
        self._cpu_reported_s = 0.0

    def lap(self, phase: str, shares: Mapping[str, float] | None = None) -> None:
        """Attribute the time since the last lap.

        Args:
            phase: what the time was spent on.
            shares: phase -> seconds of it that are known to be something else.
        """
        now = time.perf_counter()
        known = shares or {}
        for name, seconds in known.items():
            self._phases[name] += seconds
        self._phases[phase] += max(0.0, now - self._mark - sum(known.values()))
        self._mark = now

    def report(self) -> tuple[dict[str, float], float]:
        """Return phase -> seconds, and the CPU seconds of the process, since the last commit.

        `committed` or `discarded` must follow.
        """
        self._reported, self._phases = dict(self._phases), defaultdict(float)
        cpu_mark = time.process_time()
        self._cpu_reported_s, self._cpu_mark = cpu_mark - self._cpu_mark, cpu_mark
        return dict(self._reported), self._cpu_reported_s

    def committed(self) -> None:
        """Forget what was reported, because a commit holds it; count the time since as `commit`."""
        self.lap("commit")
        self._reported, self._cpu_reported_s = {}, 0.0

    def discarded(self) -> None:
        """Count the time of an attempt without a commit as `lost`, including what was reported for it."""
        self.lap("lost")
        for name, seconds in self._reported.items():
            self._phases[name] += seconds
        self._cpu_mark -= self._cpu_reported_s
        self._reported, self._cpu_reported_s = {}, 0.0
        before = {name: self._phases.pop(name) for name in _OUTSIDE_ATTEMPTS if name in self._phases}
        lost = sum(self._phases.values())
        self._phases.clear()
        self._phases.update(before, lost=lost)
