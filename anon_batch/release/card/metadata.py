"""images/metadata.parquet: the columns of the images in the layout `files`, as Hugging Face's `imagefolder` reads them.

Every image has a row, because the loader drops those that have none. Where each split has a folder, that folder has such a file.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from anon_batch.formats.features import beyond_types, to_metadata
from anon_batch.formats.provenance import RESERVED_COLUMNS
from anon_batch.formats.release import Release
from anon_batch.shards import effective

FILE_NAME = "file_name"
_LOADED = re.compile(r"(?:^|_)file_names?$")  # columns that the loader takes for files to open


def write_metadata(release: Release) -> dict[str, int]:
    """Write the metadata files of a finished release; return the key of each with its number of rows.

    A file without rows is not written, and none in a layout of shards.

    Raises:
        IntegrityError: a part of the provenance is damaged.
        StorageError: storage fails or refuses.
    """
    record = release.read_run_json()
    files = {key: _File(rows) for key, rows in record.metadata_keys.items()}
    for start, table in _tables(release) if files else ():
        for key, file in files.items():
            file.add(start, table, key, record.columns.get("features", {}))
    for key, file in files.items():
        if file.rows_count:
            release.put(key, file.content())
    return {key: file.rows_count for key, file in files.items() if file.rows_count}


class _File:
    """A metadata file in memory.

    Args:
        rows: its range; None takes all.
    """

    def __init__(self, rows: tuple[int, int] | None) -> None:
        self._rows = rows
        self._buffer = io.BytesIO()
        self._writer: pq.ParquetWriter | None = None
        self.rows_count = 0

    def add(self, start: int, part: pa.Table, key: str, features: dict[str, Any]) -> None:
        """Take the rows of a part of the provenance that are the file's own and have an image.

        Args:
            start: number of the part's first row.
            part: its table.
            key: of the file; names in it are relative to its folder.
            features: of the published columns.
        """
        if self._rows is not None:
            first, stop = (min(max(row - start, 0), len(part)) for row in self._rows)
            part = part.slice(first, stop - first)
        table = part.filter(pc.is_valid(part.column("output")))
        skip = len(key) - len(key.rpartition("/")[2])
        columns = {FILE_NAME: pc.utf8_slice_codeunits(table.column("output"), skip)}
        columns |= {name: table.column(name) for name in ("image_id", "synthetic")}
        for name in table.column_names:
            if name not in RESERVED_COLUMNS and name not in columns and not _LOADED.search(name):
                columns[name] = table.column(name)
        written = pa.table(columns)
        written = written.replace_schema_metadata(to_metadata(beyond_types(features, written.schema)))
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._buffer, written.schema, compression="zstd")
        if len(written):
            self._writer.write_table(written)
        self.rows_count += len(written)

    def content(self) -> bytes:
        """Return the finished file."""
        if self._writer is not None:
            self._writer.close()
        return self._buffer.getvalue()


def _tables(release: Release) -> Iterator[tuple[int, pa.Table]]:
    for spec in effective(release.parts()):
        yield spec.start, release.read_part(spec).table
