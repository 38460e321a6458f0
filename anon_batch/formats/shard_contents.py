"""Take a shard file apart by image, and put together a new one: the layouts `webdataset` and `parquet`.

What is kept is copied as it is: all members of a sample, all columns of a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from anon_batch.formats.parquet_file import read_parquet
from anon_batch.formats.parquet_shard import write_parquet_shard
from anon_batch.formats.tar_shard import Sample, read_samples, write_samples

Entry: TypeAlias = Sample | pa.Table
"""One image of a shard file: its sample of a tar, without the other images of that sample, or a table of one row."""


def read_entries(data: bytes, key: str) -> Mapping[str, Entry]:
    """Map the name of each image inside a shard file, as the provenance has it in `member`, to its entry, in order.

    A damaged file may raise any exception of its reader.

    Args:
        data: the file.
        key: its name, whose suffix tells a tar from Parquet.
    """
    if key.endswith(".tar"):
        return {name: sample.with_image(name) for sample in read_samples(data) for name in sample.images}
    table = read_parquet(data)
    names = pc.struct_field(table.column("image").combine_chunks(), "path").to_pylist()
    return {name: table.slice(at, 1) for at, name in enumerate(names)}


def write_entries(entries: Iterable[Entry], key: str) -> bytes:
    """Return a shard file of these entries in order, at least one; `key` is its name."""
    if key.endswith(".tar"):
        return write_samples(entry for entry in entries if isinstance(entry, Sample))
    return write_parquet_shard(pa.concat_tables([entry for entry in entries if isinstance(entry, pa.Table)]))
