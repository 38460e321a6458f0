"""One attempt at one shard, from rows to commit. The part's existence is the commit; everything else comes before it."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

import pyarrow as pa

from anon_batch import __version__
from anon_batch.anonymize.ladder import build_ladder
from anon_batch.detect.ensemble import build_detector
from anon_batch.errors import IntegrityError, ObjectExistsError, StorageError
from anon_batch.formats import layout
from anon_batch.formats.audit import AuditRow, write_audit
from anon_batch.formats.part import PartMeta
from anon_batch.formats.provenance import write_provenance
from anon_batch.manifest.fetch import SourceReader
from anon_batch.models.runtime import Runtime
from anon_batch.pipeline import attempts
from anon_batch.pipeline.executor import Flow, Inline
from anon_batch.pipeline.run import Run, now
from anon_batch.pipeline.scan_manifest import extra_schema, read_rows
from anon_batch.pipeline.stages import DecodedRow, FinishedRow, ReadRow, RowStages
from anon_batch.pipeline.timing import Stopwatch, WorkerClock
from anon_batch.pipeline.writers import open_sink
from anon_batch.records import ManifestRow, ProvenanceRow, ShardResult, ShardSpec
from anon_batch.stats import ShardStats, match
from anon_batch.stats.shares import BUSY, NETWORKS
from anon_batch.storage import Storage, join


class ShardProcessor:
    """Holds detector and methods, and takes shards through them.

    Args:
        run: what to do and where.
    """

    def __init__(self, run: Run) -> None:
        config, begin = run.config, time.perf_counter()
        self._run = run
        self._storage = run.storage()
        runtime = Runtime.for_job(config, self._storage)
        threads, device = runtime.threads, runtime.device
        self._detector = build_detector(config.detect, runtime)
        self._ladder = build_ladder(config.anonymize, runtime.store, threads, device)
        self._extra = extra_schema(self._storage, run.rows, run.plan.total)
        self._io = ThreadPoolExecutor(config.engine.io_threads, thread_name_prefix="io")
        self._cpu = self._io if device == "cuda" else _beside_networks(threads - 1)
        self.progress_at = time.monotonic()
        self.busy = False
        self._time = WorkerClock(begin)
        self._time.lap("start")

    def process(self, spec: ShardSpec) -> ShardResult:
        """One attempt at a shard. Never raises: whatever happens comes back as a result."""
        begin = time.perf_counter()
        self._time.lap("between")
        result = self._guarded(spec, begin)
        if result.outcome == "committed":
            self._time.keep()
        else:
            self._time.lose()
        return result

    def _guarded(self, spec: ShardSpec, begin: float) -> ShardResult:
        try:
            with self._watched():
                return self._attempt(spec, begin)
        except (StorageError, IntegrityError) as exc:
            return _error(spec, begin, str(exc), retryable=exc.retryable)
        except Exception:
            return _error(spec, begin, traceback.format_exc(), retryable=True)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        self.progress_at, self.busy = time.monotonic(), True
        try:
            yield
        finally:
            self.busy = False

    def _attempt(self, spec: ShardSpec, begin: float) -> ShardResult:
        run, storage, engine = self._run, self._storage, self._run.config.engine
        if storage.exists(join(run.output, layout.provenance_part(spec.name))):
            return ShardResult(spec, "already_committed")
        attempt = attempts.begin(storage, run.ledger, spec, run.invocation, engine.attempts)
        if attempt is None:
            return ShardResult(spec, "exhausted")
        rows = read_rows(storage, run.rows, run.plan.total, spec)
        last = spec.count == 1 and attempts.last_of(storage, run.ledger, spec, run.invocation, engine.attempts)
        write = run.config.write
        sink = open_sink(write, storage, run.output, layout.shard_file(spec.name, attempt, write.layout), self._extra)
        stages = RowStages(
            run.config,
            run.run_key,
            self._detector,
            self._ladder,
            SourceReader(storage),
            sink,
            last_chance=last,
        )
        self._time.lap("open")
        finished = self._finish_all(stages, rows)
        with stages.clock("put"):
            shard_sha256 = sink.close()
        self._time.lap("close")
        stats = _statistics(finished)
        self._add_times(stats, stages.clock)
        won = commit(storage, run, spec, attempt, finished, stats, self._extra, shard_sha256)
        if not won:
            return ShardResult(spec, "already_committed")
        return ShardResult(
            spec,
            "committed",
            dict(Counter(row.provenance.status for row in finished)),
            sum(len(row.provenance.regions) for row in finished),
            time.perf_counter() - begin,
            dict(stages.clock.seconds),
        )

    def _finish_all(self, stages: RowStages, rows: list[ManifestRow]) -> list[FinishedRow]:
        config = self._run.config
        flow: Flow[ReadRow, DecodedRow, FinishedRow] = Flow(
            self._io,
            self._cpu,
            stages.read,
            stages.decode,
            stages.treat,
            config.detect.batch_size,
            config.engine.read_ahead,
        )
        finished = []
        for row in flow.run(rows):
            self.progress_at = time.monotonic()
            finished.append(row)
        here = BUSY if isinstance(self._cpu, Inline) else NETWORKS  # the stages that run in this thread alone
        busy = {stage: stages.clock.seconds.get(stage, 0.0) for stage in here}
        self._time.lap("other", {**busy, **flow.waited_s})
        return finished

    def _add_times(self, stats: ShardStats, clock: Stopwatch) -> None:
        for stage, spent in clock.seconds.items():
            stats.add_seconds(stage, spent, clock.cpu_seconds[stage])
        phases, cpu_s = self._time.take()
        stats.add_worker(phases, cpu_s)


def _beside_networks(cpus: int) -> Executor:
    """Where pictures are decoded and encoded: in the thread that drives the networks, if there is no CPU for another."""
    return ThreadPoolExecutor(cpus, thread_name_prefix="cpu") if cpus > 0 else Inline()


def commit(
    storage: Storage,
    run: Run,
    spec: ShardSpec,
    attempt: str,
    finished: list[FinishedRow],
    stats: ShardStats,
    extra: pa.Schema,
    shard_sha256: str = "",
) -> bool:
    """Puts the audit part, then the provenance part if nobody has.

    Returns:
        False when another attempt has committed the shard: its part counts, ours is waste.
    """
    meta = PartMeta(spec.name, attempt, run.plan.run_id, now(), stats.to_json(), shard_sha256)
    audit = write_audit([_audit(row) for row in finished], meta)
    storage.put(join(run.ledger, layout.audit_part(spec.name, attempt)), audit)
    part = write_provenance([row.provenance for row in finished], extra, run.plan.models, __version__, meta)
    try:
        storage.put_if_absent(join(run.output, layout.provenance_part(spec.name)), part)
    except ObjectExistsError:
        return False
    return True


def commit_poison(storage: Storage, run: Run, spec: ShardSpec) -> ShardResult:
    """Gives up a single row that no attempt survived: it ends as `failed(poison)`."""
    [row] = read_rows(storage, run.rows, run.plan.total, spec)
    detail = "every attempt at this row ended its worker's process or could not be committed"
    provenance = ProvenanceRow(row.image_id, "failed", "poison", extra=row.extra)
    finished = [FinishedRow(row, provenance, None, None, None, detail)]
    extra = extra_schema(storage, run.rows, run.plan.total)
    attempt = f"{run.invocation}-poison"
    if not commit(storage, run, spec, attempt, finished, _statistics(finished), extra):
        return ShardResult(spec, "already_committed")  # an attempt that was thought lost was only late
    return ShardResult(spec, "committed", {"failed": 1})


def _statistics(finished: list[FinishedRow]) -> ShardStats:
    stats = ShardStats()
    for row in finished:
        out = row.provenance
        stats.add_row(
            out.status,
            out.reason,
            row.detections,
            row.row.regions,
            methods=_methods(out),
            bytes_in=row.source_size_bytes or 0,
            bytes_out=out.size_bytes or 0,
        )
    return stats


def _methods(out: ProvenanceRow) -> dict[int, str]:
    return dict(enumerate(region.method for region in out.regions))


def _audit(row: FinishedRow) -> AuditRow:
    source, out = row.row, row.provenance
    detail = None if row.detail is None else row.detail.encode(errors="backslashreplace").decode()  # lone surrogates
    found, truth = row.detections, source.regions
    matches = match(found, truth).face_detection.tolist() if found is not None and truth is not None else []
    return AuditRow(
        source.image_id,
        source.uri,
        source.offset,
        source.length,
        row.source_sha256,
        row.source_size_bytes,
        out.status,
        out.reason,
        detail,
        found,
        _methods(out),
        truth,
        matches,
    )


def _error(spec: ShardSpec, begin: float, message: str, *, retryable: bool) -> ShardResult:
    return ShardResult(spec, "error", seconds=time.perf_counter() - begin, error=message, retryable=retryable)
