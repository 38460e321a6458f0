"""Counts the requests that a run would send to S3, while it runs on any storage."""

from __future__ import annotations

import io
import math
import threading
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO, Literal, cast

from anon_batch.config import StorageConfig
from anon_batch.formats import layout
from anon_batch.storage import ObjectInfo, Storage, absolute
from anon_batch.storage.objects import READ_AHEAD_BYTES
from anon_batch.storage.ranges import Ranges

LIST_PAGE_KEYS = 1000
MULTIPART_FROM_BYTES = 100 * 2**20  # s3fs: twice its part size
PART_BYTES = 50 * 2**20

Kind = Literal["put", "list", "get", "head"]
Unit = Literal["row", "output", "shard", "chunk", "run"]
"""What the number of a request grows with: rows, published outputs, shards, chunks of rows in the ledger, or nothing."""

_OUTPUTS = (layout.IMAGES, layout.SHARDS)
_PER_SHARD = (layout.PROVENANCE, layout.SHARDS, layout.LEDGER_AUDIT, layout.LEDGER_ATTEMPTS)


def puts_of(size_bytes: float) -> int:
    """Return the number of requests that write an object of this size."""
    return 1 if size_bytes < MULTIPART_FROM_BYTES else 2 + math.ceil(size_bytes / PART_BYTES)


class CountingStorage(Storage):
    """A storage that counts, for each call, the requests that it needs on S3; deletes are free there.

    Args:
        config: as of `Storage`.
        output, ledger: addresses of OUTPUT and LEDGER.
        list_page_keys: keys in the response to one LIST.

    Attributes:
        requests: (unit, kind) -> requests.
        listed: (what its keys grow with, keys) of each listing of a whole folder.
        in_shards: whether shards are being processed, so that every call counts by row or shard.
        enabled: whether calls are counted.
    """

    def __init__(self, config: StorageConfig, output: str, ledger: str, list_page_keys: int = LIST_PAGE_KEYS) -> None:
        super().__init__(config)
        self.requests: Counter[tuple[Unit, Kind]] = Counter()
        self.listed: list[tuple[Unit, int]] = []
        self.in_shards = False
        self.enabled = True
        self._bases = (absolute(output) + "/", absolute(ledger) + "/")
        self._page = list_page_keys
        self._lock = threading.Lock()

    def total(self) -> Counter[Kind]:
        """Return kind -> requests counted so far, listings included."""
        totals: Counter[Kind] = Counter()
        for (_, kind), number in self.requests.items():
            totals[kind] += number
        totals["list"] += sum(self.pages(keys) for _, keys in self.listed)
        return totals

    def pages(self, keys: float) -> int:
        """Return the number of LIST requests for this many keys."""
        return max(1, math.ceil(keys / self._page))

    def read(self, uri: str, offset: int | None = None, length: int | None = None) -> bytes:
        """Count a GET."""
        self._count(uri, "get")
        return super().read(uri, offset, length)

    def size(self, uri: str) -> int:
        """Count a HEAD."""
        self._count(uri, "head")
        return super().size(uri)

    def exists(self, uri: str) -> bool:
        """Count a HEAD, and a LIST for an object that does not exist, because it might be a folder."""
        self._count(uri, "head")
        found = super().exists(uri)
        if not found:
            self._count(uri, "list")
        return found

    def list(self, uri: str, *, markers: bool = False) -> Iterator[ObjectInfo]:
        """Count the LISTs of all keys that the caller takes."""
        keys = 0
        try:
            for info in super().list(uri, markers=markers):
                keys += 1
                yield info
        finally:
            if self._unit(uri) == "run":
                self._count_listing(uri, keys)
            else:
                self._count(uri, "list", self.pages(keys))

    def put(self, uri: str, data: bytes) -> None:
        """Count a PUT, or those of a multipart upload."""
        self._count(uri, "put", puts_of(len(data)))
        super().put(uri, data)

    def put_if_absent(self, uri: str, data: bytes) -> None:
        """Count a PUT."""
        self._count(uri, "put")
        super().put_if_absent(uri, data)

    def open(self, uri: str) -> BinaryIO:
        """Count a HEAD, and a GET for every range that the reader fetches."""
        return cast(BinaryIO, io.BufferedReader(Ranges(self.read, uri, self.size(uri)), READ_AHEAD_BYTES))

    def _count_listing(self, uri: str, keys: int) -> None:
        unit: Unit = "chunk" if uri.rstrip("/").endswith(f"/{layout.LEDGER_ROWS}") else "shard"
        if self.enabled:
            with self._lock:
                self.listed.append((unit, keys))

    def _count(self, uri: str, kind: Kind, number: int = 1) -> None:
        if self.enabled:
            with self._lock:
                self.requests[self._unit(uri, kind), kind] += number

    def _unit(self, uri: str, kind: Kind = "list") -> Unit:
        key = next((uri.removeprefix(base) for base in self._bases if uri.startswith(base)), None)
        if key is None:  # a source or, before the first shard, the manifest
            return "row" if self.in_shards else "run"
        folder, _, name = key.partition("/")
        if kind == "put" and folder in _OUTPUTS:
            return "output"
        if kind == "put" and folder == layout.LEDGER_ROWS:
            return "chunk"
        return "shard" if self.in_shards or (name and folder in _PER_SHARD) else "run"
