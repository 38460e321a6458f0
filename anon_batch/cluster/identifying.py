"""Compares the faces of a job: finds them in this process where there are few images, else with Ray actors; assigns them here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from ray.exceptions import RayError

from anon_batch.cluster.actor import Actor
from anon_batch.cluster.pool import ActorPool
from anon_batch.cluster.ray_cluster import check_reachable, connected
from anon_batch.cluster.room import worker_count
from anon_batch.config import JobConfig
from anon_batch.divided_work import Words, do_all
from anon_batch.errors import ClusterError, ConfigError
from anon_batch.formats.faces import FACES_SCHEMA, FacesPart
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.persons import PersonsJson
from anon_batch.models.runtime import Runtime
from anon_batch.pipeline.identify.assign import assign
from anon_batch.pipeline.identify.basis import check_basis, compares_faces
from anon_batch.pipeline.identify.job import IdentifyJob, discard, open_pass, read_plan
from anon_batch.pipeline.identify.tasks import TASK_ROWS, FaceResult, FaceTask, divide
from anon_batch.pipeline.identify.worker import FaceFinder, name_of
from anon_batch.pipeline.preflight import preflight
from anon_batch.pipeline.rounds import Stops
from anon_batch.pipeline.secret_keys import identity_key_of
from anon_batch.process import limit_threads
from anon_batch.recognition.embedder import load_embedder
from anon_batch.storage import Storage

SMALL_ROWS = 200  # up to which starting Ray on this machine takes longer than it saves
_TASK_RETRIES = 2
_WORDS = Words("searched", "faces found so far stay; run the same command again")
UNREAD = "poison"  # reason of a row whose search ends its worker's process each time


class Reporter(Protocol):
    """Hears of the progress of a pass."""

    def started(self, rows: int, done: int) -> None:
        """`done` of `rows` rows were searched before."""

    def done(self, rows: int) -> None:
        """So many more rows are searched."""

    def note(self, text: str) -> None:
        """Something to tell the user."""


class FaceActor(Actor[FaceFinder]):
    """Finds the faces of one task at a time. Every exception is returned as a result.

    Args:
        job: what to look for.
    """

    def __init__(self, job: IdentifyJob) -> None:
        super().__init__(job.config.engine, lambda: FaceFinder(job))

    def process(self, task: FaceTask) -> FaceResult:
        """Make one attempt at a task."""
        if self.worker is None:
            return FaceResult(task, None, self.start_error, self.start_exit_code)
        return self.worker.process(task)


@dataclass(frozen=True, slots=True)
class Identified:
    """A pass that has ended.

    Args:
        summary: how persons were found.
        is_new: whether this command found them.
        keeps_features: whether the features of faces are still in the ledger.
    """

    summary: PersonsJson
    is_new: bool
    keeps_features: bool


def identify_job(config: JobConfig, reporter: Reporter, stops: Stops = lambda: None) -> Identified:
    """Find the faces of a job that show one person, or resume that.

    Args:
        config: a job with `identity.source: cluster`.
        reporter: hears of the progress.
        stops: returns the error that ends the pass, once no further task should be started.

    Raises:
        UsageError: wrong configuration, manifest or models, or the result is not what the job allows.
        IntegrityError: the ledger is damaged.
        TransientStorageError: storage kept failing; run the same command again to resume.
        ClusterError: Ray lost all workers; run the same command again to resume.
        AnonBatchError: what `stops` returned.
    """
    if not compares_faces(config):
        raise ConfigError("nothing to identify: the job has no identity.scope, or its identity.source is not cluster")
    check_basis(config)
    check_reachable(config.engine)
    if any(uri.startswith("memory://") for uri in (config.manifest, config.ledger_uri)):
        raise ConfigError(
            "memory:// is visible to one process only; use a folder or a bucket that all workers can reach"
        )
    models = preflight(config)
    limit_threads(max(1, int(config.engine.num_cpus)))
    runtime = Runtime.for_job(config, Storage(config.storage))
    embedder = name_of(load_embedder(runtime.store, config.identity.embedder, runtime.threads))
    job = open_pass(config, models, embedder, reporter.note)
    ledger = Ledger(Storage(config.storage), config.ledger_uri)
    if isinstance(job, PersonsJson):
        summary, is_new = job, False
    else:
        _find_all(job, reporter, stops)
        read_key = identity_key_of(config, ledger, create=True)
        summary, is_new = assign(job, b"" if read_key is None else read_key(), reporter.note), True
    if not config.identity.keep_features:
        discard(ledger)
    return Identified(summary, is_new, read_plan(ledger) is not None)


def discard_faces(config: JobConfig) -> int:
    """Delete the faces and features that a ledger holds; return the number of their parts. Persons stay."""
    return discard(Ledger(Storage(config.storage), config.ledger_uri))


def _find_all(job: IdentifyJob, reporter: Reporter, stops: Stops) -> None:
    """Find the faces of all rows that have none yet."""
    tasks = list(divide(job.plan.total, job.parts(), min(TASK_ROWS, job.config.engine.shard_rows)))
    reporter.started(job.plan.total, job.plan.total - sum(task.rows_count for task in tasks))
    key = job.read_key()

    def give_up(task: FaceTask) -> int:
        job.put_part(task.rows, FacesPart(FACES_SCHEMA.empty_table(), {UNREAD: task.rows_count}), key)
        return 0

    def until_stopped(some: Iterable[FaceTask]) -> Iterator[FaceTask]:
        for task in some:
            if (error := stops()) is not None:
                raise error
            yield task

    with ExitStack() as stack:
        dispatch = _dispatch(job, sum(task.rows_count for task in tasks), reporter.note, stack)
        try:
            do_all(
                tasks,
                lambda some: dispatch(until_stopped(some)),
                lambda task, _: reporter.done(task.rows_count),
                give_up,
                reporter.note,
                _WORDS,
            )
        except RayError as exc:
            raise ClusterError(f"{str(exc).strip().splitlines()[0]}; run the same command again") from exc


def _dispatch(
    job: IdentifyJob, rows: int, note: Callable[[str], None], stack: ExitStack
) -> Callable[[Iterable[FaceTask]], Iterator[FaceResult]]:
    """Return what works on tasks; Ray is connected to while the stack is open."""
    engine = job.config.engine
    if rows == 0:
        return lambda some: iter(())
    if engine.address is None and engine.workers is None and rows <= SMALL_ROWS:
        here = FaceFinder(job)
        return lambda some: map(here.process, some)

    def lost(task: FaceTask, why: str) -> FaceResult:
        return FaceResult(task, None, why)

    address = stack.enter_context(connected(engine, note))
    workers = worker_count(engine, joined=address is not None, note=note)
    pool: ActorPool[FaceTask, FaceResult] = ActorPool(FaceActor, job, engine, workers, note, lost, _TASK_RETRIES)
    return pool.map
