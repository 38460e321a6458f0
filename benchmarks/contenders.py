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
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from anon_batch.config import load_job
from benchmarks.comparison import Rate
from benchmarks.processes import ProcessWatch

METHOD = "solid"  # what deface does
_START_UP_S = 300


def bare(photos: Sequence[Path], output: Path, processes: int, settings: Mapping[str, Any] | None = None) -> Rate:
    """Runs the bare loop with keys of the job file. Its CPU time is what the processes themselves count."""
    context = multiprocessing.get_context("spawn")
    ready, ends = context.Barrier(processes + 1), context.SimpleQueue()
    shares = [photos[at::processes] for at in range(processes)]
    keys = {"anonymize.method": METHOD, **(settings or {})}
    loops = [context.Process(target=_bare_loop, args=(share, output, keys, ready, ends)) for share in shares]
    threads = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # as Ray starts a worker's process: read when a library is loaded
    for process in loops:
        process.start()
    if threads is None:
        del os.environ["OMP_NUM_THREADS"]  # the other contenders take what they take
    else:
        os.environ["OMP_NUM_THREADS"] = threads
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
    ended, cpu_s = zip(*[ends.get() for _ in loops], strict=True)
    seconds = max(ended) - begin
    return Rate(len(photos) / seconds, seconds, 1e3 * sum(cpu_s) / len(photos))


def _bare_loop(photos: Sequence[Path], output: Path, keys: Mapping[str, Any], ready: Barrier, ends: Any) -> None:
    from anon_batch.anonymize.ladder import build_ladder
    from anon_batch.detect.ensemble import build_detector
    from anon_batch.geometry import regions_of
    from anon_batch.imaging.encode import encode_anonymized, encode_clean
    from anon_batch.imaging.source import SourceImage
    from anon_batch.models.runtime import Runtime
    from anon_batch.models.store import ModelStore
    from anon_batch.process import keep_freed_memory, limit_threads
    from anon_batch.storage import Storage, join

    limit_threads(1)
    keep_freed_memory()
    config = load_job(None, {"manifest": "none", "output": str(output), **keys})
    storage = Storage(config.storage)
    store = ModelStore(storage, config.models)
    detector, ladder = build_detector(config.detect, Runtime(store)), build_ladder(config.anonymize, store, 1, "cpu")
    how = config.anonymize
    ready.wait(_START_UP_S)
    cpu_begin = time.process_time()
    for path in photos:
        source = SourceImage.open(path.name, storage.read(str(path)), max_pixels=config.limits.max_pixels)
        [found] = detector.detect([source.preview(config.detect.max_side_px)])
        if len(found):
            image = source.decode()
            regions = regions_of(found, image.width, image.height, how.expansion, how.shape)
            [treated] = ladder.anonymize([(image, regions)], b"benchmark" * 4)
            if isinstance(treated, Exception):
                raise treated
            encoded = encode_anonymized(image, treated, config.write.format, config.write.quality)
        else:
            encoded = encode_clean(source, config.write.format, config.write.quality)
        storage.put(join(str(output), path.name), encoded.data)
    ends.put((time.monotonic(), time.process_time() - cpu_begin))


def run(
    manifest: Path,
    output: Path,
    workers: int,
    settings: Mapping[str, Any] | None = None,
    watch: ProcessWatch | None = None,
) -> Rate:
    """Runs `anon-batch run` with keys of the job file; the method is `solid` unless they name another."""
    keys = {"anonymize.method": METHOD, **(settings or {})}
    places = ("--manifest", str(manifest), "--output", str(output))
    options = [part for key, value in keys.items() for part in ("--set", f"{key}={value}")]
    _command("anon-batch", "run", *places, "--set", f"engine.workers={workers}", *options, "--json")
    begin, end, rows = steady_stretch(output, Path(f"{output}-ledger"), workers)
    return _rate(begin, end, rows, watch)


def steady_stretch(
    output: Path, ledger: Path, workers: int, shard_rows: int | None = None
) -> tuple[float, float, float]:
    """Beginning and end of a finished run's steady stretch, by `time.time()`, and the rows that were done in it.

    Both come from the times at which its attempts began and its parts were put; of shards that lie partly in it the same share
    of their rows counts. With so few shards that never `workers` of them were in work at once, it counts from the first one's
    beginning.

    Args:
        output: the run's release.
        ledger: the run's ledger.
        workers: of the run.
        shard_rows: the stretch ends with the last shard of so many rows; None: with the last of all.

    Raises:
        RuntimeError: no shard of so many rows.
    """
    shards = []
    for part in (output / "provenance").iterdir():
        begin = min(marker.stat().st_mtime for marker in (ledger / "attempts" / part.stem).iterdir())
        shards.append((begin, part.stat().st_mtime, int(part.stem.partition("-")[2])))
    starts = sorted(begin for begin, _, _ in shards)
    in_work = {t: sum(begin <= t < end for begin, end, _ in shards) for t in starts}
    full = next((t for t in starts if in_work[t] >= workers), starts[0])
    last = max((end for _, end, rows in shards if rows == shard_rows or shard_rows is None), default=None)
    if last is None:
        raise RuntimeError(f"{output}: no shard of {shard_rows} rows")
    shares = ((rows, max(0.0, min(end, last) - max(begin, full)) / (end - begin)) for begin, end, rows in shards)
    return full, last, sum(rows * share for rows, share in shares)


def deface(folder: Path, output: Path, watch: ProcessWatch | None = None) -> Rate:
    """Runs `deface FOLDER --replacewith solid`, which writes beside the originals; moves its outputs into `output`, new."""
    _command("deface", str(folder), "--replacewith", "solid")
    outputs = [path for path in folder.iterdir() if path.stem.endswith("_anonymized")]
    times = sorted(path.stat().st_mtime for path in outputs)
    output.mkdir()
    for path in outputs:
        path.rename(output / path.name)
    if len(times) < 2:
        raise RuntimeError(f"deface wrote {len(times)} pictures")
    return _rate(times[0], times[-1], len(times) - 1, watch)


def build_manifest(folder: Path, manifest: Path, ground_truth: Path | None) -> None:
    """Runs `anon-batch manifest`."""
    labels = ["--ground-truth", str(ground_truth)] if ground_truth else []
    _command("anon-batch", "manifest", str(folder), "-o", str(manifest), *labels)


def _rate(begin: float, end: float, images: float, watch: ProcessWatch | None) -> Rate:
    cpu_ms = None
    if watch is not None:
        watch.settle()
        cpu_ms = 1e3 * sum(watch.cpu_s(begin, end).values()) / images
    return Rate(images / (end - begin), end - begin, cpu_ms)


def _command(name: str, *arguments: str) -> None:
    """Runs a console script that is installed beside this interpreter."""
    command = [str(Path(sys.executable).with_name(name)), *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
