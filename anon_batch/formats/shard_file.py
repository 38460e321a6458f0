"""Read the images of a shard file: the tar or Parquet file of the layouts `webdataset` and `parquet`."""

from __future__ import annotations

from collections.abc import Iterator

from anon_batch.formats import tar_shard
from anon_batch.formats.parquet_file import read_parquet


def read_members(data: bytes, key: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each member: images, and in a tar the JSON files beside them.

    A damaged file may raise any exception of its reader, after some members.

    Args:
        data: the file.
        key: its name, whose suffix tells a tar from Parquet.
    """
    return tar_shard.read_members(data) if key.endswith(".tar") else _parquet_members(data)


def _parquet_members(data: bytes) -> Iterator[tuple[str, bytes]]:
    for cell in read_parquet(data, ["image"]).column("image").to_pylist():
        yield cell["path"], cell["bytes"]
