"""Read foreign Parquet files in bounded memory.

A file of kilobytes can unpack to terabytes: one long text, stored once in a column's dictionary, is repeated for each row. So
little is read at a time, its size is checked, and dictionaries and row groups are measured before they are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from anon_batch.errors import ManifestError
from anon_batch.manifest.parquet_footer import Chunk, RowGroup, read_page_bytes, read_row_groups

PART_ROWS = 256
BUDGET_ROWS = 8192
BUDGET_BYTES = 256 * 2**20  # of so many rows
MAX_DICTIONARY_BYTES = 8 * 2**20  # writers end a dictionary at 1 or 2 MiB
MAX_LIST_VALUES = 10_000  # a row, on average
MAX_GROUP_BYTES = 2 * 2**30
MAX_GROUP_ROWS = 10_000_000
_HEADER_BYTES = 32


def iter_tables(
    file: BinaryIO, parquet: pq.ParquetFile, columns: Sequence[str], batch_rows: int, where: str
) -> Iterator[pa.Table]:
    """Yield the rows in tables of at most `batch_rows`.

    Args:
        file: the file that `parquet` reads.
        parquet: the opened file.
        columns: to read, also inside structs.
        batch_rows: most rows of a table.
        where: the file's address, for messages.

    Raises:
        ManifestError: the columns hold more than 256 MiB in 8,192 rows, a dictionary of more than 8 MiB, or endless lists.
    """
    _check_columns(file, columns, where)
    parts: list[pa.Table] = []
    held_rows = held_bytes = budget_rows = start = 0
    for batch in parquet.iter_batches(min(PART_ROWS, batch_rows), columns=list(columns), use_threads=False):
        part = pa.Table.from_batches([batch])
        budget_rows += len(part)
        held_bytes += sum(map(_expanded_bytes, part.columns))
        if held_bytes > BUDGET_BYTES:
            stop = start + budget_rows
            raise ManifestError(
                f"{where}: rows {stop - budget_rows} to {stop - 1} hold over {BUDGET_BYTES >> 20} MiB without the images; "
                "drop the long columns"
            )
        if budget_rows >= BUDGET_ROWS:
            start, budget_rows, held_bytes = start + budget_rows, 0, 0
        if held_rows + len(part) > batch_rows:
            yield pa.concat_tables(parts).combine_chunks()
            parts, held_rows = [], 0
        parts.append(part)
        held_rows += len(part)
    if parts:
        yield pa.concat_tables(parts).combine_chunks()


def check_row_group(group: RowGroup, column: str) -> str | None:
    """Return why a column of a row group must not be read whole; None where it may be."""
    size = sum(chunk.unpacked_bytes for chunk in _chunks(group, [column]))
    if size > MAX_GROUP_BYTES:
        return f"a row group of {size:,} bytes; at most {MAX_GROUP_BYTES:,} are read at once: write smaller row groups"
    if group.rows > MAX_GROUP_ROWS:
        return f"a row group of {group.rows:,} rows; at most {MAX_GROUP_ROWS:,} are read at once"
    return None


def shared_columns(group: RowGroup, column: str) -> list[str]:
    """Return the paths of binary columns inside `column` whose values a dictionary of this row group holds."""
    return [chunk.path for chunk in _chunks(group, [column]) if chunk.dictionary_at is not None and chunk.is_bytes]


def _expanded_bytes(column: pa.ChunkedArray) -> int:
    """Return the size of a column, with the values of a dictionary repeated for each row."""
    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    total = 0
    for chunk in column.chunks:
        values = chunk.dictionary
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            total += pc.sum(pc.binary_length(values).take(chunk.indices)).as_py() or 0
        total += chunk.indices.nbytes
    return total


def _chunks(group: RowGroup, columns: Sequence[str]) -> Iterator[Chunk]:
    for chunk in group.chunks:
        if any(chunk.path == name or chunk.path.startswith(f"{name}.") for name in columns):
            yield chunk


def _check_columns(file: BinaryIO, columns: Sequence[str], where: str) -> None:
    try:
        for group in read_row_groups(file):
            for chunk in _chunks(group, columns):
                _check_chunk(file, group, chunk, where)
    except ValueError as exc:
        raise ManifestError(f"{where}: damaged ({exc}); fetch or write it again") from None


def _check_chunk(file: BinaryIO, group: RowGroup, chunk: Chunk, where: str) -> None:
    if chunk.values > max(1, group.rows) * MAX_LIST_VALUES:
        raise ManifestError(
            f"{where}: column `{chunk.path}` holds lists of over {MAX_LIST_VALUES:,} values a row; drop it"
        )
    if chunk.dictionary_at is None or chunk.unpacked_bytes <= MAX_DICTIONARY_BYTES:
        return
    file.seek(max(0, chunk.dictionary_at))
    if (size := read_page_bytes(file.read(_HEADER_BYTES))) > MAX_DICTIONARY_BYTES:
        raise ManifestError(
            f"{where}: the dictionary of column `{chunk.path}` has {size:,} bytes; at most {MAX_DICTIONARY_BYTES:,} are read: "
            "drop the column, or write it without a dictionary"
        )
