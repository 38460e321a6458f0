"""What grows with the number of rows: a run without networks over a long manifest.

All rows point at one tiny JPEG and say that it shows no face, so that a row costs next to nothing and what is
left is the planning, handing out and accounting of rows. Each step has a process of its own, as on the command
line:

- run: planning, shards, final merge; peak resident memory and CPU seconds of the driver's process alone;
- resume: the same command again on the finished release;
- status: of the finished release;
- verify: every picture read, digested and decoded again (left out above --verify-rows).
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import record

DRIVER_PEAK_LIMIT_MIB = 700
DRIVER_CPU_LIMIT_MS = 10.0
_BATCH_ROWS = 65_536
_SIDE_PX = 32


def main() -> int:
    """Measures, prints, keeps; 1 when a limit is exceeded."""
    args = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="anon-batch-scale-", dir=args.folder))
    try:
        verify = args.rows <= args.verify_rows
        figures = measure(folder, args.rows, args.workers, args.shard_rows, verify=verify)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    figures["machine"] = record.machine()
    path = record.keep("scale", figures, args.results)
    print(report(figures))
    print(f"kept in {path}")
    return 0 if figures["within_limits"] else 1


def measure(folder: Path, rows: int, workers: int, shard_rows: int, *, verify: bool) -> dict[str, Any]:
    """Runs every step below `folder`; returns the figures."""
    begin = time.perf_counter()
    manifest = write_manifest(folder, rows)
    manifest_s = time.perf_counter() - begin
    options = {
        "manifest": str(manifest),
        "output": str(folder / "release"),
        "detect.detectors": ["manifest"],
        "anonymize.method": "solid",
        "write.layout": "webdataset",
        "engine.workers": workers,
        "engine.shard_rows": shard_rows,
    }
    figures: dict[str, Any] = {"rows": rows, "workers": workers, "shard_rows": shard_rows}
    figures["manifest_s"] = manifest_s
    figures["run"] = run = _apart(_run, options)
    if run["statuses"] != {"clean": rows}:
        raise RuntimeError(f"expected {rows} clean rows, got {run['statuses']}")
    figures["resume"] = _apart(_run, options)
    figures["status"] = _apart(_status, options["output"])
    if verify:
        figures["verify"] = _apart(_verify, options["output"])
    small, quick = run["peak_mib"] <= DRIVER_PEAK_LIMIT_MIB, run["cpu_ms_per_shard"] <= DRIVER_CPU_LIMIT_MS
    figures["within_limits"] = small and quick
    return figures


def write_manifest(folder: Path, rows: int) -> Path:
    """A manifest whose rows all are one tiny JPEG without faces; ids as long as those of real data sets."""
    from PIL import Image

    from anon_batch.manifest.schema import REGIONS_TYPE

    picture = folder / "one.jpg"
    gradient = np.add.outer(np.arange(_SIDE_PX), np.arange(_SIDE_PX)).astype(np.uint8) * 3
    Image.fromarray(np.repeat(gradient[..., None], 3, axis=2)).save(picture, quality=90)
    path = folder / "manifest.parquet"
    schema = pa.schema([("image_id", pa.string()), ("uri", pa.string()), ("regions", REGIONS_TYPE)])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, rows, _BATCH_ROWS):
            numbers = range(start, min(start + _BATCH_ROWS, rows))
            ids = pa.array([f"train/{number // 1000:06d}/{number:010d}.jpg" for number in numbers])
            uris = pa.array([str(picture)] * len(numbers))
            faces = pa.array([[]] * len(numbers), REGIONS_TYPE)
            writer.write_table(pa.table([ids, uris, faces], schema=schema))
    return path


class _Timeline:
    """A driver's Reporter that notes when rounds began and ended: clock, CPU seconds of this process."""

    def __init__(self) -> None:
        self.started_at = self.first_at = self.last_at = (time.perf_counter(), time.process_time())
        self.shards = self.rows_after_first = 0

    def started(self, run: Any, done: Counter[str], *, resumed: bool) -> None:
        self.started_at = self.first_at = self.last_at = (time.perf_counter(), time.process_time())

    def shard(self, result: Any) -> None:
        if result.outcome != "committed":
            raise RuntimeError(f"shard {result.spec.name}: {result.outcome} {result.error}")
        self.last_at = (time.perf_counter(), time.process_time())
        if self.shards:
            self.rows_after_first += result.spec.count
        else:
            self.first_at = self.last_at
        self.shards += 1

    def note(self, text: str) -> None:
        raise RuntimeError(text)


