"""What grows with the number of rows: a run over a long manifest whose images cost next to nothing.

All rows point at one tiny JPEG and say that it has no face, so what is left is the planning, handing out and accounting of
rows. Run, resume and status are commands; CPU time and peak memory are those of the driver's process.

    python -m benchmarks --sections million_rows --rows 100000
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image

from benchmarks.contenders import CLI, ROOT
from benchmarks.processes import Measured
from benchmarks.processes import measure as measured

SHARD_ROWS = 512
_BATCH_ROWS = 65_536
_SIDE_PX = 32
_BOX = pa.struct([*((name, pa.float32()) for name in ("x1", "y1", "x2", "y2")), ("ignore", pa.bool_())])


def measure(folder: Path, rows: int, workers: int) -> dict[str, Any]:
    """Run, resume and ask for the status of a job below a new folder.

    Raises:
        RuntimeError: a command failed, or not every row ended as `clean`.
    """
    folder.mkdir(parents=True)
    job = {
        "manifest": str(write_manifest(folder, rows)),
        "output": str(folder / "output"),
        "detect": {"detectors": ["manifest"]},
        "anonymize": {"face": {"method": "solid"}},
        "write": {"layout": "webdataset"},
        "engine": {"workers": workers, "shard_rows": SHARD_ROWS},
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job), encoding="utf-8")
    environment = {"PYTHONPATH": str(ROOT)}
    run = measured([*CLI, "run", str(path), "--json"], environment, folder)
    statuses = json.loads(run.output)["statuses"]
    if statuses["clean"] != rows:
        raise RuntimeError(f"expected {rows} clean rows, got {statuses}")
    shards = len(list((folder / "output/provenance").iterdir()))
    resume = measured([*CLI, "run", str(path), "--json"], environment, folder)
    status = measured([*CLI, "status", job["output"], "--json"], environment, folder)
    steps = {"run": run, "resume": resume, "status": status}
    return {
        "rows": rows,
        "shards": shards,
        "rows_per_s": rows / run.seconds,
        "driver_cpu_ms_per_shard": 1e3 * run.own_cpu_s / shards,
        **{name: _figures(taken) for name, taken in steps.items()},
    }


def write_manifest(folder: Path, rows: int) -> Path:
    """Write a manifest whose rows all are one tiny JPEG without faces; ids are as long as those of real datasets."""
    image = folder / "one.jpg"
    gradient = np.add.outer(np.arange(_SIDE_PX), np.arange(_SIDE_PX)).astype(np.uint8) * 3
    Image.fromarray(np.repeat(gradient[..., None], 3, axis=2)).save(image, quality=90)
    path = folder / "manifest.parquet"
    schema = pa.schema([("image_id", pa.string()), ("uri", pa.string()), ("faces", pa.list_(_BOX))])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, rows, _BATCH_ROWS):
            numbers = range(start, min(start + _BATCH_ROWS, rows))
            ids = pa.array([f"train/{number // 1000:06d}/{number:010d}.jpg" for number in numbers])
            columns = [ids, pa.array([str(image)] * len(numbers)), pa.array([[]] * len(numbers), schema.field(2).type)]
            writer.write_table(pa.table(columns, schema=schema))
    return path


def report(figures: dict[str, Any]) -> str:
    """Return the figures as lines."""
    rate, cpu_ms = figures["rows_per_s"], figures["driver_cpu_ms_per_shard"]
    lines = [f"million_rows: {figures['rows']:,} rows, {figures['shards']:,} shards, no networks"]
    lines += [
        f"  {name:7} {figures[name]['seconds']:8.1f} s, driver {figures[name]['driver_cpu_s']:.1f} s CPU, "
        f"{figures[name]['driver_peak_mib']:.0f} MiB peak"
        for name in ("run", "resume", "status")
    ]
    return "\n".join([*lines, f"  {rate:.0f} rows/s, {cpu_ms:.1f} ms of driver CPU a shard, start and end included"])


def _figures(taken: Measured) -> dict[str, float]:
    return {"seconds": taken.seconds, "driver_cpu_s": taken.own_cpu_s, "driver_peak_mib": taken.own_peak_mib}
