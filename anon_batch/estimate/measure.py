"""Processes a sample of a job's rows in this process, into a temporary folder that is deleted afterwards."""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from anon_batch.config import JobConfig, SampleConfig
from anon_batch.config.identity import IdentityConfig
from anon_batch.errors import AnonBatchError, ExitCode
from anon_batch.estimate.counting import CountingStorage, Kind, Unit
from anon_batch.estimate.identify import PassMeasurement, measure_pass
from anon_batch.formats import layout
from anon_batch.manifest import open_manifest
from anon_batch.manifest.publish import describe_columns
from anon_batch.pipeline.finalize import finalize
from anon_batch.pipeline.identify.basis import check_basis, compares_faces
from anon_batch.pipeline.preflight import preflight
from anon_batch.pipeline.private_stats import read_all
from anon_batch.pipeline.rounds import drive
from anon_batch.pipeline.run import Run, open_run
from anon_batch.pipeline.shard import ShardProcessor
from anon_batch.pipeline.source_shards import SourceShards
from anon_batch.records import ShardResult, ShardSpec
from anon_batch.shards import effective
from anon_batch.stats import ShardStats, TimeShares, merge_all, summarise, time_shares
from anon_batch.storage import Storage, absolute, join


class SampleError(AnonBatchError):
    """The sample could not be processed; the job would stop at the same error."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a sample took and produced.

    Args:
        rows: of the sample.
        total_rows: of the job.
        shards: of the sample.
        seconds, cpu_s: wall time and CPU time of one worker for the sample, without loading the models.
        start_s: time to load the models.
        stats: statuses, faces, bytes of the sample.
        time: where the time went.
        requests: (what its number grows with, kind) -> requests on S3.
        listed: (what its keys grow with, keys) of each listing of a whole folder.
        output_bytes: size of the outputs: images, or tar or Parquet files.
        provenance_bytes, audit_bytes, rows_bytes, sealed_bytes: size of the parts of OUTPUT and LEDGER.
        cpus: of this machine.
        models: `name@sha256`.
        source_shards: of the job, if it keeps the shards of the source.
        service_requests: to detectors that are services, by name.
        faces: what the pass took that compares faces; None without one.
    """

    rows: int
    total_rows: int
    shards: int
    seconds: float
    cpu_s: float
    start_s: float
    stats: ShardStats
    time: TimeShares
    requests: dict[tuple[Unit, Kind], int]
    listed: tuple[tuple[Unit, int], ...]
    output_bytes: int
    provenance_bytes: int
    audit_bytes: int
    rows_bytes: int
    sealed_bytes: int
    cpus: int
    models: tuple[str, ...]
    source_shards: int | None = None
    service_requests: Mapping[str, int] = field(default_factory=dict)
    faces: PassMeasurement | None = None

    @property
    def images_per_s(self) -> float:
        """Rows per second of wall time, on all free CPUs of this machine."""
        return self.rows / self.seconds

    def images_per_s_on(self, cpus: float) -> float:
        """Return the rows per second of a worker with `cpus` CPUs, which all its threads share."""
        return min(self.images_per_s, cpus * self.rows / self.cpu_s) if self.cpu_s > 0 else self.images_per_s

    @property
    def published(self) -> int:
        """Rows with an output."""
        return self.stats.statuses.get("anonymized", 0) + self.stats.statuses.get("clean", 0)

    @property
    def is_everything(self) -> bool:
        """Whether the sample is the whole job, so that nothing is estimated."""
        return self.rows == self.total_rows


def measure(config: JobConfig, rows: int, note: Callable[[str], None]) -> Measurement:
    """Process the rows that `sample.limit: rows` would take.

    Reads the job's sources. Writes to neither OUTPUT nor LEDGER, and uses its own run key.

    Args:
        config: the job.
        rows: of the sample; fewer when the job has fewer.
        note: called with lines about the progress.

    Raises:
        UsageError: what would stop the job before its first image: manifest, models, settings.
        SampleError: a non-retryable error.
        StorageError: the manifest cannot be read.
    """
    manifest_rows = open_manifest(Storage(config.storage), absolute(config.manifest)).rows_count
    total = min(manifest_rows, config.sample.limit or manifest_rows)
    models = preflight(config)
    check_basis(config)
    with tempfile.TemporaryDirectory(prefix="anon-batch-estimate-") as folder:
        sample_rows = min(rows, total)
        sample = _sample_job(config, None if sample_rows == manifest_rows else sample_rows, Path(folder))
        faces = None
        if compares_faces(sample):
            note("finding the faces of the sample, as `identify` does")
            faces = measure_pass(sample, models)
            # Because a sample has too few faces to find persons, it is processed without; that takes as long.
            sample = sample.model_copy(update={"identity": IdentityConfig()})
        storage = CountingStorage(config.storage, sample.output_uri, sample.ledger_uri)
        note(f"checking {manifest_rows:,} rows of the manifest")
        run, _ = open_run(sample, models, storage)
        for line in describe_columns(run.plan.columns):
            note(line)
        note(f"processing a sample of {run.plan.total:,} rows in this process; OUTPUT and ledger are not touched")
        worker = _SampleWorker(run, storage)
        effective(run.release.parts())  # as a run does to find out what is done
        drive(run, _Silent(), worker.dispatch)
        finalize(run)
        found = _measurement(run, storage, worker, total, models)
        if faces is not None:
            requests = Counter(found.service_requests) + Counter(faces.requests)
            found = replace(found, faces=faces, service_requests=dict(requests))
    return found if config.write.shards == "rows" else replace(found, source_shards=_count_source_shards(config))