def _run(options: dict[str, Any]) -> dict[str, Any]:
    from anon_batch.cluster.driver import run_job
    from anon_batch.config import load_job

    timeline = _Timeline()
    begin, cpu_begin = time.perf_counter(), time.process_time()
    outcome = run_job(load_job(None, options), timeline)
    end, cpu_end = time.perf_counter(), time.process_time()
    started, first, last = timeline.started_at, timeline.first_at, timeline.last_at
    figures = {
        "seconds": end - begin,
        "planning_s": started[0] - begin,
        "planning_cpu_s": started[1] - cpu_begin,
        "finalize_s": end - last[0],
        "finalize_cpu_s": cpu_end - last[1],
        "peak_mib": _peak_mib(),
        "statuses": {name: n for name, n in outcome.statuses.items() if n},
    }
    if timeline.shards:
        # From the end of planning, Ray's own start included, to the last shard's result.
        figures |= {
            "shards": timeline.shards,
            "rounds_s": last[0] - started[0],
            "rounds_cpu_s": last[1] - started[1],
            "cpu_ms_per_shard": 1e3 * (last[1] - started[1]) / timeline.shards,
            "steady_cpu_ms_per_shard": 1e3 * (last[1] - first[1]) / max(timeline.shards - 1, 1),
            "rows_per_s": outcome.run.plan.total / (last[0] - started[0]),
            "steady_rows_per_s": timeline.rows_after_first / max(last[0] - first[0], 1e-9),
            "worker_seconds": outcome.summary["seconds"],
        }
    return figures


def _status(output: str) -> dict[str, Any]:
    from anon_batch.formats.release import Release
    from anon_batch.release.status import read_status
    from anon_batch.storage import Storage

    begin = time.perf_counter()
    state = read_status(Release(Storage(), output))
    return {"seconds": time.perf_counter() - begin, "peak_mib": _peak_mib(), "done": state.done}


def _verify(output: str) -> dict[str, Any]:
    from anon_batch.formats.ledger import Ledger
    from anon_batch.formats.release import Release
    from anon_batch.release.verify import verify
    from anon_batch.storage import Storage

    begin = time.perf_counter()
    for step in verify(Release(Storage(), output), Ledger(Storage(), f"{output}-ledger")):
        result = step
    if result.faults_count:
        raise RuntimeError(f"{result.faults_count} faults: {result.faults[:3]}")
    return {"seconds": time.perf_counter() - begin, "peak_mib": _peak_mib(), "objects": result.objects}


def _apart(step: Callable[[Any], dict[str, Any]], argument: Any) -> dict[str, Any]:
    """Calls `step` in a fresh process, so that no other step's memory is counted."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        figures = pool.submit(step, argument).result()
    print(f"{step.__name__.strip('_')}: {figures}", file=sys.stderr, flush=True)
    return figures


def _peak_mib() -> float:
    """Peak resident memory of this process; VmHWM, as ru_maxrss starts at the parent's."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    except OSError:
        found = None
    if found:
        return int(found[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 1024)


def report(figures: dict[str, Any]) -> str:
    """The figures as lines."""
    run, resume, status = figures["run"], figures["resume"], figures["status"]
    rates = f"{run['rows_per_s']:.0f} rows/s, {run['steady_rows_per_s']:.0f} after the first shard"
    lines = [
        f"{figures['rows']:,} rows, {run['shards']:,} shards, {figures['workers']} workers, no network",
        f"  planning   {run['planning_s']:8.1f} s",
        f"  rounds     {run['rounds_s']:8.1f} s   {rates}",
        f"  merge, end {run['finalize_s']:8.1f} s   Ray's own end included",
        f"  driver CPU {run['cpu_ms_per_shard']:8.1f} ms a shard (limit {DRIVER_CPU_LIMIT_MS:g})",
        f"             {run['steady_cpu_ms_per_shard']:8.1f} ms a shard after the first",
        f"  driver peak{run['peak_mib']:8.0f} MiB resident (limit {DRIVER_PEAK_LIMIT_MIB})",
        f"  resume     {resume['seconds']:8.1f} s   {resume['peak_mib']:.0f} MiB",
        f"  status     {status['seconds']:8.1f} s   {status['peak_mib']:.0f} MiB",
    ]
    if verify := figures.get("verify"):
        lines.append(f"  verify     {verify['seconds']:8.1f} s   {verify['peak_mib']:.0f} MiB")
    lines.append("within its limits" if figures["within_limits"] else "ABOVE ITS LIMITS")
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.million_rows", description=__doc__)
    add = parser.add_argument
    add("--rows", type=int, default=1_000_000)
    add("--workers", type=int, default=2)
    add("--shard-rows", type=int, default=512)
    add("--verify-rows", type=int, default=100_000, help="verify too, up to this many rows")
    add("--folder", type=Path, help="where everything lies meanwhile; default: the temporary folder")
    add("--results", type=Path, default=record.RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
