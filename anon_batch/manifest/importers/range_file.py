"""Read an object by ranges, ahead of the reader where reads follow each other.

Over a network a request takes about as much time as 2 MB of transfer, so reads close to each other come out of windows of 8 MiB,
and those far apart cost one request of 64 KiB each. While windows follow each other, the next ones are fetched meanwhile: as
many as were read in a row, at most 16, so that no more is fetched in vain than was read. Memory: 136 MiB.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from anon_batch.storage import Storage, is_local

NEAR_BYTES = 2 * 2**20
WINDOW_BYTES = 8 * 2**20
LONE_BYTES = 64 * 2**10
MAX_AHEAD = 16  # windows
_READERS = 16
_NONE = -2  # no window, nor the one before the first

Watch = Callable[[str, int, int], None]  # gets address, position and size of an object that is read


class RangeFile:
    """An object that is read by ranges. Close it after use.

    Args:
        storage: to read with.
        uri: of the object.
        watch: called before each request for a part of a remote object.

    Raises:
        StorageError: it cannot be read; also from `read_at`.
    """

    def __init__(self, storage: Storage, uri: str, watch: Watch | None = None) -> None:
        self.uri = uri
        self.size_bytes = storage.size(uri)
        self._storage = storage
        self._watch = watch
        self._local = storage.open(uri) if is_local(uri) else None
        self._pool: ThreadPoolExecutor | None = None
        self._windows: dict[int, Future[bytes]] = {}
        self._current = _NONE
        self._in_a_row = 0
        self._lone = (0, b"")
        self._last_end = 0

    def read_at(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer where the object ends."""
        length = max(0, min(length, self.size_bytes - offset))
        if self._local is not None:
            self._local.seek(offset)
            return self._local.read(length)
        if not length:
            return b""
        is_near = abs(offset - self._last_end) <= NEAR_BYTES
        self._last_end = offset + length
        start, data = self._lone
        if start <= offset and offset + length <= start + len(data):
            return data[offset - start : offset - start + length]
        numbers = range(offset // WINDOW_BYTES, -(-(offset + length) // WINDOW_BYTES))
        if not is_near and any(number not in self._windows for number in numbers):
            self._forget()
            self._note(offset)
            data = self._read(offset, max(length, LONE_BYTES))
            self._lone = (offset, data)
            return data[:length]
        found = b"".join([self._window(number, follows=is_near) for number in numbers])
        first = offset - numbers.start * WINDOW_BYTES
        return found[first : first + length]

    def _window(self, number: int, *, follows: bool) -> bytes:
        if number != self._current:
            self._in_a_row = self._in_a_row + 1 if follows and number == self._current + 1 else 0
            self._current = number
            for own in [own for own in self._windows if not number <= own <= number + MAX_AHEAD]:
                self._windows.pop(own).cancel()
            for wanted in range(number, number + 1 + min(self._in_a_row, MAX_AHEAD)):
                if wanted not in self._windows and wanted * WINDOW_BYTES < self.size_bytes:
                    self._windows[wanted] = self._submit(wanted)
            self._note(number * WINDOW_BYTES)
        return self._windows[number].result()

    def _submit(self, number: int) -> Future[bytes]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_READERS, "read-ahead")
        return self._pool.submit(self._read, number * WINDOW_BYTES, WINDOW_BYTES)

    def _read(self, offset: int, length: int) -> bytes:
        return self._storage.read(self.uri, offset, min(length, self.size_bytes - offset))

    def _note(self, offset: int) -> None:
        if self._watch is not None:
            self._watch(self.uri, offset, self.size_bytes)

    def _forget(self) -> None:
        for window in self._windows.values():
            window.cancel()
        self._windows.clear()
        self._current, self._in_a_row = _NONE, 0

    def close(self) -> None:
        self._forget()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        if self._local is not None:
            self._local.close()

    def __enter__(self) -> RangeFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
