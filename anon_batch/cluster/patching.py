"""Does the work of a patch: finds rows in this process where there are few, else with Ray actors; does them again on Ray."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ray.exceptions import RayError

from anon_batch.cluster.actor import Actor
from anon_batch.cluster.driver import process_shards
from anon_batch.cluster.pool import ActorPool
from anon_batch.cluster.ray_cluster import check_reachable, connected
from anon_batch.cluster.room import worker_count
from anon_batch.config import JobConfig
from anon_batch.errors import ClusterError, ConfigError
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.release import Release
from anon_batch.pipeline.patch.find import RowFinder
from anon_batch.pipeline.patch.job import Ask, PatchJob, open_patch
from anon_batch.pipeline.patch.patch import PatchSummary, Reporter, finish_begun, patch
from anon_batch.pipeline.patch.staging import StagedRun
from anon_batch.pipeline.patch.tasks import FindResult, FindTask
from anon_batch.pipeline.preflight import preflight
from anon_batch.pipeline.rounds import Stops, describe_setback
from anon_batch.pipeline.run import Run
from anon_batch.process import limit_threads
from anon_batch.records import ShardResult

SMALL_ROWS = 200  # up to which starting Ray on this machine takes longer than it saves
_TASK_RETRIES = 2
_READERS = 8  # shards whose parts are read at a time


class FindActor(Actor[RowFinder]):
    """Finds the rows of one task at a time. Every exception is returned as a result.

    Args:
        job: what to look for.
    """

    def __init__(self, job: PatchJob) -> None:
        super().__init__(job.config.engine, lambda: RowFinder(job))

    def process(self, task: FindTask) -> FindResult:
        """Make one attempt at a task."""
        if self.worker is None:
            return FindResult(task, None, self.start_error, self.start_exit_code)
        return self.worker.process(task)


@dataclass(frozen=True, slots=True)
class _ShardReporter:
    """Passes on what is heard of the shards of a staged run."""

    reporter: Reporter

    def started(self, run: Run, done: Counter[str], *, resumed: bool) -> None:
        """Nothing, because the patch has said what it does."""

    def shard(self, result: ShardResult) -> None:
        """Count the rows of a shard."""
        self.reporter.done(sum(result.statuses.values()))
        if (setback := describe_setback(result)) is not None:
            self.reporter.note(setback)

    def note(self, text: str) -> None:
        """Pass on a message."""
        self.reporter.note(text)


@dataclass(frozen=True, slots=True)
class RayWorkers:
    """Does the work of a patch. Without `engine.address` and `engine.workers`, few rows are found in this process.

    Args:
        reporter: hears of the rows that are done again, and of what happens to workers.
        stops: returns the error that ends the work, once nothing new should be started.
    """

    reporter: Reporter
    stops: Stops = lambda: None

    def find(self, job: PatchJob, tasks: Iterable[FindTask]) -> Iterator[FindResult]:
        """Make one attempt at each task.

        Raises:
            ClusterError: Ray lost all workers.
            AnonBatchError: what `stops` returned.
        """
        listed, engine = list(tasks), job.config.engine
        rows = sum(task.rows.count for task in listed)
        if job.changes.search == "none":
            with ThreadPoolExecutor(_READERS) as readers:
                yield from readers.map(RowFinder(job).process, self._until_stopped(listed))
            return
        if engine.address is None and engine.workers is None and rows <= SMALL_ROWS:
            limit_threads(max(1, int(engine.num_cpus)))
            yield from map(RowFinder(job).process, self._until_stopped(listed))
            return

        def lost(task: FindTask, why: str) -> FindResult:
            return FindResult(task, None, why)

        note = self.reporter.note
        with connected(engine, note) as address:
            workers = worker_count(engine, joined=address is not None, note=note)
            pool: ActorPool[FindTask, FindResult] = ActorPool(
                FindActor, job, engine, workers, note, lost, _TASK_RETRIES
            )
            try:
                yield from pool.map(self._until_stopped(listed))
            except RayError as exc:
                raise ClusterError(f"{str(exc).strip().splitlines()[0]}; run the same command again") from exc

    def redo(self, run: StagedRun) -> None:
        """Process the shards of a staged run that have no commit yet; raise as `run_job`."""
        process_shards(run, _ShardReporter(self.reporter), self.stops)

    def _until_stopped(self, tasks: Iterable[FindTask]) -> Iterator[FindTask]:
        for task in tasks:
            if (error := self.stops()) is not None:
                raise error
            yield task


def patch_release(
    release: Release,
    ledger: Ledger,
    job_of: Callable[[], JobConfig],
    ask: Ask,
    reporter: Reporter,
    *,
    reads_manifest: bool,
    dry_run: bool = False,
    stops: Stops = lambda: None,
) -> tuple[PatchJob, PatchSummary]:
    """Patch a release, or end the patch that an interrupted command began.

    Args:
        release: what is patched.
        ledger: of its run.
        job_of: returns the job that does rows again, by the current version.
        ask: which rows are asked for.
        reporter: hears of the progress.
        reads_manifest: see `open_patch`.
        dry_run: end when the rows are found.
        stops: returns the error that ends the work, once nothing new should be started.

    Raises:
        AnonBatchError: see `open_patch` and `patch`.
    """
    if any(uri.startswith("memory://") for uri in (release.uri, ledger.uri)):
        raise ConfigError(
            "memory:// is visible to one process only; use a folder or a bucket that all workers can reach"
        )
    begun, ended = ledger.version_in_the_making(), finish_begun(release, ledger)
    config = job_of()
    check_reachable(config.engine)
    job = open_patch(release, ledger, config, ask, preflight, reads_manifest=reads_manifest)
    if ended is not None:
        reporter.note(f"version {ended.version} was published by an interrupted command, and is finished now")
        if begun is not None and dict(begun.request) == job.request:
            return job, ended
    return job, patch(job, RayWorkers(reporter, stops), reporter, dry_run=dry_run)
