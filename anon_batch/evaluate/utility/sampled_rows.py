"""A bounded random sample of rows that merges: the rows with the smallest hashes of their names.

The k rows with the smallest hashes of a whole are those of its parts' k smallest, so any split of the rows among workers ends
with the same sample, and what is computed from it, in the order of the hashes, is the same number (bottom-k sketches: Cohen and
Kaplan 2007, "Summarizing data using bottom-k sketches").

Rows of originals are personal data: a sample stays in memory or in the ledger. Only what is computed from it is published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[Any]
Columns = dict[str, Column]

KEY = "key"
_MOST_PENDING = 512  # rows that are not sorted in yet


@dataclass(slots=True, eq=False)
class SampledRows:
    """At most `capacity` rows of named columns.

    Args:
        capacity: rows that are kept.
    """

    capacity: int
    _settled: Columns = field(default_factory=dict)
    _pending: list[Columns] = field(default_factory=list)
    _pending_rows: int = 0

    def __len__(self) -> int:
        """Return the number of rows that are kept."""
        return len(self.columns().get(KEY, ()))

    def wants(self, key: int) -> bool:
        """Return whether a row of this hash would be kept, so that what costs time is not computed for nothing."""
        keys = self._settled.get(KEY)
        return keys is None or len(keys) < self.capacity or key < int(keys[-1])

    def add(self, key: int, values: Mapping[str, Any]) -> None:
        """Add a row.

        Args:
            key: hash of the row's name, uint64; no two rows have the same.
            values: name of a column -> value, a number, text or an array of a fixed shape; the same columns in every row.
        """
        if self.wants(key):
            row = {KEY: np.array([key], np.uint64), **{name: np.asarray(own)[None] for name, own in values.items()}}
            self._append(row, 1)

    def merge(self, other: SampledRows) -> SampledRows:
        """Return the sample of both; neither changes.

        Raises:
            ValueError: another capacity or other columns.
        """
        if self.capacity != other.capacity:
            raise ValueError(f"capacity {other.capacity}, expected {self.capacity}")
        both = SampledRows(self.capacity)
        for own in (self.columns(), other.columns()):
            if own:
                both._append(own, len(own[KEY]))
        both.columns()
        return both

    def columns(self) -> Columns:
        """Return the kept rows as columns (n, ...) in the order of their hashes; empty without rows."""
        if self._pending:
            parts = [self._settled, *self._pending] if self._settled else self._pending
            if any(part.keys() != parts[0].keys() for part in parts):
                raise ValueError("rows with different columns")
            keys = np.concatenate([part[KEY] for part in parts])
            order = np.argsort(keys, kind="stable")[: self.capacity]
            self._settled = {name: np.concatenate([part[name] for part in parts])[order] for name in parts[0]}
            self._pending, self._pending_rows = [], 0
        return self._settled

    def _append(self, rows: Columns, count: int) -> None:
        self._pending.append(rows)
        self._pending_rows += count
        if self._pending_rows >= _MOST_PENDING:
            self.columns()