class _SampleWorker:
    """One worker in this process."""

    def __init__(self, run: Run, storage: CountingStorage) -> None:
        begin = time.perf_counter()
        self._run = run
        self._storage = storage
        self._processor = ShardProcessor(run)
        self.start_s = time.perf_counter() - begin
        self.seconds = self.cpu_s = 0.0
        self.service_requests: Counter[str] = Counter()
        total, size = run.plan.total, run.plan.shard_rows
        # Because the last shards of a plan are small, which would make a sample look slow, cut it into full shards only.
        self.specs = [ShardSpec(start, min(size, total - start)) for start in range(0, total, size)]

    def dispatch(self, _: Iterable[ShardSpec]) -> Iterator[ShardResult]:
        """Process the sample's own shards, whichever are asked for."""
        self._warm_up()
        self._storage.in_shards = True
        begin, cpu_begin = time.perf_counter(), time.process_time()
        before = Counter(self._processor.anonymizer.requests)
        for spec in self.specs:
            yield self._process(spec)
        self.service_requests = Counter(self._processor.anonymizer.requests) - before
        self.seconds, self.cpu_s = time.perf_counter() - begin, time.process_time() - cpu_begin
        self._storage.in_shards = False

    def _warm_up(self) -> None:
        """Process a batch that does not count, because the first call of a network is slow and the sample is short."""
        rows = self._run.config.detect.batch_size
        if rows < self.specs[0].count // 2:
            self._storage.enabled = False
            self._process(ShardSpec(0, rows))
            self._storage.enabled = True

    def _process(self, spec: ShardSpec) -> ShardResult:
        result = ShardResult(spec, "exhausted")
        for _ in range(self._run.config.engine.attempts):
            result = self._processor.process(spec)
            if result.outcome in ("committed", "already_committed"):
                return result
            if not result.retryable:
                break
        raise SampleError(
            f"the sample cannot be processed: {(result.error or 'no attempts left').strip().splitlines()[-1]}"
        )


class _Silent:
    """A reporter that prints nothing."""

    def started(self, run: Run, done: Counter[str], *, resumed: bool) -> None: ...
    def shard(self, result: ShardResult) -> None: ...
    def note(self, text: str) -> None: ...


def _sample_job(config: JobConfig, limit: int | None, folder: Path) -> JobConfig:
    return config.model_copy(
        update={
            "output": str(folder / "output"),
            "ledger": str(folder / "ledger"),
            "run_key_file": None,
            "sample": SampleConfig(limit=limit, seed=config.sample.seed),
            "write": config.write.model_copy(
                update={"shards": "rows"}
            ),  # because a sample has no whole shard of the source
        }
    )


def _count_source_shards(config: JobConfig) -> int:
    """Return the number of the source's shards.

    Raises:
        ManifestError: it has none, or too large ones, as when the job starts.
    """
    shards = SourceShards(config.manifest, config.engine.shard_rows)
    manifest = open_manifest(Storage(config.storage), absolute(config.manifest), config.sources.columns)
    for table in manifest.iter_tables(["image_id", "uri", "offset", "length", "size_bytes"]):
        shards.feed(table)
    return len(shards.finish()[0])


def _measurement(
    run: Run, storage: CountingStorage, worker: _SampleWorker, total: int, models: tuple[str, ...]
) -> Measurement:
    requests, listed = dict(storage.requests), tuple(storage.listed)  # before the reads below
    specs = worker.specs
    stats = merge_all(read_all(run.release.read_metas(specs), run.ledger))
    stats.worker_us.pop("start", None)  # because it is spent once a worker, it would weigh too much in a short sample
    outputs = layout.IMAGES if run.config.write.layout == "files" else layout.SHARDS
    return Measurement(
        rows=run.plan.total,
        total_rows=total,
        shards=len(specs),
        seconds=worker.seconds,
        cpu_s=worker.cpu_s,
        start_s=worker.start_s,
        stats=stats,
        time=time_shares(summarise(stats)),
        requests=requests,
        listed=listed,
        output_bytes=_size(run.release.uri, outputs),
        provenance_bytes=_size(run.release.uri, layout.PROVENANCE),
        audit_bytes=_size(run.ledger.uri, layout.LEDGER_AUDIT),
        rows_bytes=_size(run.ledger.uri, layout.LEDGER_ROWS),
        sealed_bytes=sum(_size(run.ledger.uri, own) for files in layout.ENCRYPTED.values() for own in files[1:]),
        cpus=os.cpu_count() or 1,
        models=models,
        service_requests=dict(worker.service_requests),
    )


def _size(base: str, folder: str) -> int:
    """Return the bytes below a folder."""
    return sum(info.size_bytes for info in Storage().list(join(base, folder)))
