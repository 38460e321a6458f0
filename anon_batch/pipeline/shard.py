"""One attempt at one shard, from its rows to its commit."""

from __future__ import annotations

import dataclasses
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

from anon_batch.anonymizer import Anonymizer
from anon_batch.errors import (
    ConfigError,
    IntegrityError,
    ObjectUnavailableError,
    StorageError,
    TransientStorageError,
    error_code,
    trace_without_text,
)
from anon_batch.formats import layout
from anon_batch.formats.layout import Kind
from anon_batch.formats.seals_json import Seals
from anon_batch.manifest.allowed import AllowedSources
from anon_batch.manifest.fetch import SourceReader
from anon_batch.memory import free_memory
from anon_batch.models.runtime import Runtime
from anon_batch.pipeline.attempts import Attempt, begin_attempt
from anon_batch.pipeline.commit import FinishedShard, commit, statistics
from anon_batch.pipeline.executor import InlineExecutor, RowExecutor
from anon_batch.pipeline.face_index import FaceIndexer
from anon_batch.pipeline.keeping import Keeper
from anon_batch.pipeline.run import Run
from anon_batch.pipeline.sealer import Sealer
from anon_batch.pipeline.stages import FinishedRow, ImageStages
from anon_batch.pipeline.timing import Stopwatch, WorkerClock
from anon_batch.recognition.embedder import Embedder, load_embedder
from anon_batch.records import ManifestRow, ShardResult, ShardSpec
from anon_batch.redaction import redact
from anon_batch.stats import ShardStats
from anon_batch.stats.shares import BUSY, NETWORKS
from anon_batch.storage.retry import store_of


