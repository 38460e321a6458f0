"""What becomes of tasks that fail: redone, split, given up; and of errors that no repetition heals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import pytest

from anon_batch.divided_work import ATTEMPTS, Dispatch
from anon_batch.errors import AnonBatchError, ClusterError, IntegrityError, TransientStorageError, UsageError
from anon_batch.evaluate.release.drive import measure_all
from anon_batch.evaluate.release.state import ReleaseState
from anon_batch.evaluate.release.tasks import Task, TaskResult
from anon_batch.records import ShardSpec

TASKS = [Task(((ShardSpec(0, 8), (0, 2, 5)), (ShardSpec(8, 8), (1,)))), Task(((ShardSpec(16, 8), (3, 4)),))]


def rows_of(task: Task) -> list[int]:
    return [spec.start + offset for spec, offsets in task.parts for offset in offsets]


def dispatching(process: Callable[[Task], TaskResult]) -> Dispatch[Task, ReleaseState]:
    def dispatch(tasks: Iterable[Task]) -> Iterator[TaskResult]:
        return map(process, tasks)

    return dispatch


def measure(process: Callable[[Task], TaskResult]) -> tuple[ReleaseState, int, list[str]]:
    notes: list[str] = []
    done: list[int] = []
    state = measure_all(TASKS, dispatching(process), done.append, notes.append)
    return state, sum(done), notes


def counted(task: Task) -> TaskResult:
    return TaskResult(task, ReleaseState({f"row {row}": 1 for row in rows_of(task)}))


def test_every_row_is_counted_once() -> None:
    state, done, notes = measure(counted)
    assert (state.rows, done, notes) == (6, 6, [])


def test_a_row_that_always_fails_costs_itself_alone() -> None:
    tries: Counter[int] = Counter()

    def process(task: Task) -> TaskResult:
        tries.update(rows_of(task))
        return TaskResult(task, None, "the worker died") if 2 in rows_of(task) else counted(task)

    state, done, notes = measure(process)
    assert (state.rows, done) == (6, 6)
    assert state.unmeasured == {"poison": 1}
    assert all(state.statuses.get(f"row {row}") == 1 for row in (0, 5, 9, 19, 20))
    assert tries[2] == ATTEMPTS * 3  # whole, half, alone
    assert notes[-1] == "1 row could not be measured: the worker died"


def test_a_task_that_fails_once_is_repeated_whole() -> None:
    failed: set[tuple[int, ...]] = set()

    def process(task: Task) -> TaskResult:
        key = tuple(rows_of(task))
        if key in failed:
            return counted(task)
        failed.add(key)
        return TaskResult(task, None, "hiccup")

    state, done, notes = measure(process)
    assert (state.rows, done, len(notes)) == (6, 6, 2)
    assert not state.unmeasured


@pytest.mark.parametrize(
    ("result", "kind"),
    [
        ({"fatal": 3}, IntegrityError),
        ({"fatal": 2}, UsageError),
        ({"fatal": 75}, ClusterError),
        ({"store_is_away": True}, TransientStorageError),
    ],
)
def test_errors_that_end_the_evaluation(result: dict[str, int], kind: type[AnonBatchError]) -> None:
    with pytest.raises(kind, match="because"):
        measure(lambda task: TaskResult(task, None, "because", **result))
