"""The division of a release into tasks for finding rows, and what a task returns. Knows nothing of Ray."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from anon_batch.divided_work import Attempt, Dispatch, Words, do_all
from anon_batch.formats.touched_rows import TouchedRows
from anon_batch.records import ShardSpec

TASK_ROWS = 64
UNFINDABLE = "poison"  # reason of a row whose search ends its worker's process each time
_WORDS = Words("searched", "nothing was changed; run the same command again")


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

    @property
    def rows_count(self) -> int:
        """Number of rows."""
        return self.rows.count

    @property
    def title(self) -> str:
        """What messages call the rows."""
        first, last = self.rows.start, self.rows.stop - 1
        return f"row {first}" if first == last else f"rows {first} to {last}"

    def failed_once_more(self) -> FindTask:
        """Return the same task after a further attempt."""
        return dataclasses.replace(self, attempts=self.attempts + 1)

    def halves(self) -> list[FindTask]:
        """Return two tasks with half of the rows each, without attempts."""
        first = (self.rows.count + 1) // 2
        middle = self.rows.start + first
        pieces = [ShardSpec(self.rows.start, first), ShardSpec(middle, self.rows.count - first)]
        return [FindTask(self.spec, piece) for piece in pieces]


FindResult: TypeAlias = Attempt[FindTask, TouchedRows]


def divide(shards: Iterable[ShardSpec], *, searched: bool) -> Iterator[FindTask]:
    """Yield tasks in row order: whole shards, or at most `TASK_ROWS` rows of one shard if their images are searched."""
    for spec in shards:
        rows = TASK_ROWS if searched else spec.count
        for start in range(spec.start, spec.stop, rows):
            yield FindTask(spec, ShardSpec(start, min(rows, spec.stop - start)))


def find_all(
    tasks: Iterable[FindTask],
    dispatch: Dispatch[FindTask, TouchedRows],
    done: Callable[[FindTask, TouchedRows], None],
    note: Callable[[str], None],
) -> None:
    """Do all tasks; a single row that keeps failing is counted as not searched. Arguments and errors as those of `do_all`."""
    do_all(tasks, dispatch, done, lambda task: TouchedRows((), {UNFINDABLE: task.rows_count}), note, _WORDS)
