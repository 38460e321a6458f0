"""What `anon-batch manifest` prints while it lists."""

from __future__ import annotations

import posixpath
import time

from anon_batch.cli.console import err
from anon_batch.units import format_bytes, format_count, format_duration

_INTERVAL_S = 10.0
_LARGE_BYTES = 10**9


class ListingProgress:
    """Lines about what is being listed, at most one in ten seconds, and one about each large archive before it is read."""

    def __init__(self) -> None:
        self._printed_at = time.monotonic()
        self._archive = ""
        self._begin = 0.0
        self._first = 0
        self._rows_count = 0

    def archive(self, uri: str, position: int, size_bytes: int) -> None:
        name = posixpath.basename(uri)
        if uri != self._archive:
            self._archive, self._begin, self._first = uri, time.monotonic(), position
            if size_bytes >= _LARGE_BYTES:
                err.print(
                    f"{name} has {format_bytes(size_bytes)}: an archive of small images is transferred once, for the headers "
                    "between them; run this near the bucket",
                    markup=False,
                )
        if self._is_due():
            seconds = time.monotonic() - self._begin
            left = seconds * (size_bytes - position) / max(position - self._first, 1)
            err.print(
                f"{name}: {format_bytes(position)} of {format_bytes(size_bytes)}, {format_count(self._rows_count)} images, "
                f"{format_duration(left)} left",
                markup=False,
            )

    def rows(self, count: int) -> None:
        self._rows_count = count
        if self._is_due():
            err.print(f"{format_count(count)} images", markup=False)

    def lines(self, given: str, count: int) -> None:
        if self._is_due():
            err.print(f"{given}: {format_count(count)} lines", markup=False)

    def _is_due(self) -> bool:
        now = time.monotonic()
        if now - self._printed_at < _INTERVAL_S:
            return False
        self._printed_at = now
        return True
