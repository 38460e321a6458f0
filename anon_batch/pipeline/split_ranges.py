"""Find the splits that the column `split` makes of the rows."""

from __future__ import annotations

import posixpath
from itertools import pairwise

import numpy as np
import pyarrow as pa

from anon_batch.formats.splits import MAX_SPLITS, SPLIT_COLUMN, Split, is_split_name

_WILD = frozenset("*?[]{}!")  # because loaders read the folder as a pattern


class SplitRanges:
    """Take the rows in order; each split has to be one range of them, else there are none."""

    def __init__(self) -> None:
        self._runs: list[tuple[str, int, int]] = []
        self._folders: list[list[str]] = []
        self._rows_count = 0
        self._is_clear = True

    def feed(self, table: pa.Table) -> None:
        """Take the next rows, with the columns that are published."""
        start, self._rows_count = self._rows_count, self._rows_count + len(table)
        self._is_clear = self._is_clear and SPLIT_COLUMN in table.column_names
        if not self._is_clear or not len(table):
            return
        names = np.asarray(table.column(SPLIT_COLUMN).to_pylist(), object)
        cuts = [0, *(np.flatnonzero(names[1:] != names[:-1]) + 1).tolist(), len(names)]
        for at, end in pairwise(cuts):
            self._add(names[at], start + at, start + end, table.column("image_id").slice(at, end - at))
            if not self._is_clear:
                return

    def _add(self, name: object, start: int, stop: int, ids: pa.ChunkedArray) -> None:
        if not is_split_name(name) or len(self._runs) > MAX_SPLITS:
            self._is_clear = False
            return
        folder = _common_folder(ids.to_pylist())
        if self._runs and self._runs[-1][0] == name:
            self._runs[-1] = (str(name), self._runs[-1][1], stop)
            self._folders[-1] = _shared(self._folders[-1], folder)
        else:
            self._is_clear = all(known != name for known, _, _ in self._runs)
            self._runs.append((str(name), start, stop))
            self._folders.append(folder)

    def found(self) -> tuple[Split, ...]:
        """Return the splits in the order of their rows; none if they cannot be found."""
        if not self._is_clear:
            return ()
        folders = ["/".join(folder) for folder in self._folders]
        inside = [f"{folder}/" for folder in folders]
        apart = all(
            own
            and _WILD.isdisjoint(own)
            and not any(other.startswith(near) for at, other in enumerate(inside) if at != number)
            for number, (own, near) in enumerate(zip(folders, inside, strict=True))
        )
        return tuple(Split(*run, folder if apart else "") for run, folder in zip(self._runs, folders, strict=True))


def _common_folder(ids: list[str]) -> list[str]:
    """Return the folders that all ids share, outermost first; the first and the last in order of text share the fewest."""
    low, high = min(ids), max(ids)
    return _shared(posixpath.dirname(low).split("/"), posixpath.dirname(high).split("/"))


def _shared(one: list[str], other: list[str]) -> list[str]:
    shared = []
    for own, near in zip(one, other, strict=False):
        if own != near or not own:
            break
        shared.append(own)
    return shared
