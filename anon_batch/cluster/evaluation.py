"""Measures a finished release: in this process where it is small, else with Ray actors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ray.exceptions import RayError

from anon_batch.cluster.actor import Actor
from anon_batch.cluster.pool import ActorPool
from anon_batch.cluster.ray_cluster import check_reachable, connected
from anon_batch.cluster.room import worker_count
from anon_batch.errors import ClusterError
from anon_batch.evaluate.release.draw import Drawn, draw_rows
from anon_batch.evaluate.release.drive import measure_all
from anon_batch.evaluate.release.job import ReleaseJob
from anon_batch.evaluate.release.state import ReleaseState
from anon_batch.evaluate.release.tasks import Task, TaskResult, divide
from anon_batch.evaluate.release.worker import ReleaseMeasurer
from anon_batch.process import limit_threads

TASK_ROWS = 64
SMALL_ROWS = 200  # up to which starting Ray on this machine takes longer than it saves
_TASK_RETRIES = 2


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows are measured.

    Args:
        limit: number of rows; None for no limit.
        share: probability of each row; None for all rows.
        seed: that they are drawn with.
        task_rows: rows that a worker measures at a time; it does not change the result.
    """

    limit: int | None = None
    share: float | None = None
    seed: int = 0
    task_rows: int = TASK_ROWS


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured.

    Args:
        drawn: the sampled rows.
        state: of all of them.
        models: `name@sha256` of every model that measured.
    """

    drawn: Drawn
    state: ReleaseState
    models: tuple[str, ...]


class EvaluationActor(Actor[ReleaseMeasurer]):
    """Measures one task at a time. Every exception is returned as a result.

    Args:
        job: what to measure.
    """

    def __init__(self, job: ReleaseJob) -> None:
        super().__init__(job.config.engine, lambda: ReleaseMeasurer(job))

    def process(self, task: Task) -> TaskResult:
        """Make one attempt at a task."""
        if self.worker is None:
            return TaskResult(task, None, self.start_error, self.start_exit_code)
        return self.worker.process(task)


def measure_release(
    job: ReleaseJob,
    selection: Selection,
    started: Callable[[int], None],
    done: Callable[[int], None],
    note: Callable[[str], None],
) -> Measured:
    """Measure the sampled rows of a release.

    Args:
        job: what to measure. Without `engine.address` and `engine.workers`, up to SMALL_ROWS rows are measured in this process.
        selection: which rows.
        started: called with the number of sampled rows, before the first is measured.
        done: called with the number of rows of each finished task.
        note: called with messages for the user.

    Raises:
        IntegrityError: release or ledger is damaged.
        StorageError: storage refuses or kept failing.
        UsageError: a model cannot be loaded, or a setting is wrong.
        ClusterError: Ray lost all workers.
    """
    engine = job.config.engine
    check_reachable(engine)
    drawn = draw_rows(job.release, job.run, limit=selection.limit, share=selection.share, seed=selection.seed)
    limit_threads(max(1, int(engine.num_cpus)))
    here = ReleaseMeasurer(job)  # also finds errors of models and options before the first row
    started(drawn.rows)
    tasks = divide(drawn.shards, selection.task_rows)
    if engine.address is None and engine.workers is None and drawn.rows <= SMALL_ROWS:
        state = measure_all(tasks, lambda some: map(here.process, some), done, note)
    else:
        state = _on_ray(job, tasks, done, note)
    return Measured(drawn, state, here.models)


def _on_ray(
    job: ReleaseJob, tasks: Iterable[Task], done: Callable[[int], None], note: Callable[[str], None]
) -> ReleaseState:
    engine = job.config.engine

    def lost(task: Task, why: str) -> TaskResult:
        return TaskResult(task, None, why)

    with connected(engine, note) as address:
        workers = worker_count(engine, joined=address is not None, note=note)
        pool: ActorPool[Task, TaskResult] = ActorPool(EvaluationActor, job, engine, workers, note, lost, _TASK_RETRIES)

        def dispatch(some: Iterable[Task]) -> Iterator[Any]:
            return pool.map(some)

        try:
            return measure_all(tasks, dispatch, done, note)
        except RayError as exc:
            raise ClusterError(f"{str(exc).strip().splitlines()[0]}; run the same command again") from exc
