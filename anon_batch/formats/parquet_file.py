"""Read Parquet in the calling thread alone.

Because Arrow's own threads may still hold bytes of Python when the interpreter ends, a process that has done its work could be
aborted at its very end (apache/arrow#34314), and its exit code would say that it failed. Parts and row groups are small, and
several of them are read side by side anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq


def read_parquet(data: bytes, columns: Sequence[str] | None = None, *, checksums: bool = False) -> pa.Table:
    """Return the table of a Parquet file.

    Args:
        data: the file.
        columns: to read; None reads all.
        checksums: whether to verify those of the pages.

    Raises:
        pa.ArrowException, OSError: the file is damaged.
    """
    file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=checksums)
    return file.read(None if columns is None else list(columns), use_threads=False)
