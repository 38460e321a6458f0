"""The three that do the same work, each with its rate over a steady stretch.

- bare: plain processes, each a loop over its share of the files: read, decode, detect, anonymize, encode, put,
  by this package's own functions, one thread each; no commit, no provenance, no Ray. From the moment at which
  all have loaded their models to the last picture.
- run: `anon-batch run`. From the moment at which as many shards are in work as there are workers to the last
  commit; of shards begun before that moment the later share counts.
- deface: the command of that name, one process, as many threads as onnxruntime takes. From its first output
  to its last.
"""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, NamedTuple

from anon_batch.config import load_job

METHOD = "solid"  # what deface does
_START_UP_S = 300


class Rate(NamedTuple):
    """Pictures a second in the steady stretch, and that stretch."""

    images_per_s: float
    seconds: float


def bare(photos: list[Path], output: Path, processes: int, backend: str = "auto") -> Rate:
    """Runs the bare loop with a `detect.backend`."""
    context = multiprocessing.get_context("spawn")
    ready, ends = context.Barrier(processes + 1), context.SimpleQueue()
    shares = [photos[at::processes] for at in range(processes)]
    loops = [context.Process(target=_bare_loop, args=(share, output, backend, ready, ends)) for share in shares]
    for process in loops:
        process.start()
    try:
        ready.wait(_START_UP_S)
        begin = time.monotonic()  # one clock for all processes of a machine
        for process in loops:
            process.join()
    finally:
        for process in loops:
            process.kill()
    if any(process.exitcode for process in loops):
        raise RuntimeError(f"a bare loop ended with {[process.exitcode for process in loops]}")
    seconds = max(ends.get() for _ in loops) - begin
    return Rate(len(photos) / seconds, seconds)


def _bare_loop(photos: list[Path], output: Path, backend: str, ready: Barrier, ends: Any) -> None:
    import cv2

    from anon_batch.anonymize.ladder import build_ladder
    from anon_batch.detect.ensemble import build_detector
    from anon_batch.geometry import regions_of
    from anon_batch.imaging.decode import decode
    from anon_batch.imaging.encode import encode_anonymized, encode_clean
    from anon_batch.models.store import ModelStore
    from anon_batch.storage import Storage, join

    cv2.setNumThreads(1)
    config = load_job(None, {"manifest": "none", "output": str(output), "detect.backend": backend, "anonymize.method": METHOD})
    storage = Storage(config.storage)
    store = ModelStore(storage, config.models)
    detector, ladder = build_detector(config.detect, store), build_ladder(config.anonymize, store, 1, "cpu")
    how = config.anonymize
    ready.wait(_START_UP_S)
    for path in photos:
        image = decode(path.name, storage.read(str(path)), config.limits)
        [found] = detector.detect([image])
        if len(found):
            regions = regions_of(found, image.width, image.height, how.expansion, how.shape)
            [treated] = ladder.anonymize([(image, regions)], b"benchmark" * 4)
            if isinstance(treated, Exception):
                raise treated
            encoded = encode_anonymized(image, treated, config.write)
        else:
            encoded = encode_clean(image, config.write)
        storage.put(join(str(output), path.name), encoded.data)
    ends.put(time.monotonic())


def run(manifest: Path, output: Path, workers: int, backend: str = "auto") -> Rate:
    """Runs `anon-batch run`."""
    places = ("--manifest", str(manifest), "--output", str(output))
    options = ("--method", METHOD, "--workers", str(workers), "--set", f"detect.backend={backend}", "--json")
    _command("anon-batch", "run", *places, *options)
    return steady_rate(output, Path(f"{output}-ledger"), workers)


def steady_rate(output: Path, ledger: Path, workers: int) -> Rate:
    """The rate of a finished run, from the times at which its attempts began and its parts were put.

    With so few shards that never `workers` of them were in work at once, it counts from the first one's beginning.
    """
    shards = []
    for part in (output / "provenance").iterdir():
        begin = min(marker.stat().st_mtime for marker in (ledger / "attempts" / part.stem).iterdir())
        shards.append((begin, part.stat().st_mtime, int(part.stem.partition("-")[2])))
    starts = sorted(begin for begin, _, _ in shards)
    in_work = {t: sum(begin <= t < end for begin, end, _ in shards) for t in starts}
    full = next((t for t in starts if in_work[t] >= workers), starts[0])
    seconds = max(end for _, end, _ in shards) - full
    done = sum(rows * min(1.0, (end - full) / (end - begin)) for begin, end, rows in shards if end > full)
    return Rate(done / seconds, seconds)


def deface(folder: Path) -> Rate:
    """Runs `deface FOLDER --replacewith solid`, which writes beside the originals; removes its outputs."""
    _command("deface", str(folder), "--replacewith", "solid")
    outputs = [path for path in folder.iterdir() if path.stem.endswith("_anonymized")]
    times = sorted(path.stat().st_mtime for path in outputs)
    for path in outputs:
        path.unlink()
    if len(times) < 2:
        raise RuntimeError(f"deface wrote {len(times)} pictures")
    seconds = times[-1] - times[0]
    return Rate((len(times) - 1) / seconds, seconds)


def build_manifest(folder: Path, manifest: Path, ground_truth: Path | None) -> None:
    """Runs `anon-batch manifest`."""
    labels = ["--ground-truth", str(ground_truth)] if ground_truth else []
    _command("anon-batch", "manifest", str(folder), "-o", str(manifest), *labels)


def _command(name: str, *arguments: str) -> None:
    """Runs a console script that is installed beside this interpreter."""
    command = [str(Path(sys.executable).with_name(name)), *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
