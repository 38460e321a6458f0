"""Where a worker's time goes: seconds by stage over all threads, and by phase of the one thread that drives the networks."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_OUTSIDE_ATTEMPTS = ("start", "between", "commit")


class Stopwatch:
    """Seconds by stage, summed over threads.

    Attributes:
        seconds: stage -> wall time, waiting for storage, locks and a free CPU included.
        cpu_seconds: stage -> CPU time of the threads that were in it. What a network's own threads spend is not in it: the
            process's CPU time has that.
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
    """The time of one worker between two commits, for the statistics of the later one.

    A commit cannot hold the time of its own put, nor an attempt that was lost the time that it cost: both, and the wait for
    the next shard, go to the statistics of the worker's next commit. Those after the last one are in none.

    Args:
        started_at: `time.perf_counter()` when the worker began to load its models.
    """

    def __init__(self, started_at: float) -> None:
        self._mark = started_at
        self._cpu_mark = time.process_time()
        self._phases: dict[str, float] = defaultdict(float)
        self._taken: dict[str, float] = {}
        self._cpu_taken_s = 0.0

    def lap(self, phase: str, shares: Mapping[str, float] | None = None) -> None:
        """Books the time since the last lap.

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

    def take(self) -> tuple[dict[str, float], float]:
        """What was booked since the last commit: phase -> seconds, and the process's CPU seconds meanwhile."""
        self._taken, self._phases = dict(self._phases), defaultdict(float)
        cpu_mark = time.process_time()
        self._cpu_taken_s, self._cpu_mark = cpu_mark - self._cpu_mark, cpu_mark
        return dict(self._taken), self._cpu_taken_s

    def keep(self) -> None:
        """The commit that holds what was taken was made; the time since counts as `commit`."""
        self.lap("commit")
        self._taken, self._cpu_taken_s = {}, 0.0

    def lose(self) -> None:
        """Nothing came of the attempt: its time, also what was taken for it, counts as `lost`."""
        self.lap("lost")
        for name, seconds in self._taken.items():
            self._phases[name] += seconds
        self._cpu_mark -= self._cpu_taken_s
        self._taken, self._cpu_taken_s = {}, 0.0
        before = {name: self._phases.pop(name) for name in _OUTSIDE_ATTEMPTS if name in self._phases}
        lost = sum(self._phases.values())
        self._phases.clear()
        self._phases.update(before, lost=lost)
