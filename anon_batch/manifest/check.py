"""Check the rows of a manifest: streaming, about 8 bytes of memory a row, all faults counted and the first ones named."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from anon_batch.errors import ManifestError
from anon_batch.manifest.check_ids import SHOWN, Fault, IdChecker, Mask, one_array, shorten, to_mask
from anon_batch.manifest.names import MAX_ID_BYTES, MAX_SEGMENT_BYTES, unsafe
from anon_batch.manifest.regions_column import COORDINATES
from anon_batch.manifest.schema import OPTIONAL_NUMBERS, OTHER_MEANING, REGIONS_COLUMN, REGIONS_SIZE
from anon_batch.records import MAX_SHARE

_SHA256 = r"^[0-9a-fA-F]{64}$"
_LABEL = r"^[^\x00-\x1f\x7f]{1,100}$"


class RowChecker:
    """Collect the faults of a manifest's rows.

    Args:
        where: the manifest's address, for messages.
        keep_format: whether outputs keep their sources' formats (`write.format: keep`). With a fixed format
            every id may get a suffix appended, so that `a.png` and `a.png.jpg` collide, too.
        pass_damaged_boxes: whether boxes that are not finite or have x2 < x1 or y2 < y1 are no fault, because they
            are withheld row by row later.

    Feed it every table in order, then call `finish` once.
    """

    def __init__(self, where: str = "", *, keep_format: bool = True, pass_damaged_boxes: bool = False) -> None:
        self._where = where
        self._pass_damaged_boxes = pass_damaged_boxes
        self._faults: dict[str, Fault] = {}
        self._ids = IdChecker(keep_format)
        self.rows_count = 0

    def feed(self, table: pa.Table) -> None:
        """Check the next rows.

        Args:
            table: with the manifest's fixed columns, normalised.
        """
        columns = {name: one_array(table, name) for name in table.column_names}
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
        self._check_regions(columns[REGIONS_COLUMN], _in_shares(columns))
        self._ids.add(ids.filter(pa.array(~absent)))
        self.rows_count += len(table)

    def _check_numbers(self, columns: dict[str, pa.Array]) -> None:
        self._note(
            "offset without length, or length without offset",
            to_mask(pc.xor(pc.is_null(columns["offset"]), pc.is_null(columns["length"]))),
        )
        for name in OPTIONAL_NUMBERS:
            self._note(f"{name} is negative", to_mask(pc.less(columns[name], 0)))
        for name in REGIONS_SIZE:
            self._note(f"{name} is not positive", to_mask(pc.less(columns[name], 1)))
        digest = columns["sha256"]
        self._note("sha256 is not 64 hexadecimal digits", to_mask(pc.invert(pc.match_substring_regex(digest, _SHA256))))

    def _check_regions(self, regions: pa.Array, in_shares: Mask) -> None:
        flat = pc.list_flatten(regions)
        if not len(flat):
            return
        parents = pc.list_parent_indices(regions).to_numpy(zero_copy_only=False)
        if not self._pass_damaged_boxes:
            x1, y1, x2, y2 = (pc.struct_field(flat, c).to_numpy(zero_copy_only=False) for c in COORDINATES)
            finite = np.isfinite(x1) & np.isfinite(y1) & np.isfinite(x2) & np.isfinite(y2)
            self._note("the box of a region is null, NaN or infinite", _at(parents[~finite], len(regions)))
            turned = finite & ((x2 < x1) | (y2 < y1))
            self._note("the box of a region has x2 < x1 or y2 < y1", _at(parents[turned], len(regions)))
            highest = np.abs(np.stack([x1, y1, x2, y2])).max(axis=0)
            self._note(
                "the box of a region reaches far beyond the image, although regions_width and regions_height of 1 say that it is "
                "in shares of its sides",
                _at(parents[finite & in_shares[parents] & (highest > MAX_SHARE)], len(regions)),
            )
        odd = ~to_mask(pc.match_substring_regex(pc.struct_field(flat, "label"), _LABEL))
        self._note(
            "the label of a region is empty, too long or has control characters", _at(parents[odd], len(regions))
        )

    def finish(self, reread: Callable[[], Iterable[pa.Table]]) -> None:
        """Compare the ids with each other and report all faults.

        Args:
            reread: gives the same rows once more, in the same order; only `image_id` is used. Called
                when two ids may be equal or may lead to one output.

        Raises:
            ManifestError: names the first rows, counted from 0, of each kind of fault and how many there are.
        """
        self._faults.update(self._ids.find_faults(reread))
        if self._faults:
            raise ManifestError(self._report())

    def _note(self, kind: str, mask: Mask, texts: pa.Array | None = None) -> None:
        at = np.flatnonzero(mask)
        if not len(at):
            return
        fault = self._faults.setdefault(kind, Fault())
        fault.count += len(at)
        for row in at[: SHOWN - len(fault.rows)]:
            shown = f" ({shorten(texts[int(row)].as_py())})" if texts is not None else ""
            fault.rows.append(f"{self.rows_count + int(row)}{shown}")

    def _report(self) -> str:
        lines = [f"manifest {self._where}: faulty rows (counted from 0)".replace("  ", " ")]
        for kind, fault in self._faults.items():
            more = f", ... ({fault.count} in all)" if fault.count > len(fault.rows) else ""
            lines.append(f"  {kind}: {'rows' if fault.count > 1 else 'row'} {', '.join(fault.rows)}{more}")
        if any(kind.startswith((*OPTIONAL_NUMBERS, "sha256")) for kind in self._faults):
            lines.append(f"  {OTHER_MEANING.format('NAME')}")
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


def _missing(texts: pa.Array) -> Mask:
    return to_mask(pc.fill_null(pc.equal(pc.binary_length(texts), 0), True))


def _in_shares(columns: dict[str, pa.Array]) -> Mask:
    """Return whose regions, (N,), are in shares of the image's sides."""
    return to_mask(pc.and_(*(pc.equal(columns[name], 1) for name in REGIONS_SIZE)))


def _at(rows: npt.NDArray[Any], count: int) -> Mask:
    mask = np.zeros(count, np.bool_)
    mask[rows] = True
    return mask
