"""CPU time of everything that a benchmark starts, by role: Ray's own processes, its workers, the command itself.

Ray's processes outlive their parents and are waited for by nobody, so the system adds up their times nowhere. They are
looked at every 0.1 s instead, known by a variable that each inherits; what a process does after the last look is lost.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from bisect import bisect_left
from pathlib import PurePath
from types import TracebackType
from typing import Literal, Self

import psutil  # type: ignore[import-untyped]

INTERVAL_S = 0.1
_MARK = "ANON_BATCH_BENCH"
_TITLE_LOOKS = 30  # a worker gets its title a second or two after its start

Role = Literal["worker", "ray", "command"]
ROLES: tuple[Role, ...] = ("worker", "ray", "command")


class _Series:
    """A counter of seconds over time."""

    def __init__(self, at: float, value: float) -> None:
        self._at, self._values = [at], [value]

    def add(self, at: float, value: float) -> None:
        if len(self._at) > 1 and value == self._values[-1] == self._values[-2]:
            self._at[-1] = at  # a rest needs its first and its last moment
        else:
            self._at.append(at)
            self._values.append(value)

    def value(self, at: float) -> float:
        """Between two looks on the line between them; before the first and after the last what these said."""
        right = bisect_left(self._at, at)
        if right == 0:
            return self._values[0]
        if right == len(self._at):
            return self._values[-1]
        begin, end = self._at[right - 1], self._at[right]
        share = (at - begin) / (end - begin)
        return self._values[right - 1] + share * (self._values[right] - self._values[right - 1])


class _Watched:
    def __init__(self, process: psutil.Process) -> None:
        self.process = process
        self.role: Role = "command"
        self.looks = 0
        self.series = _Series(process.create_time(), 0.0)


class ProcessWatch:
    """Watches, from its beginning as a context to its end, the processes that this one and its children start."""

    def __init__(self) -> None:
        self._token = secrets.token_hex(8)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._others: set[int] = set()
        self._alive: dict[int, _Watched] = {}
        self._ended: list[_Watched] = []
        now = time.time()
        self._own, self._machine = _Series(now, time.process_time()), _Series(now, _busy_s())

    def __enter__(self) -> Self:
        os.environ[_MARK] = self._token
        self._others = set(psutil.pids())  # this process among them
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        os.environ.pop(_MARK, None)

    def cpu_s(self, begin: float, end: float) -> dict[Role, float]:
        """CPU seconds by role between two times of `time.time()`, both past by `INTERVAL_S`."""
        spent = dict.fromkeys(ROLES, 0.0)
        for watched in [*self._ended, *self._alive.values()]:
            spent[watched.role] += watched.series.value(end) - watched.series.value(begin)
        return spent

    def others_share(self, begin: float, end: float) -> float:
        """Share of the machine's CPU time that programs took that have nothing to do with the benchmark."""
        busy = self._machine.value(end) - self._machine.value(begin)
        ours = sum(self.cpu_s(begin, end).values()) + self._own.value(end) - self._own.value(begin)
        return max(0.0, busy - ours) / ((end - begin) * (os.cpu_count() or 1))

    def settle(self) -> float:
        """Waits until everything up to now has been looked at; returns that time."""
        now = time.time()
        time.sleep(2 * INTERVAL_S)
        return now

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            self._look()

    def _look(self) -> None:
        pids = set(psutil.pids())
        self._others &= pids
        for pid in pids - self._others - self._alive.keys():
            self._meet(pid)
        now = time.time()
        self._own.add(now, time.process_time())
        self._machine.add(now, _busy_s())
        for pid, watched in list(self._alive.items()):
            try:
                times = watched.process.cpu_times()
                if watched.looks < _TITLE_LOOKS:
                    watched.role = role_of(watched.process.cmdline()) or watched.role
            except psutil.Error:
                self._ended.append(self._alive.pop(pid))
                continue
            watched.looks += 1
            watched.series.add(time.time(), times.user + times.system)

    def _meet(self, pid: int) -> None:
        try:
            process = psutil.Process(pid)
            parent = process.ppid()
            kin = parent == os.getpid() or parent in self._alive
            if kin or process.environ().get(_MARK) == self._token:
                self._alive[pid] = _Watched(process)
                return
        except psutil.Error:
            pass
        self._others.add(pid)


def role_of(command: list[str]) -> Role | None:
    """What a process is by its command line: one of Ray's workers, another process of Ray, anything else; None: no line."""
    if not command:
        return None
    name, program = PurePath(command[0]).name, command[:3]  # an interpreter, `-u`, the script
    if name in ("raylet", "gcs_server"):
        return "ray"
    if name.startswith("ray::") or any(part.endswith("/default_worker.py") for part in program):
        return "worker"
    return "ray" if any("/ray/_private/" in part or "/ray/dashboard/" in part for part in program) else "command"


def _busy_s() -> float:
    """CPU seconds of the whole machine that were not idle, those that a host took from it included."""
    times = psutil.cpu_times()
    lost = getattr(times, "steal", 0.0) + getattr(times, "irq", 0.0) + getattr(times, "softirq", 0.0)
    return float(times.user + times.system + getattr(times, "nice", 0.0) + lost)
