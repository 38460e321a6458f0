"""What grows with the rows: the null model of `benchmarks.million_rows`, over manifests of several lengths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks import million_rows as bench_scale
from benchmarks.comparison import check, ratio
from benchmarks.tables import Table, number
from benchmarks.workplace import Workplace

SHARD_ROWS = 512


def measure(place: Workplace) -> dict[str, Any]:
    """Runs every length once, shortest first."""
    runs = []
    for rows in sorted(place.settings.rows):
        folder = place.folder / f"rows-{rows}"
        folder.mkdir()
        runs.append(bench_scale.measure(folder, rows, place.settings.workers, SHARD_ROWS, verify=False))
        place.say(f"{rows:,} rows: {runs[-1]['run']['rows_per_s']:.0f} rows/s")
    ratios, (first, last) = {}, (runs[0], runs[-1])
    if first is not last:
        name = f"rows/s, {last['rows']:,} rows / {first['rows']:,} rows"
        ratios[name] = ratio([last["run"]["steady_rows_per_s"]], [first["run"]["steady_rows_per_s"]])
    peak, cpu = last["run"]["peak_mib"], last["run"]["cpu_ms_per_shard"]
    checks = {
        "driver's peak memory": check(peak, bench_scale.DRIVER_PEAK_LIMIT_MIB, "MiB", at_most=True),
        "driver's CPU a shard": check(cpu, bench_scale.DRIVER_CPU_LIMIT_MS, "ms", at_most=True),
    }
    return {"rounds": 1, "workers": place.settings.workers, "runs": runs, "ratios": ratios, "checks": checks}


def tables(figures: Mapping[str, Any]) -> list[Table]:
    """A row a length."""
    rows = tuple(
        (
            f"{found['rows']:,}",
            f"{found['run']['shards']:,}",
            number(found["run"]["planning_s"]),
            number(found["run"]["rows_per_s"], 0),
            number(found["run"]["steady_rows_per_s"], 0),
            number(found["run"]["cpu_ms_per_shard"]),
            number(found["run"]["steady_cpu_ms_per_shard"]),
            number(found["run"]["peak_mib"], 0),
            number(found["resume"]["seconds"]),
            number(found["status"]["seconds"]),
        )
        for found in figures["runs"]
    )
    columns = (
        "rows",
        "shards",
        "planning s",
        "rows/s",
        "after the first shard",
        "driver CPU ms a shard",
        "after the first",
        "driver peak MiB",
        "resume s",
        "status s",
    )
    note = (
        f"{figures['workers']} workers, `engine.shard_rows: {SHARD_ROWS}`; every row is one tiny picture without a face. The "
        "rates hold Ray's start but where they count from the first shard's commit on."
    )
    return [Table(columns, rows, (note,))]
