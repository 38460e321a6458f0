"""The division of a release into tasks for finding rows, and what a task returns. Knows nothing of Ray."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from anon_batch.errors import AnonBatchError, ClusterError, ExitCode, IntegrityError, TransientStorageError, UsageError
from anon_batch.formats.touched_rows import TouchedRows
from anon_batch.records import ShardSpec

TASK_ROWS = 64
ATTEMPTS = 3
UNFINDABLE = "poison"  # reason of a row whose search ends its worker's process each time
_AGAIN = "nothing was changed; run the same command again"


@dataclasses.dataclass(frozen=True, slots=True)
class FindTask:
    """What one worker looks at in one go.

    Args:
        spec: a shard of the release.
        rows: a range inside it, in numbers of the whole release.
        attempts: that failed so far.
    """

    spec: ShardSpec
    rows: ShardSpec
    attempts: int = 0

    def halves(self) -> list[FindTask]:
        """Return two tasks with half of the rows each, without attempts."""
        first = (self.rows.count + 1) // 2
        middle = self.rows.start + first
        pieces = [ShardSpec(self.rows.start, first), ShardSpec(middle, self.rows.count - first)]
        return [FindTask(self.spec, piece) for piece in pieces]


@dataclasses.dataclass(frozen=True, slots=True)
class FindResult:
    """How an attempt at a task ended.

    Args:
        task: the rows.
        found: None if the attempt failed.
        error: what failed, without addresses of sources.
        fatal: the exit code of an error that no further attempt can heal; None if one may.
        store_is_away: whether a store kept failing for everybody.
    """

    task: FindTask
    found: TouchedRows | None
    error: str = ""
    fatal: int | None = None
    store_is_away: bool = False


Dispatch = Callable[[Iterable[FindTask]], Iterator[FindResult]]
"""Works on tasks as they are asked for, and yields one result for each, in any order."""


def divide(shards: Iterable[ShardSpec], *, searched: bool) -> Iterator[FindTask]:
    """Yield tasks in row order: whole shards, or at most `TASK_ROWS` rows of one shard if their images are searched."""
    for spec in shards:
        rows = TASK_ROWS if searched else spec.count
        for start in range(spec.start, spec.stop, rows):
            yield FindTask(spec, ShardSpec(start, min(rows, spec.stop - start)))


def find_all(
    tasks: Iterable[FindTask],
    dispatch: Dispatch,
    done: Callable[[FindTask, TouchedRows], None],
    note: Callable[[str], None],
) -> None:
    """Do all tasks. One that fails is repeated; after ATTEMPTS it is split, and a single row that keeps failing is unsearched.

    Args:
        tasks: all tasks.
        dispatch: works on them.
        done: called with each finished task and what it found.
        note: called with messages for the user.

    Raises:
        IntegrityError: release or ledger is damaged.
        TransientStorageError: storage kept failing.
        UsageError: an error that no repetition heals.
        ClusterError: all workers were lost.
    """
    upcoming = deque(tasks)
    while upcoming:
        batch, upcoming = upcoming, deque()
        for result in dispatch(batch):
            if result.found is not None:
                done(result.task, result.found)
            elif result.fatal is not None:
                raise _fatal(result)
            else:
                upcoming += _after_failure(result, done, note)


def _after_failure(
    result: FindResult, done: Callable[[FindTask, TouchedRows], None], note: Callable[[str], None]
) -> list[FindTask]:
    """Return what is tried again."""
    task = dataclasses.replace(result.task, attempts=result.task.attempts + 1)
    rows = f"rows {task.rows.start} to {task.rows.stop - 1}"
    if task.attempts < ATTEMPTS:
        note(f"{rows} will be searched again: {result.error}")
        return [task]
    if result.store_is_away:
        raise TransientStorageError(f"{result.error}; {_AGAIN}")
    if task.rows.count > 1:
        note(f"{rows} failed {ATTEMPTS} times and are split: {result.error}")
        return task.halves()
    note(f"row {task.rows.start} could not be searched: {result.error}")
    done(task, TouchedRows((), {UNFINDABLE: 1}))
    return []


def _fatal(result: FindResult) -> AnonBatchError:
    kinds = {int(ExitCode.INTEGRITY): IntegrityError, int(ExitCode.TRY_AGAIN): ClusterError}
    return kinds.get(result.fatal or 0, UsageError)(result.error)
