"""Find the line of a table that belongs to each image.

The names are compared by their hashes, sorted, in numpy: some 60 bytes of memory for a row or a line, however long the names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from anon_batch.errors import IntegrityError, ManifestError
from anon_batch.manifest.check_ids import shorten, to_mask
from anon_batch.manifest.joins.spellings import SPELLINGS, Spelling, as_written, has_no_suffix
from anon_batch.manifest.names import HashArray, hashes

Names = Callable[[], Iterable[pa.Array]]
_SHOWN = 5
_NONE = -1

_Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Partners:
    """Which line of a table belongs to which row.

    Args:
        line_of: (rows,) int64, the line's number; -1 for none.
        spelling_of: (rows,) uint8, the position in SPELLINGS by which it was found.
        used: (lines,) bool, whether a line belongs to a row.
    """

    line_of: _Numbers
    spelling_of: npt.NDArray[np.uint8]
    used: npt.NDArray[np.bool_]

    def check(self, start: int, names: pa.Array, keys: pa.Array, where: str) -> None:
        """Compare the names themselves, because different ones may have one hash.

        Args:
            start: number of the first row.
            names: of the rows, (N,).
            keys: of their lines, (N,); null without a line.
            where: the table's address, for messages.

        Raises:
            IntegrityError: a line was taken for that of another image.
        """
        own = self.spelling_of[start : start + len(names)]
        for number in np.unique(own).tolist():
            spelling = SPELLINGS[number][0]
            at = pa.array(np.flatnonzero(own == number))
            mine, theirs = spelling(names.take(at)), spelling(keys.take(at))
            if wrong := np.flatnonzero(to_mask(pc.not_equal(mine, theirs))).tolist():
                pair = (shorten(mine[wrong[0]].as_py()), shorten(theirs[wrong[0]].as_py()))
                raise IntegrityError(
                    f"{where}: {pair[0]} and {pair[1]} are different names with one hash; rename one of them"
                )


def find_partners(rows: Names, lines: Names, where: str) -> Partners:
    """Return the line of each image: by its whole id, else by another spelling of it, see SPELLINGS.

    Other than the id itself, a spelling has to be unambiguous on both sides, among those that are left.

    Args:
        rows: gives the ids of all images, in order; called again for each spelling, as long as some are left.
        lines: gives the keys of all lines.
        where: the table's address, for messages.

    Raises:
        ManifestError: a key is in several lines; names the first ones.
    """
    row_hashes, line_hashes = _hashed(rows, as_written), _hashed(lines, as_written)
    partners = Partners(
        np.full(len(row_hashes), _NONE, np.int64),
        np.zeros(len(row_hashes), np.uint8),
        np.zeros(len(line_hashes), np.bool_),
    )
    blank = _blank(lines, len(line_hashes))
    _refuse_repeated(line_hashes, blank, lines, where)
    left_rows, left_lines = np.arange(len(row_hashes)), np.flatnonzero(~blank)
    for number, (spelling, bare) in enumerate(SPELLINGS):
        if number:
            row_hashes = _hashed(rows, spelling)
            line_hashes = _hashed(lines, spelling)
        usable = left_lines[_has_no_suffix(lines, len(line_hashes))[left_lines]] if bare else left_lines
        mine, theirs = _pairs(_chosen(row_hashes, left_rows), _chosen(line_hashes, usable))
        partners.line_of[left_rows[mine]] = usable[theirs]
        partners.spelling_of[left_rows[mine]] = number
        partners.used[usable[theirs]] = True
        left_rows = left_rows[partners.line_of[left_rows] == _NONE]
        left_lines = left_lines[~partners.used[left_lines]]
        if not len(left_rows) or not len(left_lines):
            break
    return partners


def look_up(rows: Names, lines: Names, where: str) -> Partners:
    """Return the line whose key is the value of each row; many rows may have one line. Raises as `find_partners`."""
    row_hashes, line_hashes = _hashed(rows, as_written), _hashed(lines, as_written)
    blank = _blank(lines, len(line_hashes))
    _refuse_repeated(line_hashes, blank, lines, where)
    kept = np.flatnonzero(~blank)
    order = kept[np.argsort(line_hashes[kept], kind="stable")]
    line_of = np.full(len(row_hashes), _NONE, np.int64)
    if len(order):
        known = line_hashes[order]
        at = np.minimum(np.searchsorted(known, row_hashes), len(known) - 1)
        found = (known[at] == row_hashes) & ~_blank(rows, len(row_hashes))
        line_of[found] = order[at[found]]
    used = np.zeros(len(line_hashes), np.bool_)
    used[line_of[line_of != _NONE]] = True
    return Partners(line_of, np.zeros(len(row_hashes), np.uint8), used)


def _hashed(names: Names, spelling: Spelling) -> HashArray:
    pieces = [hashes(spelling(pc.fill_null(array, ""))) for array in names()]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.uint64)


def _blank(names: Names, count: int) -> npt.NDArray[np.bool_]:
    """Return which names, (N,), are null or empty."""
    pieces = [to_mask(pc.fill_null(pc.equal(pc.binary_length(array), 0), True)) for array in names()]
    return np.concatenate(pieces) if pieces else np.zeros(count, np.bool_)


def _has_no_suffix(names: Names, count: int) -> npt.NDArray[np.bool_]:
    pieces = [to_mask(has_no_suffix(pc.fill_null(array, ""))) for array in names()]
    return np.concatenate(pieces) if pieces else np.zeros(count, np.bool_)


def _chosen(values: HashArray, at: _Numbers) -> HashArray:
    """Return the values at these positions, without a copy where they are all."""
    return values if len(at) == len(values) else values[at]


def _pairs(mine: HashArray, theirs: HashArray) -> tuple[_Numbers, _Numbers]:
    """Return the positions of the hashes that are once in both."""
    my_values, my_at = _once(mine)
    their_values, their_at = _once(theirs)
    if not len(their_values):
        return my_at[:0], their_at
    at = np.minimum(np.searchsorted(their_values, my_values), len(their_values) - 1)
    same = their_values[at] == my_values
    return my_at[same], their_at[at[same]]


def _once(values: HashArray) -> tuple[HashArray, _Numbers]:
    """Return the values that occur once, sorted, and their positions."""
    order: _Numbers = np.argsort(values)
    values = values[order]
    differs = np.ones(len(values) + 1, np.bool_)
    differs[1:-1] = values[1:] != values[:-1]
    single = differs[:-1] & differs[1:]
    return (values, order) if single.all() else (values[single], order[single])


def _refuse_repeated(values: HashArray, blank: npt.NDArray[np.bool_], lines: Names, where: str) -> None:
    known = np.sort(values[~blank])
    again = np.unique(known[1:][known[1:] == known[:-1]])
    if not len(again):
        return
    shown = {shorten(key): numbers for key, numbers in _repeated(lines, again).items() if len(numbers) > 1}
    if not shown:
        return
    listed = "; ".join(f"{key} in lines {' and '.join(map(str, at[:2]))}" for key, at in list(shown.items())[:_SHOWN])
    more = len(again) - min(len(shown), _SHOWN)
    raise ManifestError(
        f"{where}: a table gives each image one line, but {listed}{f', and {more:,} more' if more > 0 else ''} (lines counted "
        "from 1, without the header); leave one of each, or name another column with --on"
    )


def _repeated(lines: Names, again: HashArray) -> dict[str, list[int]]:
    """Return the first keys with these hashes -> their lines, counted from 1."""
    wanted = again[: 10 * _SHOWN]
    found: dict[str, list[int]] = {}
    for number, key in _with_hashes(lines, wanted):
        found.setdefault(key, []).append(number + 1)
    return found


def _with_hashes(lines: Names, wanted: HashArray) -> Iterator[tuple[int, Any]]:
    start = 0
    for array in lines():
        for at in np.flatnonzero(np.isin(hashes(pc.fill_null(array, "")), wanted)).tolist():
            yield start + at, array[at].as_py()
        start += len(array)
