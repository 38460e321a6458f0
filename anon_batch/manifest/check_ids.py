"""Find image ids that are equal, or that lead to the same output: 8 bytes of memory an id, exact in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from anon_batch.manifest.names import HashArray, conflicting_names, hashes, in_suffixed_folder, suffixed

SHOWN = 10  # rows named for each kind of fault
_GROUPS = 1000  # names compared exactly in one more pass over the ids

Mask = npt.NDArray[np.bool_]


@dataclass
class Fault:
    """One kind of fault: how many rows have it, and the first of them."""

    count: int = 0
    rows: list[str] = field(default_factory=list)


class IdChecker:
    """Remembers a hash of every id, and compares ids with equal hashes exactly.

    Args:
        keep_format: see `check.RowChecker`.
    """

    def __init__(self, keep_format: bool) -> None:
        self._keep_format = keep_format
        self._hashes: list[HashArray] = []
        self._suffixes_seen: set[bool] = set()
        self._folders_seen = False

    def add(self, ids: pa.Array) -> None:
        """Remember the next ids."""
        self._hashes.append(hashes(ids))
        self._suffixes_seen.update(np.unique(suffixed(ids)).tolist())
        self._folders_seen = self._folders_seen or bool(in_suffixed_folder(ids).any())

    def find_faults(self, reread: Callable[[], Iterable[pa.Table]]) -> dict[str, Fault]:
        """Return kind of fault -> rows.

        Args:
            reread: see `check.RowChecker.finish`.
        """
        known = np.concatenate(self._hashes) if self._hashes else np.zeros(0, np.uint64)
        self._hashes.clear()
        known.sort()
        faults = {"image_id appears more than once": self._find_repeats(known, reread)}
        if len(self._suffixes_seen) == 2 or not self._keep_format or self._folders_seen:
            kind = "ids lead to the same output (an id without an image suffix gets one when written)"
            faults[kind] = self._find_conflicts(known, reread)
        return {kind: fault for kind, fault in faults.items() if fault is not None}

    def _find_repeats(self, known: HashArray, reread: Callable[[], Iterable[pa.Table]]) -> Fault | None:
        again = known[1:][known[1:] == known[:-1]]
        total, wanted = len(again), np.unique(again)
        while len(wanted):
            first: dict[str, int] = {}
            fault = Fault(total)
            for row, image_id in _candidates(reread(), wanted[:_GROUPS]):
                if image_id in first and len(fault.rows) < SHOWN:
                    fault.rows.append(f"{row} ({shorten(image_id)}, as in row {first[image_id]})")
                first.setdefault(image_id, row)
            if fault.rows:
                return fault
            wanted = wanted[_GROUPS:]  # different ids with equal hashes: compare the next
        return None

    def _find_conflicts(self, known: HashArray, reread: Callable[[], Iterable[pa.Table]]) -> Fault | None:
        total = 0
        suspects: dict[str, tuple[int, str]] = {}
        for start, ids in _id_arrays(reread()):
            names, rows = conflicting_names(ids, self._keep_format)
            hits = np.flatnonzero(contains(known, hashes(names))) if len(names) else np.zeros(0, np.intp)
            total += len(hits)
            for hit in hits[: _GROUPS - len(suspects)]:
                row = int(rows[hit])
                suspects.setdefault(names[int(hit)].as_py(), (start + row, ids[row].as_py()))
        if not suspects:
            return None
        fault = Fault(total)
        values = pa.array(list(suspects), pa.string())
        for start, ids in _id_arrays(reread()):
            for row in np.flatnonzero(to_mask(pc.is_in(ids, values)))[: SHOWN - len(fault.rows)]:
                name = ids[int(row)].as_py()
                other_row, other = suspects[name]
                fault.rows.append(f"{start + int(row)} ({shorten(name)}, beside {shorten(other)} in row {other_row})")
        return fault if fault.rows else None


def _id_arrays(tables: Iterable[pa.Table]) -> Iterable[tuple[int, pa.Array]]:
    start = 0
    for table in tables:
        yield start, pc.fill_null(one_array(table, "image_id"), "")
        start += len(table)


def _candidates(tables: Iterable[pa.Table], wanted: HashArray) -> Iterable[tuple[int, str]]:
    for start, ids in _id_arrays(tables):
        for row in np.flatnonzero(contains(wanted, hashes(ids))):
            if image_id := ids[int(row)].as_py():
                yield start + int(row), image_id


def contains(sorted_values: HashArray, asked: HashArray) -> Mask:
    """Return which of the asked hashes, (N,), are among the sorted ones."""
    if not len(sorted_values):
        return np.zeros(len(asked), np.bool_)
    at = np.minimum(np.searchsorted(sorted_values, asked), len(sorted_values) - 1)
    return np.asarray(sorted_values[at] == asked, np.bool_)


def one_array(table: pa.Table, name: str) -> pa.Array:
    """Return a column as one array, without a copy where it is one chunk."""
    column = table.column(name)
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.array([], column.type)])


def to_mask(flags: pa.Array) -> Mask:
    """Return flags as a bool mask; null is False."""
    return np.asarray(pc.fill_null(flags, False).to_numpy(zero_copy_only=False), np.bool_)


def shorten(text: str) -> str:
    """Return text in quotes, at most 80 characters of it."""
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
