"""CPU time that a run takes beyond the bare loop: Ray, the driver, the commits, digests, provenance, threads.

All processes count, Ray's own too, over the stretch in which all workers are at work on whole shards: a run's last rows go in
small ones, of which a short run has too many. What starting takes once is told beside it.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import contenders
from benchmarks.comparison import Rate, check, of_rates, play
from benchmarks.processes import ROLES
from benchmarks.tables import Table, number, share
from benchmarks.workplace import Workplace

LIMIT = 0.05
SHARD_ROWS = 512
_SHARDS, _WHOLE_SHARDS = 7, 4  # rows for so many, of which so many stay whole: see anon_batch.shards.first_round
_ROUNDS = 2  # CPU time is steadier than the clock, and the run is long
_TEXTS = {
    "ray": "Ray's own processes (raylet, store of its state)",
    "command": "driver (`anon-batch run`)",
}


def measure(place: Workplace) -> dict[str, Any]:
    """Runs the bare loop and this project in turn."""
    settings, watch = place.settings, place.watch
    if watch is None:
        raise RuntimeError("section overhead: nobody watches the processes")
    shard_rows = min(SHARD_ROWS, max(1, round(0.512 * settings.images)))
    pictures = place.photographs(_SHARDS * shard_rows)
    by_role: dict[str, list[float]] = {role: [] for role in ROLES}
    once: list[float] = []
    stages: dict[str, float] = {}

    def run(_: int) -> Rate:
        start = time.time()
        place.run(pictures, settings={"engine.shard_rows": shard_rows})
        ledger = Path(f"{place.release}-ledger")
        begin, end, rows = contenders.steady_stretch(place.release, ledger, settings.workers, shard_rows)
        for role, spent in watch.cpu_s(begin, end).items():
            by_role[role].append(1e3 * spent / rows)
        once.append(sum(watch.cpu_s(start, begin).values()))
        stats = json.loads((place.release / "stats.json").read_text(encoding="utf-8"))
        stages.update({name: 1e3 * spent / stats["rows"] for name, spent in stats["timing"]["cpu_seconds"].items()})
        return Rate(rows / (end - begin), end - begin, sum(own[-1] for own in by_role.values()))

    compared, rounds = _WHOLE_SHARDS * shard_rows, min(settings.rounds, _ROUNDS)
    results = play({"bare": lambda _: place.bare(pictures, compared), "run": run}, rounds, place.say)
    bare_ms = [rate.cpu_ms or 0.0 for rate in results["bare"]]
    more, outside = beyond(by_role, bare_ms), around(by_role)
    known = {
        "rounds": rounds,
        "set": dict(pictures.about),
        "workers": settings.workers,
        "shard_rows": shard_rows,
        "whole_shards": _WHOLE_SHARDS,
        "cpu_ms": by_role,
        "bare_cpu_ms": bare_ms,
        "once_cpu_s": once,
        "stage_cpu_ms": stages,
        "share_beyond_bare": more,
        "share_around": outside,
    }
    checks = {
        "CPU beyond the bare loop": statistics.median(more),
        "CPU of Ray's processes and the driver": statistics.median(outside),
    }
    limits = {name: check(value, LIMIT, "share", at_most=True) for name, value in checks.items()}
    return known | of_rates(results, [("run", "bare")]) | {"checks": limits}


def beyond(by_role: Mapping[str, list[float]], bare_ms: list[float]) -> list[float]:
    """Share of a run's CPU time that the bare loop does without, in each round; below 0 where the run took less."""
    run_ms = [sum(parts) for parts in zip(*by_role.values(), strict=True)]
    return [(run - bare) / run for run, bare in zip(run_ms, bare_ms, strict=True)]


def around(by_role: Mapping[str, list[float]]) -> list[float]:
    """Share of a run's CPU time outside its workers, in each round."""
    run_ms = [sum(parts) for parts in zip(*by_role.values(), strict=True)]
    return [(run - worker) / run for run, worker in zip(run_ms, by_role["worker"], strict=True)]


def tables(figures: Mapping[str, Any]) -> list[Table]:
    """CPU time by process, then by stage."""
    bare, by_role = statistics.median(figures["bare_cpu_ms"]), figures["cpu_ms"]
    run = statistics.median(sum(parts) for parts in zip(*by_role.values(), strict=True))
    shares = figures["share_beyond_bare"]
    medians = {role: statistics.median(own) for role, own in by_role.items()}
    staged = sum(figures["stage_cpu_ms"].values())
    parts = {"workers: a picture's stages": staged, "workers: all else": medians.pop("worker") - staged}
    parts |= {_TEXTS[role]: spent for role, spent in medians.items()} | {"run, all processes": run, "bare loop": bare}
    rows = tuple((name, number(spent, 2), share(spent / run)) for name, spent in parts.items())
    note = (
        f"Beyond the bare loop: {share(statistics.median(shares))} of the run's CPU time (rounds: "
        f"{', '.join(share(value) for value in shares)}; aim: at most {LIMIT:.0%}), while "
        f"{figures['whole_shards']} whole shards of {figures['shard_rows']} rows were in work; {figures['workers']} workers. "
        f"Starting takes {number(statistics.median(figures['once_cpu_s']))} s of CPU once a run, which is in none of these."
    )
    stages = sorted(figures["stage_cpu_ms"].items())
    return [
        Table(("process", "CPU ms an image", "share"), rows, (note,)),
        Table(("stage of a worker", "CPU ms an image"), tuple((name, number(spent, 2)) for name, spent in stages)),
    ]
