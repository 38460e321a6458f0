"""The plan's rows: the checked, sampled manifest in small chunks in the ledger, so that a worker reads only its own."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Iterator
from functools import cached_property

import pyarrow as pa
import pyarrow.parquet as pq

from anon_batch.errors import IntegrityError
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.parquet_file import read_parquet
from anon_batch.manifest.persons import is_person_token
from anon_batch.manifest.read import rows_from_table
from anon_batch.manifest.schema import FIXED_COLUMNS
from anon_batch.manifest.slices import is_slice
from anon_batch.records import ManifestRow, ShardSpec

CHUNK_ROWS = 8_192
_KEPT_CHUNKS = 2


class PlannedRows:
    """Read the rows of a plan from the ledger; keep the latest chunks in memory.

    Args:
        ledger: holds the rows.
        rows_id: names their folder, as in the plan.
        total: number of rows.
    """

    def __init__(self, ledger: Ledger, rows_id: str, total: int) -> None:
        self._ledger = ledger
        self._rows_id = rows_id
        self._total = total
        self._chunks: OrderedDict[int, pa.Table] = OrderedDict()

    def read(self, spec: ShardSpec) -> list[ManifestRow]:
        """Return the rows of one shard, in order.

        Raises:
            IntegrityError: the ledger's rows are not what the plan says.
        """
        rows: list[ManifestRow] = []
        first = spec.start // CHUNK_ROWS * CHUNK_ROWS
        for start in range(first, min(spec.stop, self._total), CHUNK_ROWS):
            table = self._chunk(start)
            begin, end = max(spec.start, start), min(spec.stop, start + len(table))
            rows += rows_from_table(table.slice(begin - start, end - begin), begin)
        if len(rows) != spec.count:
            raise IntegrityError(f"{self._ledger.uri}: rows of shard {spec.name} are incomplete")
        return rows

    @cached_property
    def extra_schema(self) -> pa.Schema:
        """Names and types of the pass-through columns, without those that no release holds; features as metadata."""
        own = (field for field in self._chunk(0).schema if field.name not in FIXED_COLUMNS)
        shown = [field for field in own if not (is_slice(field.name) or is_person_token(field.name))]
        return pa.schema(shown, self._chunk(0).schema.metadata)

    def _chunk(self, start: int) -> pa.Table:
        if start not in self._chunks:
            self._chunks[start] = self._read_chunk(start)
            if len(self._chunks) > _KEPT_CHUNKS:
                self._chunks.popitem(last=False)
        self._chunks.move_to_end(start)
        return self._chunks[start]

    def _read_chunk(self, start: int) -> pa.Table:
        return read_chunk(self._ledger, self._rows_id, self._total, start)


def iter_chunks(ledger: Ledger, rows_id: str, total: int) -> Iterator[tuple[int, pa.Table]]:
    """Yield the first row number and the rows of every chunk of a plan, in order; raise as `read_chunk`."""
    for start in range(0, total, CHUNK_ROWS):
        yield start, read_chunk(ledger, rows_id, total, start)


def read_chunk(ledger: Ledger, rows_id: str, total: int, start: int) -> pa.Table:
    """Return the chunk whose first row is `start`.

    Raises:
        IntegrityError: it is damaged, or has not the rows that the plan says.
        ObjectNotFoundError: it is missing.
    """
    count = min(CHUNK_ROWS, total - start)
    uri = ledger.rows_address(rows_id, start, count)
    try:
        table = read_parquet(ledger.storage.read(uri), checksums=True)
    except (pa.ArrowException, OSError) as exc:
        raise IntegrityError(f"{uri}: damaged ({exc})") from None
    if len(table) != count:
        raise IntegrityError(f"{uri}: {len(table)} rows, expected {count}")
    return table


def chunk_to_parquet(table: pa.Table) -> bytes:
    """Return a chunk of rows as a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()
