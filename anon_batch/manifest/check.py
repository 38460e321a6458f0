"""Check the rows of a manifest: streaming, about 8 bytes of memory a row, all faults counted and the first ones named."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from anon_batch.errors import ManifestError
from anon_batch.manifest.names import (
    MAX_ID_BYTES,
    MAX_SEGMENT_BYTES,
    HashArray,
    conflicting_names,
    hashes,
    suffixed,
    unsafe,
)
from anon_batch.manifest.names import in_suffixed_folder as _in_suffixed_folder
from anon_batch.manifest.schema import COORDINATES, REGIONS_COLUMN

SHOWN = 10  # rows named for each kind of fault
_GROUPS = 1000  # names compared exactly in one more pass over the ids
_SHA256 = r"^[0-9a-fA-F]{64}$"
_LABEL = r"^[^\x00-\x1f\x7f]{1,100}$"

Mask = npt.NDArray[np.bool_]


@dataclass
class _Fault:
    count: int = 0
    rows: list[str] = field(default_factory=list)


class RowChecker:
    """Collect the faults of a manifest's rows.

    Args:
        where: the manifest's address, for messages.
        keep_format: whether outputs keep their sources' formats (`write.format: keep`). With a fixed format
            every id may get a suffix appended, so that `a.png` and `a.png.jpg` collide, too.

    Feed it every table in order, then call `finish` once.
    """

    def __init__(self, where: str = "", *, keep_format: bool = True) -> None:
        self._where = where
        self._keep_format = keep_format
        self._faults: dict[str, _Fault] = {}
        self._hashes: list[HashArray] = []
        self._suffixes_seen: set[bool] = set()
        self._folders_seen = False
        self.rows_count = 0

    def feed(self, table: pa.Table) -> None:
        """Check the next rows.

        Args:
            table: with the manifest's fixed columns, normalised.
        """
        columns = {name: _one_array(table, name) for name in table.column_names}
        ids = columns["image_id"]
        absent = _missing(ids)
        self._note("image_id is null or empty", absent)
        self._note(
            "image_id cannot name an output (a relative path with `/`; no `..`, `.` or empty segment, "
            "backslash, control "
            f"character, leading `~`, `::` or drive; at most {MAX_SEGMENT_BYTES} bytes a segment, "
            f"{MAX_ID_BYTES} in all)",
            unsafe(ids),
            ids,
        )
        self._note("uri is null or empty", _missing(columns["uri"]))
        self._check_numbers(columns)
        self._check_regions(columns[REGIONS_COLUMN])
        self._remember(ids.filter(pa.array(~absent)))
        self.rows_count += len(table)

    def _check_numbers(self, columns: dict[str, pa.Array]) -> None:
        self._note(
            "offset without length, or length without offset",
            _mask(pc.xor(pc.is_null(columns["offset"]), pc.is_null(columns["length"]))),
        )
        for name in ("offset", "length", "size_bytes"):
            self._note(f"{name} is negative", _mask(pc.less(columns[name], 0)))
        digest = columns["sha256"]
        self._note("sha256 is not 64 hexadecimal digits", _mask(pc.invert(pc.match_substring_regex(digest, _SHA256))))

    def _check_regions(self, regions: pa.Array) -> None:
        flat = pc.list_flatten(regions)
        if not len(flat):
            return
        parents = pc.list_parent_indices(regions).to_numpy(zero_copy_only=False)
        x1, y1, x2, y2 = (pc.struct_field(flat, c).to_numpy(zero_copy_only=False) for c in COORDINATES)
        finite = np.isfinite(x1) & np.isfinite(y1) & np.isfinite(x2) & np.isfinite(y2)
        self._note("the box of a region is null, NaN or infinite", _at(parents[~finite], len(regions)))
        turned = finite & ((x2 < x1) | (y2 < y1))
        self._note("the box of a region has x2 < x1 or y2 < y1", _at(parents[turned], len(regions)))
        odd = ~_mask(pc.match_substring_regex(pc.struct_field(flat, "label"), _LABEL))
        self._note(
            "the label of a region is empty, too long or has control characters", _at(parents[odd], len(regions))
        )

    def _remember(self, ids: pa.Array) -> None:
        self._hashes.append(hashes(ids))
        self._suffixes_seen.update(np.unique(suffixed(ids)).tolist())
        self._folders_seen = self._folders_seen or bool(_in_suffixed_folder(ids).any())

    def finish(self, reread: Callable[[], Iterable[pa.Table]]) -> None:
        """Compare the ids with each other and report all faults.

        Args:
            reread: gives the same rows once more, in the same order; only `image_id` is used. Called
                when two ids may be equal or may lead to one output.

        Raises:
            ManifestError: names the first rows, counted from 0, of each kind of fault and how many there are.
        """
        known = np.concatenate(self._hashes) if self._hashes else np.zeros(0, np.uint64)
        self._hashes.clear()
        known.sort()
        self._find_repeats(known, reread)
        mixed = len(self._suffixes_seen) == 2 or not self._keep_format
        if mixed or self._folders_seen:
            self._find_conflicts(known, reread)
        if self._faults:
            raise ManifestError(self._report())

    def _find_repeats(self, known: HashArray, reread: Callable[[], Iterable[pa.Table]]) -> None:
        again = known[1:][known[1:] == known[:-1]]
        total, wanted = len(again), np.unique(again)
        while len(wanted):
            first: dict[str, int] = {}
            fault = _Fault(total)
            for row, image_id in _candidates(reread(), wanted[:_GROUPS]):
                if image_id in first and len(fault.rows) < SHOWN:
                    fault.rows.append(f"{row} ({_short(image_id)}, as in row {first[image_id]})")
                first.setdefault(image_id, row)
            if fault.rows:
                self._faults["image_id appears more than once"] = fault
                return
            wanted = wanted[_GROUPS:]  # different ids with equal hashes: compare the next

    def _find_conflicts(self, known: HashArray, reread: Callable[[], Iterable[pa.Table]]) -> None:
        total = 0
        suspects: dict[str, tuple[int, str]] = {}
        for start, ids in _id_arrays(reread()):
            names, rows = conflicting_names(ids, self._keep_format)
            hits = np.flatnonzero(_contains(known, hashes(names))) if len(names) else np.zeros(0, np.intp)
            total += len(hits)
            for hit in hits[: _GROUPS - len(suspects)]:
                row = int(rows[hit])
                suspects.setdefault(names[int(hit)].as_py(), (start + row, ids[row].as_py()))
        if not suspects:
            return
        fault = _Fault(total)
        values = pa.array(list(suspects), pa.string())
        for start, ids in _id_arrays(reread()):
            for row in np.flatnonzero(_mask(pc.is_in(ids, values)))[: SHOWN - len(fault.rows)]:
                name = ids[int(row)].as_py()
                other_row, other = suspects[name]
                fault.rows.append(f"{start + int(row)} ({_short(name)}, beside {_short(other)} in row {other_row})")
        if fault.rows:
            self._faults["ids lead to the same output (an id without an image suffix gets one when written)"] = fault

    def _note(self, kind: str, mask: Mask, texts: pa.Array | None = None) -> None:
        at = np.flatnonzero(mask)
        if not len(at):
            return
        fault = self._faults.setdefault(kind, _Fault())
        fault.count += len(at)
        for row in at[: SHOWN - len(fault.rows)]:
            shown = f" ({_short(texts[int(row)].as_py())})" if texts is not None else ""
            fault.rows.append(f"{self.rows_count + int(row)}{shown}")

    def _report(self) -> str:
        lines = [f"manifest {self._where}: faulty rows (counted from 0)".replace("  ", " ")]
        for kind, fault in self._faults.items():
            more = f", ... ({fault.count} in all)" if fault.count > len(fault.rows) else ""
            lines.append(f"  {kind}: {'rows' if fault.count > 1 else 'row'} {', '.join(fault.rows)}{more}")
        return "\n".join(lines)


def check_rows(tables: Callable[[], Iterable[pa.Table]], where: str = "", *, keep_format: bool = True) -> int:
    """Check all rows of a manifest.

    Args:
        tables: gives the normalised tables; called again when ids have to be compared.
        where: see RowChecker.
        keep_format: see RowChecker.

    Returns:
        The number of rows.

    Raises:
        ManifestError: see `RowChecker.finish`.
    """
    checker = RowChecker(where, keep_format=keep_format)
    for table in tables():
        checker.feed(table)
    checker.finish(tables)
    return checker.rows_count


def _id_arrays(tables: Iterable[pa.Table]) -> Iterable[tuple[int, pa.Array]]:
    start = 0
    for table in tables:
        yield start, pc.fill_null(_one_array(table, "image_id"), "")
        start += len(table)


def _candidates(tables: Iterable[pa.Table], wanted: HashArray) -> Iterable[tuple[int, str]]:
    for start, ids in _id_arrays(tables):
        for row in np.flatnonzero(_contains(wanted, hashes(ids))):
            if image_id := ids[int(row)].as_py():
                yield start + int(row), image_id


def _contains(sorted_values: HashArray, asked: HashArray) -> Mask:
    if not len(sorted_values):
        return np.zeros(len(asked), np.bool_)
    at = np.minimum(np.searchsorted(sorted_values, asked), len(sorted_values) - 1)
    return np.asarray(sorted_values[at] == asked, np.bool_)


def _one_array(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name)
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.array([], column.type)])


def _missing(texts: pa.Array) -> Mask:
    return _mask(pc.fill_null(pc.equal(pc.binary_length(texts), 0), True))


def _mask(flags: pa.Array) -> Mask:
    return np.asarray(pc.fill_null(flags, False).to_numpy(zero_copy_only=False), np.bool_)


def _at(rows: npt.NDArray[Any], count: int) -> Mask:
    mask = np.zeros(count, np.bool_)
    mask[rows] = True
    return mask


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
