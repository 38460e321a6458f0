"""The division of a pass into tasks, and what a task returns. Pure functions, no I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from typing import TypeAlias

from anon_batch.divided_work import Attempt
from anon_batch.records import ShardSpec
from anon_batch.shards import gaps

TASK_ROWS = 128


@dataclasses.dataclass(frozen=True, slots=True)
class FaceTask:
    """Rows whose faces one worker looks for in one go.

    Args:
        rows: of the manifest.
        attempts: that failed so far.
    """

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

    def failed_once_more(self) -> FaceTask:
        """Return the same task after a further attempt."""
        return dataclasses.replace(self, attempts=self.attempts + 1)

    def halves(self) -> list[FaceTask]:
        """Return two tasks with half of the rows each, without attempts."""
        first = (self.rows.count + 1) // 2
        pieces = ((self.rows.start, first), (self.rows.start + first, self.rows.count - first))
        return [FaceTask(ShardSpec(*piece)) for piece in pieces]


FaceResult: TypeAlias = Attempt[FaceTask, int]
"""An attempt, and the number of faces that it found."""


def divide(total: int, done: Collection[ShardSpec], rows: int = TASK_ROWS) -> Iterator[FaceTask]:
    """Yield tasks for the rows that no part holds.

    Args:
        total: number of rows.
        done: rows of the parts that exist; parts of halves may lie in another one.
        rows: most rows of a task.
    """
    for gap in gaps(total, done):
        for start in range(gap.start, gap.stop, rows):
            yield FaceTask(ShardSpec(start, min(rows, gap.stop - start)))
