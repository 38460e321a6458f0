"""The programs that are compared: `anon-batch run`, a bare loop over the public `Anonymizer`, and deface."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from benchmarks.processes import Measured, measure
from benchmarks.report import Result

ROOT = Path(__file__).parents[1]
CLI = (sys.executable, "-m", "anon_batch")


def run(
    images: Path, scratch: Path, job: Mapping[str, Any], workers: int = 1, checkout: Path = ROOT, method: str = "solid"
) -> Result:
    """Run a job over a folder of images by the command line of a checkout.

    Args:
        images: folder.
        scratch: emptied first; manifest and output go there.
        job: further sections of the job file.
        workers: Ray actors.
        checkout: whose code runs.
        method: for faces.
    """
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    environment = {"PYTHONPATH": str(checkout)}
    manifest, output = scratch / "manifest.parquet", scratch / "output"
    measure([*CLI, "manifest", f"{images}/", "-o", str(manifest)], environment, scratch)
    face = {"method": method}
    whole = {
        "manifest": str(manifest),
        "output": str(output),
        "anonymize": {"face": face} if has_policies(checkout) else face,
        **({"sources": {"allow": [str(images)]}} if (checkout / "anon_batch/config/sources.py").exists() else {}),
        **job,
        "engine": {"workers": workers, "shard_rows": 16, **job.get("engine", {})},
    }
    path = scratch / "job.yaml"
    path.write_text(yaml.safe_dump(whole), encoding="utf-8")
    taken = measure([*CLI, "run", str(path), "--json"], environment, scratch)
    rate, count = steady_rate(output, Path(f"{output}-ledger"), workers)
    return _result(rate, count, taken)


def has_policies(checkout: Path) -> bool:
    """Whether job files of a checkout have a policy for each label, as versions with an `Anonymizer` do."""
    return (checkout / "anon_batch/anonymizer.py").exists()


def steady_rate(output: Path, ledger: Path, workers: int) -> tuple[float, int]:
    """Return images a second from when all workers have a shard to the last commit, and the number of images.

    A shard's begin is the time of its first attempt marker, its end that of its provenance part. Of shards that were
    begun before all workers had one, the later share counts.
    """
    shards = [
        (
            min(marker.stat().st_mtime for marker in (ledger / "attempts" / part.stem).iterdir()),
            part.stat().st_mtime,
            int(part.stem.partition("-")[2]),
        )
        for part in (output / "provenance").iterdir()
    ]
    begins = sorted(begin for begin, _, _ in shards)
    full = next((t for t in begins if sum(begin <= t < end for begin, end, _ in shards) >= workers), begins[0])
    last = max(end for _, end, _ in shards)
    rows = sum(rows * max(0.0, end - max(begin, full)) / (end - begin) for begin, end, rows in shards)
    return rows / (last - full), sum(rows for _, _, rows in shards)


def bare(images: Path, scratch: Path, method: str = "solid") -> Result:
    """Run one process that reads, anonymizes and writes one file after the other, without manifest, Ray or commits."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    command = [sys.executable, "-m", "benchmarks.bare", str(images), str(scratch), method]
    taken = measure(command, {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
    figures = json.loads(taken.output.splitlines()[-1])
    return _result(figures["images_per_s"], figures["images"], taken)


def deface(images: Path) -> Result:
    """Run deface, which writes beside the originals, and delete what it wrote. Rate from its first output to its last."""
    program = shutil.which("deface") or str(Path(sys.executable).with_name("deface"))
    taken = measure([program, str(images), "--replacewith", "solid"])
    outputs = sorted(images.glob("*_anonymized*"), key=lambda path: path.stat().st_mtime)
    if len(outputs) < 2:
        raise RuntimeError(f"deface wrote {len(outputs)} images; at least 2 are needed")
    seconds = outputs[-1].stat().st_mtime - outputs[0].stat().st_mtime
    for path in outputs:
        path.unlink()
    return _result((len(outputs) - 1) / seconds, len(outputs), taken)


def _result(images_per_s: float, images: int, taken: Measured) -> Result:
    return Result(images_per_s, 1e3 * taken.cpu_s / images, taken.peak_mib)
