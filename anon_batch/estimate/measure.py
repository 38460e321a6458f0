"""A sample of a job's rows, really processed in this process: into a temporary folder that is deleted afterwards."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from anon_batch.config import JobConfig, SampleConfig
from anon_batch.errors import AnonBatchError, ExitCode
from anon_batch.formats import layout
from anon_batch.manifest import open_manifest
from anon_batch.pipeline.preflight import preflight
from anon_batch.pipeline.run import Run, open_run
from anon_batch.pipeline.shard import ShardProcessor
from anon_batch.records import ShardResult, ShardSpec
from anon_batch.stats import ShardStats, TimeShares, merge_all, summarise, time_shares
from anon_batch.storage import Storage, absolute, join

_WARM_UP_BATCHES = 1


class SampleError(AnonBatchError):
    """The sample could not be processed; the job would stop at the same."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a sample took and gave.

    Args:
        rows: of the sample.
        total_rows: of the job.
        seconds, cpu_s: wall time and CPU time of one worker for the sample, without loading the models.
        start_s: loading the models.
        stats: statuses, faces, bytes of the sample.
        time: where the time went.
        picture_bytes: of what the layout stores: pictures, or tar or Parquet files.
        provenance_bytes, audit_bytes, rows_bytes: parts of OUTPUT and LEDGER for the sample.
        cpus: of this machine.
        models: `name@sha256`.
    """

    rows: int
    total_rows: int
    seconds: float
    cpu_s: float
    start_s: float
    stats: ShardStats
    time: TimeShares
    picture_bytes: int
    provenance_bytes: int
    audit_bytes: int
    rows_bytes: int
    cpus: int
    models: tuple[str, ...]

    @property
    def images_per_s(self) -> float:
        """Rows a second by the clock, on all CPUs that this machine had to spare."""
        return self.rows / self.seconds

    def images_per_s_on(self, cpus: float) -> float:
        """Rows a second of a worker that has no more than these CPUs: all its threads share them."""
        return min(self.images_per_s, cpus * self.rows / self.cpu_s) if self.cpu_s > 0 else self.images_per_s

    @property
    def published(self) -> int:
        return self.stats.statuses.get("anonymized", 0) + self.stats.statuses.get("clean", 0)

    @property
    def is_everything(self) -> bool:
        """Whether the sample is the whole job, so that nothing is estimated."""
        return self.rows == self.total_rows


def measure(config: JobConfig, rows: int, note: Callable[[str], None]) -> Measurement:
    """Processes the rows that `sample.limit: rows` would take. Reads from the job's sources; writes to neither its OUTPUT nor its
    LEDGER, and takes a run key of its own.

    Args:
        config: the job.
        rows: of the sample; fewer when the job has fewer.
        note: hears how it goes.

    Raises:
        UsageError: what would stop the job before its first picture: manifest, models, settings.
        SampleError: a fault that no retry mended.
        StorageError: the manifest cannot be reached.
    """
    storage = Storage(config.storage)
    manifest_rows = open_manifest(storage, absolute(config.manifest)).rows_count
    total = min(manifest_rows, config.sample.limit or manifest_rows)
    models = preflight(config)
    with tempfile.TemporaryDirectory(prefix="anon-batch-plan-") as folder:
        note(f"checks {manifest_rows:,} rows of the manifest")
        run, _ = open_run(_sample_job(config, min(rows, total), Path(folder)), models)
        note(f"processes a sample of {run.plan.total:,} rows in this process; OUTPUT and ledger are not touched")
        begin = time.perf_counter()
        processor = ShardProcessor(run)
        start_s = time.perf_counter() - begin
        specs = _specs(run)
        _warm_up(processor, run, specs[0])
        begin, cpu_begin = time.perf_counter(), time.process_time()
        for spec in specs:
            _process(processor, run, spec)
        seconds, cpu_s = time.perf_counter() - begin, time.process_time() - cpu_begin
        stats = merge_all(ShardStats.from_json(meta.stats) for _, meta in run.release.read_metas(specs))
        stats.worker_us.pop("start", None)  # once a worker: it would weigh too much in a short sample
        pictures = layout.IMAGES if config.write.layout == "files" else layout.SHARDS
        return Measurement(
            run.plan.total,
            total,
            seconds,
            cpu_s,
            start_s,
            stats,
            time_shares(summarise(stats)),
            _size(run.release.uri, pictures, specs),
            _size(run.release.uri, layout.PROVENANCE, specs),
            _size(run.ledger.uri, layout.LEDGER_AUDIT, specs),
            _size(run.ledger.uri, layout.LEDGER_ROWS, ()),
            os.cpu_count() or 1,
            models,
        )


def _sample_job(config: JobConfig, rows: int, folder: Path) -> JobConfig:
    return config.model_copy(
        update={
            "output": str(folder / "output"),
            "ledger": str(folder / "ledger"),
            "run_key_file": None,
            "sample": SampleConfig(limit=rows, seed=config.sample.seed),
        }
    )


def _specs(run: Run) -> list[ShardSpec]:
    """Shards of the job's own size: the small ones of a plan's tail would make a sample look slow."""
    total, size = run.plan.total, run.plan.shard_rows
    return [ShardSpec(start, min(size, total - start)) for start in range(0, total, size)]


def _warm_up(processor: ShardProcessor, run: Run, first: ShardSpec) -> None:
    """A batch that is not counted: the first call of a network is slow, and the sample is short."""
    rows = run.config.detect.batch_size * _WARM_UP_BATCHES
    if rows < first.count // 2:
        _process(processor, run, ShardSpec(0, rows))


def _process(processor: ShardProcessor, run: Run, spec: ShardSpec) -> None:
    result: ShardResult | None = None
    for _ in range(run.config.engine.attempts):
        result = processor.process(spec)
        if result.outcome in ("committed", "already_committed"):
            return
        if not result.retryable:
            break
    reason = (result.error if result else None) or "no attempt left"
    raise SampleError(f"the sample cannot be processed: {reason.strip().splitlines()[-1]}")


def _size(base: str, folder: str, specs: list[ShardSpec] | tuple[ShardSpec, ...]) -> int:
    """Bytes below a folder, of these shards' objects where it holds shards': the warm-up's do not count."""
    names = tuple(spec.name for spec in specs)
    by_shard = bool(names) and folder != layout.IMAGES
    found = Storage().list(join(base, folder))
    return sum(info.size_bytes for info in found if not by_shard or info.key.startswith(names))
