"""The rows of a manifest on their way from the sources to the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from anon_batch.manifest.schema import FIXED_COLUMNS
from anon_batch.manifest.staging import StagedTables


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows that can be read several times.

    Args:
        tables: gives the fixed columns and the pass-through ones, in order.
        extra: names, types and features of the pass-through columns.
        count: of the rows.
    """

    tables: Callable[[], Iterator[pa.Table]]
    extra: pa.Schema
    count: int


def stage_rows(rows: Rows, folder: Path) -> Rows:
    """Write rows to the local disk, because what gives them takes long, and return them from there."""
    folder.mkdir()
    staged = StagedTables(folder)
    for table in rows.tables():
        staged.add(0, table.select([*FIXED_COLUMNS, *rows.extra.names]).replace_schema_metadata(rows.extra.metadata))
    staged.close()
    return Rows(lambda: staged.tables(0), staged.extra_schema() if rows.count else rows.extra, rows.count)


def replace_columns(table: pa.Table, columns: Mapping[str, Any]) -> pa.Table:
    """Return a table with columns in the place of those of the same names, and behind all where there is none."""
    return pa.table({**{name: table.column(name) for name in table.column_names}, **columns})
