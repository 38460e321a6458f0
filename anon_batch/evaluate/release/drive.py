"""Measure all tasks of a release on any kind of worker: redo what failed, split what keeps failing. Knows nothing of Ray."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from anon_batch.errors import AnonBatchError, ClusterError, ExitCode, IntegrityError, TransientStorageError, UsageError
from anon_batch.evaluate.release.state import ReleaseState
from anon_batch.evaluate.release.tasks import Task, TaskResult

ATTEMPTS = 3
_AGAIN = "nothing was written; run the same command again"

Dispatch = Callable[[Iterable[Task]], Iterator[TaskResult]]
"""Works on tasks as they are asked for, and yields one result for each, in any order."""


def measure_all(
    tasks: Iterable[Task], dispatch: Dispatch, done: Callable[[int], None], note: Callable[[str], None]
) -> ReleaseState:
    """Measure tasks and merge their states.

    A task that fails is repeated; after ATTEMPTS it is split, and a single row that keeps failing is counted as `poison`.

    Args:
        tasks: all tasks.
        dispatch: works on them.
        done: called with the number of rows of each finished task.
        note: called with messages for the user.

    Raises:
        IntegrityError: release or ledger is damaged.
        TransientStorageError: storage kept failing.
        UsageError: an error that no repetition heals.
        ClusterError: all workers were lost.
    """
    state, upcoming = ReleaseState(), deque(tasks)
    while upcoming:
        batch, upcoming = upcoming, deque()
        for result in dispatch(batch):
            if result.state is not None:
                state = state.merge(result.state)
                done(result.task.rows)
            elif result.fatal is not None:
                raise _fatal(result)
            else:
                lost, again = _after_failure(result, note)
                state = state.merge(lost)
                done(lost.rows)
                upcoming += again
                if result.store_is_away and result.task.attempts + 1 >= ATTEMPTS:
                    raise TransientStorageError(f"{result.error}; {_AGAIN}")
    return state


def _after_failure(result: TaskResult, note: Callable[[str], None]) -> tuple[ReleaseState, list[Task]]:
    """Return what is lost for good, and what is tried again."""
    task = result.task.failed_once_more()
    if task.attempts < ATTEMPTS:
        note(f"{task.rows} rows will be measured again: {result.error}")
        return ReleaseState(), [task]
    if task.rows > 1:
        note(f"{task.rows} rows failed {ATTEMPTS} times and are split: {result.error}")
        return ReleaseState(), task.halves()
    note(f"a row could not be measured: {result.error}")
    return ReleaseState(statuses={"unknown": 1}, unmeasured={"poison": 1}), []


def _fatal(result: TaskResult) -> AnonBatchError:
    kinds = {int(ExitCode.INTEGRITY): IntegrityError, int(ExitCode.TRY_AGAIN): ClusterError}
    return kinds.get(result.fatal or 0, UsageError)(result.error)
