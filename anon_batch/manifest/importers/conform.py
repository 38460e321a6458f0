"""Give the columns of a source the names and types of a manifest."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from anon_batch.formats.features import read_features, to_metadata
from anon_batch.manifest.importers.report import ImportReport
from anon_batch.manifest.rename import Renames
from anon_batch.manifest.schema import (
    FIXED_COLUMNS,
    MAX_DEPTH,
    OLD_REGIONS_COLUMN,
    REGIONS_COLUMN,
    REGIONS_SIZE,
    RESERVED_EXTRA_COLUMNS,
    accepts,
    depth,
    fixed_name,
    holds_binary,
    normalise_column,
)

_RANGE = ("offset", "length")
_TEXT_NUMBERS = (*_RANGE, "size_bytes", *REGIONS_SIZE)
_SHA256 = r"^[0-9a-fA-F]{64}$"


def conform(table: pa.Table, report: ImportReport, renames: Renames, *, in_cells: bool) -> pa.Table:
    """Return a table whose fixed columns have their types and whose other columns may be published, with their features.

    A column with the name of a fixed one but of another type or meaning (digests that are no SHA-256, one of `offset` and
    `length` without the other), and one with a name that the release itself uses, is renamed to `source_<name>`; a column that
    holds binary data, or is nested too deep, is dropped. Both are noted in the report.

    Args:
        table: of an importer.
        report: gets what was done.
        renames: what the user asked for, applied first.
        in_cells: whether the images are cells of Parquet files, which have no byte range.
    """
    features = {renames.get(name, name): feature for name, feature in read_features(table.schema.metadata).items()}
    table = _renamed(table, report, renames)
    kept: dict[str, Any] = {}
    foreign = _foreign_range(table.column_names, in_cells=in_cells)
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    for name in table.column_names:
        column = table.column(name)
        own = name in FIXED_COLUMNS or (name == OLD_REGIONS_COLUMN and REGIONS_COLUMN not in table.column_names)
        if own and name not in foreign:
            fitted = _fitted(name, column)
            if fitted is not None:
                columns[fixed_name(name)] = fitted
                continue
        if depth(column.type) > MAX_DEPTH or holds_binary(column.type):
            report.dropped.add(name)
            continue
        target = name
        if name in RESERVED_EXTRA_COLUMNS or name in (*FIXED_COLUMNS, OLD_REGIONS_COLUMN):
            target = f"source_{name}"
            while target in table.column_names:
                target = f"source_{target}"
            report.renamed[name] = target
        columns[target] = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        if name in features:
            kept[target] = features[name]
    return pa.table(columns).replace_schema_metadata(to_metadata(kept))


def _renamed(table: pa.Table, report: ImportReport, renames: Renames) -> pa.Table:
    report.columns.update(table.column_names)
    given = {name: renames[name] for name in table.column_names if name in renames}
    if not given:
        return table
    report.dropped.update(name for name, read in given.items() if read is None)
    report.renamed.update({name: read for name, read in given.items() if read is not None})
    kept = {given.get(name, name): table.column(name) for name in table.column_names if name not in given}
    return pa.table({**kept, **{read: table.column(name) for name, read in given.items() if read is not None}})


def _foreign_range(names: list[str], *, in_cells: bool) -> set[str]:
    found = {name for name in _RANGE if name in names}
    return found if in_cells or len(found) < len(_RANGE) else set()


def _fitted(name: str, column: pa.ChunkedArray) -> pa.Array | None:
    try:
        if name in _TEXT_NUMBERS and pa.types.is_string(column.type):
            texts = column.to_pylist()
            return pa.array([int(t) if t else None for t in texts], pa.int64())
        if name == "sha256" and pa.types.is_string(column.type):
            digests = pa.array([t or None for t in column.to_pylist()], pa.string())
            is_digest = pc.any(pc.match_substring_regex(digests, _SHA256)).as_py()
            return digests if is_digest or digests.null_count == len(digests) else None
        return normalise_column(name, column) if accepts(name, column.type) else None
    except (ValueError, OverflowError, pa.ArrowException):
        return None