class ShardProcessor:
    """Load detector and methods once, then process shards.

    Args:
        run: what to do and where.
    """

    def __init__(self, run: Run) -> None:
        config, begin = run.config, time.perf_counter()
        self._run = run
        runtime = Runtime.for_job(config, run.storage)
        self.anonymizer = Anonymizer.from_config(config.image, runtime, run.run_key)
        self._embedder = _load_embedder(run.kept.get("link"), runtime)
        self._planned = run.planned_rows()
        self._io = ThreadPoolExecutor(config.engine.io_threads, thread_name_prefix="io")
        self._cpu = self._io if runtime.device == "cuda" else _cpu_executor(runtime.threads - 1)
        self.progress_at = time.monotonic()
        self.busy = False
        self._time = WorkerClock(begin)
        self._time.lap("start")

    def process(self, spec: ShardSpec) -> ShardResult:
        """Make one attempt at a shard. Never raise: every error is returned as a result."""
        begin = time.perf_counter()
        self._time.lap("between")
        result = self._guarded(spec, begin)
        if result.outcome == "committed":
            self._time.committed()
        else:
            self._time.discarded()
        return dataclasses.replace(result, retries=self._run.storage.take_repetitions())

    def _guarded(self, spec: ShardSpec, begin: float) -> ShardResult:
        try:
            with self._watched():
                return self._attempt(spec, begin)
        except (StorageError, IntegrityError) as exc:
            error = _error(spec, begin, exc, str(exc), retryable=exc.retryable)
            is_away = isinstance(exc, TransientStorageError) and not isinstance(exc, ObjectUnavailableError)
            place = store_of(exc.uri) if isinstance(exc, StorageError) and exc.uri else ""
            return dataclasses.replace(error, store_is_away=is_away, place=place)
        except Exception as exc:
            error = _error(spec, begin, exc, redact(traceback.format_exc()), retryable=True)
            return dataclasses.replace(error, place=trace_without_text(exc))

    @contextmanager
    def _watched(self) -> Iterator[None]:
        self.progress_at, self.busy = time.monotonic(), True
        try:
            yield
        finally:
            self.busy = False

    def _attempt(self, spec: ShardSpec, begin: float) -> ShardResult:
        run, write = self._run, self._run.config.write
        if run.release.has_part(spec):
            return ShardResult(spec, "already_committed")
        attempt = begin_attempt(run.ledger, spec, run.invocation, run.config.engine.attempts)
        if attempt is None:
            return ShardResult(spec, "exhausted")
        rows = self._planned.read(spec)
        key = layout.shard_file(spec.name, attempt.name, write.layout)
        sink = run.open_sink(key, self._planned.extra_schema, rows)
        keepers = self._keepers()
        stages = ImageStages(
            self.anonymizer,
            self._reader(),
            sink,
            run.config.limits.max_bytes,
            last_chance=spec.count == 1 and attempt.is_last,
            keepers=keepers,
        )
        self._time.lap("open")
        finished = self._finish_all(stages, rows, attempt)
        with stages.timer("put"):
            shard_sha256 = sink.close()
        self._time.lap("close")
        stats = statistics(finished)
        self._add_times(stats, stages.timer)
        keks = {kind: keeper.wrapped for kind, keeper in keepers.items()}
        shard = FinishedShard(spec, attempt.name, finished, stats, shard_sha256, keks)
        if not commit(run, shard, self._planned.extra_schema):
            return ShardResult(spec, "already_committed")
        return shard.result(time.perf_counter() - begin, dict(stages.timer.seconds))

    def _keepers(self) -> dict[Kind, Keeper]:
        """Return what encrypts something of each image of one attempt, with new keys."""
        run_id, seals, links = self._run.plan.run_id, self._run.kept.get("seal"), self._run.kept.get("link")
        keepers: dict[Kind, Keeper] = {}
        if seals is not None:
            keepers["seal"] = Sealer(run_id, seals.recipients, "file" if seals.what == "file" else "region", seals.need)
        if links is not None and self._embedder is not None:
            least_px = int(links.about["min_face_px"])
            keepers["link"] = FaceIndexer(run_id, links.recipients, self._embedder, least_px, links.need)
        return keepers

    def _reader(self) -> SourceReader:
        config = self._run.config
        return SourceReader(self._run.storage, AllowedSources.of(config.sources, config.manifest))

    def _finish_all(self, stages: ImageStages, rows: Sequence[ManifestRow], attempt: Attempt) -> list[FinishedRow]:
        config = self._run.config
        if attempt.share_of(2) == 1:
            free_memory()
        batch, ahead = attempt.share_of(config.detect.batch_size), attempt.share_of(config.engine.read_ahead)
        executor = RowExecutor(stages, self._io, self._cpu, batch, ahead)
        finished = []
        for row in executor.run(list(rows)):
            self.progress_at = time.monotonic()
            if row.provenance.reason == "out_of_memory" and not (attempt.is_last or batch == ahead == 1):
                raise MemoryError(f"too little memory for {row.row.image_id!r} beside other images")
            finished.append(row)
        here = BUSY if isinstance(self._cpu, InlineExecutor) else NETWORKS  # the stages that run in this thread alone
        busy = {stage: stages.timer.seconds.get(stage, 0.0) for stage in here}
        self._time.lap("other", {**busy, **executor.waited_s})
        return finished

    def _add_times(self, stats: ShardStats, clock: Stopwatch) -> None:
        for stage, spent in clock.seconds.items():
            stats.add_seconds(stage, spent, clock.cpu_seconds[stage])
        phases, cpu_s = self._time.report()
        stats.add_worker(phases, cpu_s)


def _load_embedder(links: Seals | None, runtime: Runtime) -> Embedder | None:
    """Return the recogniser of the index of faces; None without an index.

    Raises:
        ConfigError: this machine has another one than the run began with.
    """
    if links is None:
        return None
    address = str(links.about["embedder"])
    embedder = load_embedder(runtime.store, address, 1)
    if embedder.facts() != links.about["features"]:
        raise ConfigError(f"link.embedder: {address} is not the recogniser that the run began with")
    return embedder


def _cpu_executor(cpus: int) -> Executor:
    """Return where images are decoded and encoded: the thread that drives the networks, if no other CPU is free."""
    return ThreadPoolExecutor(cpus, thread_name_prefix="cpu") if cpus > 0 else InlineExecutor()


def _error(spec: ShardSpec, begin: float, exc: Exception, message: str, *, retryable: bool) -> ShardResult:
    seconds = time.perf_counter() - begin
    return ShardResult(spec, "error", seconds=seconds, error=message, retryable=retryable, code=error_code(exc))
