"""Find the rows that cannot be in a manifest beside others: equal ids, and ids that lead to the same output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from anon_batch.manifest.check_ids import contains
from anon_batch.manifest.names import HashArray, conflicting_names, hashes, in_suffixed_folder, suffixed


class Repeated(NamedTuple):
    """A row to leave out.

    Args:
        row: its number among all rows.
        image_id: of the row.
        reason: `duplicate_id` or `same_output`.
        beside: id of the row that stays.
    """

    row: int
    image_id: str
    reason: str
    beside: str


def find_repeated(
    tables: Callable[[], Iterable[tuple[bool, pa.Array]]],
) -> list[Repeated]:
    """Return the rows to leave out, by rising number.

    Of equal ids the first stays; in an archive the last, which replaces the others when it is unpacked.

    Args:
        tables: gives (whether the last one stays, ids) of all rows in order; called up to three times.
    """
    seen = _Seen()
    for _, ids in tables():
        seen.add(ids)
    known = seen.sorted_hashes()
    twice = np.unique(known[1:][known[1:] == known[:-1]])
    suspects = _conflicts(tables, known) if seen.may_conflict else {}
    if not len(twice) and not suspects:
        return []
    kept: dict[str, int] = {}
    found: list[Repeated] = []
    for row, image_id, last_stays in _candidates(tables, twice, suspects):
        if image_id in suspects:
            found.append(Repeated(row, image_id, "same_output", suspects[image_id]))
            continue
        before = kept.get(image_id)
        if before is not None:
            found.append(Repeated(before if last_stays else row, image_id, "duplicate_id", image_id))
        if before is None or last_stays:
            kept[image_id] = row
    return sorted(found)


class _Seen:
    def __init__(self) -> None:
        self._hashes: list[HashArray] = []
        self._kinds: set[bool] = set()
        self._has_folders = False

    def add(self, ids: pa.Array) -> None:
        self._hashes.append(hashes(ids))
        self._kinds.update(np.unique(suffixed(ids)).tolist())
        self._has_folders = self._has_folders or bool(in_suffixed_folder(ids).any())

    @property
    def may_conflict(self) -> bool:
        """Whether ids with and without a suffix, or folders called as images, are among them."""
        return len(self._kinds) == 2 or self._has_folders

    def sorted_hashes(self) -> HashArray:
        known = np.concatenate(self._hashes) if self._hashes else np.zeros(0, np.uint64)
        known.sort()
        return known


def _conflicts(tables: Callable[[], Iterable[tuple[bool, pa.Array]]], known: HashArray) -> dict[str, str]:
    """Return id that may not stay, if it exists -> the id that stays."""
    suspects: dict[str, str] = {}
    for _, ids in tables():
        names, rows = conflicting_names(ids, keep_format=True)
        if len(names):
            for hit in np.flatnonzero(contains(known, hashes(names))).tolist():
                suspects.setdefault(names[hit].as_py(), ids[int(rows[hit])].as_py())
    return suspects


def _candidates(
    tables: Callable[[], Iterable[tuple[bool, pa.Array]]], twice: HashArray, suspects: dict[str, str]
) -> Iterator[tuple[int, str, bool]]:
    wanted = np.union1d(twice, hashes(pa.array(list(suspects), pa.string()))) if suspects else twice
    start = 0
    for last_stays, ids in tables():
        for at in np.flatnonzero(contains(wanted, hashes(ids))).tolist():
            yield start + at, ids[at].as_py(), last_stays
        start += len(ids)
