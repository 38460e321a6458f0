"""Read an object as a seekable file."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any

from anon_batch.errors import StorageError

Read = Callable[[str, int, int], bytes]


class Ranges(io.RawIOBase):
    """A read-only file; each read requests a range of the object.

    Args:
        read: (uri, offset, length) -> bytes, with its own retries.
        uri: the object's address.
        size_bytes: its size.
    """

    def __init__(self, read: Read, uri: str, size_bytes: int) -> None:
        self._fetch, self._uri, self._size, self._at = read, uri, size_bytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:  # words: allow
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}
        self._at = max(0, offset + start[whence])  # words: allow
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = self._take(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return self._take(self._size - self._at)

    def _take(self, length: int) -> bytes:
        length = min(length, self._size - self._at)
        data = self._fetch(self._uri, self._at, length) if length > 0 else b""
        if len(data) < length:  # because a truncated read would pass as a complete, shorter file
            raise StorageError("the object became shorter during the read", self._uri)
        self._at += len(data)
        return data
