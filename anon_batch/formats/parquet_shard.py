"""The Parquet file with the images of a shard, as the layout `parquet` publishes it."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq


def write_parquet_shard(table: pa.Table) -> bytes:
    """Return the file. Because images do not compress further, store them as they are; small row groups can be streamed."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="none", row_group_size=100)
    return buffer.getvalue()
