"""Follow what a driver prints, over a connection that may break or go silent at any time."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Iterator

from anon_batch.cluster.jobs.server import JobServer
from anon_batch.errors import AnonBatchError

_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 15.0
_SILENCE_S = 120.0  # after which the connection may be dead, because a driver prints every ten seconds while it works


class LogStream:
    """The lines of a job's log, in a thread of its own. Use it as a context manager.

    A stream starts at the beginning of the log each time, so what was seen is skipped. Nothing may be concluded from its end.

    Args:
        server: of the cluster.
        submission_id: of the job.
    """

    def __init__(self, server: JobServer, submission_id: str) -> None:
        self._server = server
        self._id = submission_id
        self._chunks: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._ends = threading.Event()
        self._seen = 0  # characters
        self._rest = ""  # of a line whose end has not come yet
        self._thread = threading.Thread(target=self._follow, name="log stream", daemon=True)

    def __enter__(self) -> LogStream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()

    def lines(self) -> Iterator[str]:
        """Yield the lines that have come since the last call."""
        while not self._chunks.empty():
            *lines, self._rest = (self._rest + self._chunks.get()).split("\n")
            yield from lines

    def last_lines(self, patience_s: float = 5.0) -> Iterator[str]:
        """Yield the lines that are left of a job that has ended, whether or not the stream delivered them."""
        self._ends.set()
        self._thread.join(patience_s)
        yield from self.lines()
        if not self._thread.is_alive():  # else it may still count
            try:
                whole = self._server.log(self._id)
            except AnonBatchError:
                whole = ""  # the end is not known then; the exit code is
            *lines, self._rest = (self._rest + whole[self._seen :]).split("\n")
            yield from lines
        if self._rest:
            yield self._rest
            self._rest = ""

    def _follow(self) -> None:
        pause_s = _PAUSE_S
        while not self._ends.is_set():
            seen = self._seen
            with contextlib.suppress(Exception):  # because another stream follows, whatever ends this one
                asyncio.run(self._read())
            pause_s = _PAUSE_S if self._seen > seen else min(2 * pause_s, _LONGEST_PAUSE_S)
            self._ends.wait(pause_s)

    async def _read(self) -> None:
        """Read one stream until it ends, breaks, or is silent for long."""
        at = 0
        stream = self._server.tail(self._id)
        silent_s = 0.0
        coming = asyncio.ensure_future(anext(stream))
        try:
            while silent_s < _SILENCE_S and not self._ends.is_set():
                done, _ = await asyncio.wait({coming}, timeout=_PAUSE_S)
                silent_s = 0.0 if done else silent_s + _PAUSE_S
                if done:
                    chunk = coming.result()
                    new, at = chunk[max(0, self._seen - at) :], at + len(chunk)
                    if new:
                        self._seen = at
                        self._chunks.put(new)
                    coming = asyncio.ensure_future(anext(stream))
        except StopAsyncIteration:
            pass
        finally:
            coming.cancel()
