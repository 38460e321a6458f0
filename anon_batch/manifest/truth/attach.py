"""Give the rows of a manifest the regions of a file of ground truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from anon_batch.errors import ManifestError
from anon_batch.manifest.check_ids import one_array
from anon_batch.manifest.joins.join import Join, JoinReport, match_rows
from anon_batch.manifest.joins.lines import KEY, stage_lines
from anon_batch.manifest.rows import Rows, replace_columns
from anon_batch.manifest.schema import REGIONS_COLUMN, REGIONS_SIZE
from anon_batch.manifest.truth.labelled import NAME_COLUMN
from anon_batch.manifest.truth.read import TruthTable

_COLUMNS = (REGIONS_COLUMN, *REGIONS_SIZE)


@dataclass(frozen=True, slots=True)
class AttachedTruth:
    """Rows with ground truth, and the entries of it that belong to no image."""

    rows: Rows
    report: JoinReport
    void_count: int


def attach_ground_truth(rows: Rows, truth: TruthTable, address: str, folder: Path) -> AttachedTruth:
    """Return rows with the regions of their entries; the others keep what they have. Names are compared as in joined tables.

    Raises:
        ManifestError: no entry belongs to an image.
    """
    table = truth.table
    lines = stage_lines(folder / "truth.arrow", address, NAME_COLUMN, iter([table.rename_columns([KEY, *_COLUMNS])]))
    partners, report = match_rows(rows, Join(address), lines, f"ground truth {address}")
    if not report.matched_count:
        name = truth.table.column(NAME_COLUMN)[0].as_py()
        first = next(table.column("image_id")[0].as_py() for table in rows.tables() if len(table))
        raise ManifestError(
            f"ground truth {address} matches no image: its first name is {name!r}, the first image is {first!r}"
        )

    def attached() -> Iterator[pa.Table]:
        start = 0
        for table in rows.tables():
            numbers = partners.line_of[start : start + len(table)]
            found = lines.take(numbers)
            partners.check(start, one_array(table, "image_id"), one_array(found, KEY), f"ground truth {address}")
            start += len(table)
            is_new = pa.array(numbers >= 0)
            yield replace_columns(
                table, {name: pc.if_else(is_new, one_array(found, name), one_array(table, name)) for name in _COLUMNS}
            )

    return AttachedTruth(Rows(attached, rows.extra, rows.count), report, truth.void_count)
