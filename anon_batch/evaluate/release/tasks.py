"""The division of the sampled rows into tasks, and what a task returns. Pure functions, no I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from anon_batch.divided_work import Attempt
from anon_batch.evaluate.release.state import ReleaseState
from anon_batch.records import ShardSpec
from anon_batch.units import format_counted

Rows = tuple[int, ...]  # offsets in a shard, rising


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """Sampled rows of some shards: what one worker measures at a time.

    Args:
        parts: each shard with the offsets of its sampled rows.
        attempts: that failed so far.
    """

    parts: tuple[tuple[ShardSpec, Rows], ...]
    attempts: int = 0

    @property
    def rows_count(self) -> int:
        """Number of rows."""
        return sum(len(offsets) for _, offsets in self.parts)

    @property
    def title(self) -> str:
        """What messages call the rows."""
        return format_counted(self.rows_count, "row")

    def failed_once_more(self) -> Task:
        """Return the same task after a further attempt."""
        return dataclasses.replace(self, attempts=self.attempts + 1)

    def halves(self) -> list[Task]:
        """Return two tasks with half of the rows each, without attempts; a task of one row stays whole."""
        rows = [(spec, offset) for spec, offsets in self.parts for offset in offsets]
        middle = (len(rows) + 1) // 2
        return [Task(_by_shard(half)) for half in (rows[:middle], rows[middle:]) if half]


TaskResult: TypeAlias = Attempt[Task, ReleaseState]


def divide(sampled: Iterable[tuple[ShardSpec, Sequence[int]]], rows: int) -> Iterator[Task]:
    """Yield tasks of about `rows` rows: whole shards together while they fit, a larger shard in pieces.

    Args:
        sampled: shards with the offsets of their sampled rows; those without any are left out.
        rows: most rows of a task.
    """
    parts: list[tuple[ShardSpec, Rows]] = []
    held = 0
    for spec, offsets in sampled:
        for start in range(0, len(offsets), rows):
            piece = tuple(offsets[start : start + rows])
            if held + len(piece) > rows and parts:
                yield Task(tuple(parts))
                parts, held = [], 0
            parts.append((spec, piece))
            held += len(piece)
    if parts:
        yield Task(tuple(parts))


def _by_shard(rows: Iterable[tuple[ShardSpec, int]]) -> tuple[tuple[ShardSpec, Rows], ...]:
    grouped: dict[ShardSpec, list[int]] = {}
    for spec, offset in rows:
        grouped.setdefault(spec, []).append(offset)
    return tuple((spec, tuple(offsets)) for spec, offsets in grouped.items())
