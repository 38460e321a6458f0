"""Measure all tasks of a release on any kind of worker, and merge their states."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from anon_batch.divided_work import Dispatch, Words, do_all
from anon_batch.evaluate.release.state import ReleaseState
from anon_batch.evaluate.release.tasks import Task

_WORDS = Words("measured", "nothing was written; run the same command again")


def measure_all(
    tasks: Iterable[Task],
    dispatch: Dispatch[Task, ReleaseState],
    done: Callable[[int], None],
    note: Callable[[str], None],
) -> ReleaseState:
    """Measure tasks and merge their states; a single row that keeps failing is counted as `poison`.

    Args:
        tasks: all tasks.
        dispatch: works on them.
        done: called with the number of rows of each finished task.
        note: called with messages for the user.

    Raises:
        AnonBatchError: see `do_all`.
    """
    state = ReleaseState()

    def add(task: Task, measured: ReleaseState) -> None:
        nonlocal state
        state = state.merge(measured)
        done(task.rows_count)

    do_all(tasks, dispatch, add, _give_up, note, _WORDS)
    return state


def _give_up(task: Task) -> ReleaseState:
    return ReleaseState(statuses={"unknown": task.rows_count}, unmeasured={"poison": task.rows_count})
