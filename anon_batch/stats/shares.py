"""Shares of the time of a run, from stats.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

STAGES: Mapping[str, str] = {
    "read": "fetching sources",
    "digest": "digests of sources and outputs",
    "decode": "decoding",
    "detect": "detection",
    "anonymize": "anonymization",
    "encode": "encoding and inspecting outputs",
    "put": "putting outputs",
}
PHASES: Mapping[str, str] = {
    "detect": "busy: detection",
    "anonymize": "busy: anonymization",
    "decode": "busy: decoding, when there is no CPU for another thread",
    "encode": "busy: encoding and inspecting outputs, when there is no CPU for another thread",
    "wait_input": "idle: waits for images to be read and decoded",
    "wait_output": "idle: waits for outputs to be encoded and put",
    "open": "idle: starts a shard (marker, rows)",
    "close": "idle: writes the shard's file",
    "commit": "idle: commits the shard",
    "between": "idle: waits for the next shard",
    "start": "idle: loads the models",
    "lost": "lost: failed attempts",
    "other": "idle: queue overhead",
}
NETWORKS = ("detect", "anonymize")
BUSY = (*NETWORKS, "decode", "encode")


@dataclass(frozen=True, slots=True)
class StageTime:
    """One stage, over all threads.

    Args:
        name, text: key in `stats.json`, and what it is.
        wall_s, wall_share: time in the stage, and its share of that in all stages.
        cpu_s: CPU time of the threads in it; None where it was not measured.
        cpu_share: of the CPU time of the workers' processes.
    """

    name: str
    text: str
    wall_s: float
    wall_share: float
    cpu_s: float | None
    cpu_share: float | None


@dataclass(frozen=True, slots=True)
class PhaseTime:
    """One phase of the threads that drive the networks.

    Args:
        name, text: key in `stats.json`, and what it is.
        seconds, share: time in the phase, and its share of the workers' time.
    """

    name: str
    text: str
    seconds: float
    share: float


@dataclass(frozen=True, slots=True)
class TimeShares:
    """Where the time went.

    Args:
        stages: in the order in which an image passes them.
        phases: of the thread that drives the networks; empty where it was not measured.
        worker_s: time of all workers together.
        idle_share: share of it in which the device of the networks (GPU, or the CPU of the thread that drives
            them) had no work.
        process_cpu_s: CPU time of the workers' processes.
        elsewhere_cpu_s: of it outside the stages' own threads: the network's threads, Python's own work, Parquet parts.
    """

    stages: tuple[StageTime, ...]
    phases: tuple[PhaseTime, ...]
    worker_s: float
    idle_share: float | None
    process_cpu_s: float
    elsewhere_cpu_s: float

    def images_per_s(self, rows: int) -> float | None:
        """Rows a second of one worker."""
        return rows / self.worker_s if self.worker_s > 0 else None


def time_shares(summary: Mapping[str, Any]) -> TimeShares:
    """Shares of the time that a summary of ShardStats holds; one of an older version has no CPU and no phases.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: not such a summary.
    """
    wall = _numbers(summary["seconds"])
    timing = summary.get("timing") or {}
    cpu, worker = _numbers(timing.get("cpu_seconds", {})), _numbers(timing.get("worker_seconds", {}))
    process_cpu_s = float(timing.get("process_cpu_seconds", 0.0))
    wall_s, worker_s, stage_cpu_s = sum(wall.values()), sum(worker.values()), sum(cpu.values())
    cpu_s = max(process_cpu_s, stage_cpu_s)
    stages = tuple(
        StageTime(
            name,
            STAGES.get(name, name),
            wall[name],
            _share(wall[name], wall_s),
            cpu.get(name, 0.0) if timing else None,
            _share(cpu.get(name, 0.0), cpu_s) if timing else None,
        )
        for name in _ordered(wall, STAGES)
    )
    phases = tuple(
        PhaseTime(name, PHASES.get(name, name), worker[name], _share(worker[name], worker_s))
        for name in _ordered(worker, PHASES)
    )
    busy_s = sum(worker.get(name, 0.0) for name in BUSY)
    idle = 1 - busy_s / worker_s if worker_s > 0 else None
    return TimeShares(stages, phases, worker_s, idle, process_cpu_s, max(0.0, process_cpu_s - stage_cpu_s))


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    numbers = {str(name): float(value) for name, value in values.items()}
    if any(not 0 <= value < float("inf") for value in numbers.values()):
        raise ValueError("times are numbers from 0")
    return numbers


def _ordered(values: Mapping[str, float], order: Mapping[str, str]) -> list[str]:
    return [*(name for name in order if name in values), *sorted(set(values) - set(order))]


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0
