"""Find the shards of the source: its tars and Parquet files, so that a release may have the same ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anon_batch.errors import ManifestError
from anon_batch.units import format_bytes, format_count

MAX_ROWS = 65_536  # as `engine.shard_rows`
MAX_BYTES = 4 * 2**30  # because a shard is written from memory, and S3 takes at most 5 GiB in one request
_CELL = "#column=.*$"


class _Run(NamedTuple):
    """Rows beside each other whose images lie in one file; address "" for images that are files of their own."""

    address: str
    start: int
    stop: int
    size_bytes: int
    first_id: str


class SourceShards:
    """Take the rows in order, and find where a new tar or Parquet file begins.

    Images that are files of their own and stand beside each other count as shards of `shard_rows`.

    Args:
        where: the manifest's address, for messages.
        shard_rows: `engine.shard_rows`.
    """

    def __init__(self, where: str, shard_rows: int) -> None:
        self._where, self._shard_rows = where, shard_rows
        self._last = _Run("", 0, 0, 0, "")
        self._starts: list[int] = []
        self._largest = 0
        self._has_containers = False

    def feed(self, table: pa.Table) -> None:
        """Take the next rows.

        Raises:
            ManifestError: a shard of the source is too large to be written as one.
        """
        files = containers(table)
        ids, sizes = table.column("image_id"), pc.coalesce(table.column("length"), table.column("size_bytes"))
        numbers = pc.fill_null(sizes, 0).to_numpy()
        begins = np.flatnonzero(files[1:] != files[:-1]) + 1
        for start, stop in zip([0, *begins], [*begins, len(files)], strict=True):
            if start < stop:
                self._add(str(files[start]), int(stop - start), int(numbers[start:stop].sum()), ids[int(start)].as_py())

    def _add(self, address: str, count: int, size_bytes: int, first_id: str) -> None:
        last = self._last
        if last.stop and last.address == address:
            self._last = last._replace(stop=last.stop + count, size_bytes=last.size_bytes + size_bytes)
        else:
            self._close()
            self._last = _Run(address, last.stop, last.stop + count, size_bytes, first_id)
        self._check()

    def _check(self) -> None:
        run = self._last
        rows_count = run.stop - run.start
        if run.address and (rows_count > MAX_ROWS or run.size_bytes > MAX_BYTES):
            raise ManifestError(
                f"manifest {self._where}: `write.shards: source` would write the {format_count(rows_count)} images "
                f"({format_bytes(run.size_bytes)}) or more that lie in one file with {run.first_id!r} as one shard, and a shard "
                f"is written from memory: at most {format_count(MAX_ROWS)} images and 4 GiB. Leave out "
                "`write.shards`, or pack the source in smaller files"
            )

    def _close(self) -> None:
        run = self._last
        if not run.stop:
            return
        size = (run.stop - run.start) if run.address else self._shard_rows
        self._starts += range(run.start, run.stop, size)
        self._largest = max(self._largest, min(size, run.stop - run.start))
        self._has_containers = self._has_containers or bool(run.address)

    def finish(self) -> tuple[tuple[int, ...], int]:
        """Return the first row of each shard, and the rows of the largest one. Call it once.

        Raises:
            ManifestError: all images are files of their own.
        """
        self._close()
        if self._starts and not self._has_containers:
            raise ManifestError(
                f"manifest {self._where}: `write.shards: source` keeps the shards of the source, and this source has none: its "
                "images are files of their own. Leave it out"
            )
        return tuple(self._starts), self._largest


def containers(table: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    """Return the address of the tar or Parquet file that holds each image, "" for an image that is a file of its own."""
    uri = table.column("uri")
    inside = pc.or_(pc.is_valid(table.column("offset")), pc.match_substring_regex(uri, _CELL))
    return np.asarray(pc.if_else(inside, pc.replace_substring_regex(uri, _CELL, ""), "").to_pylist(), object)
