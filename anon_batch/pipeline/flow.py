"""The flow of rows inside one worker: threads read, decode and finish around the one that drives the networks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Generic, Protocol, TypeVar

from anon_batch.records import ManifestRow

PIXELS_IN_FLIGHT = 120_000_000  # 360 MB as RGB; one larger picture passes alone


class Sized(Protocol):
    """Something that occupies a number of decoded pixels."""

    @property
    def pixel_count(self) -> int: ...


Read = TypeVar("Read", bound=Sized)
Decoded = TypeVar("Decoded", bound=Sized)
Done = TypeVar("Done")
Got = TypeVar("Got")


class Flow(Generic[Read, Decoded, Done]):
    """Takes rows through read -> decode -> treat -> finish, in order, with bounded memory.

    Args:
        pool: threads for `read`, `decode` and what `treat` returns.
        read: fetches a row's bytes and sizes the picture from its header.
        decode: makes pixels of it.
        treat: runs in the calling thread on a batch; returns for each item the call that finishes it.
        batch_size: items handed to `treat` at once, fewer when they are large.
        read_ahead: items on their way to `treat`, and on their way out of it.

    Attributes:
        waited_s: seconds that the calling thread waited: `wait_input` for pictures to be read and decoded, `wait_output` for
            finished ones to be encoded and put.
    """

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        read: Callable[[ManifestRow], Read],
        decode: Callable[[Read], Decoded],
        treat: Callable[[Sequence[Decoded]], Sequence[Callable[[], Done]]],
        batch_size: int,
        read_ahead: int,
    ) -> None:
        self._pool = pool
        self._read = read
        self._decode = decode
        self._treat = treat
        self._batch_size = batch_size
        self._read_ahead = read_ahead
        self._reads: deque[Future[Read]] = deque()
        self._decodes: deque[Future[Decoded]] = deque()
        self._finishes: deque[tuple[int, Future[Done]]] = deque()
        self._pixels = 0
        self.waited_s = {"wait_input": 0.0, "wait_output": 0.0}

    def run(self, rows: Sequence[ManifestRow]) -> Iterator[Done]:
        """Yields what `finish` returned, in the order of `rows`. An exception of any stage ends the flow, with no thread
        of it left running.
        """
        try:
            for batch in self._batches(rows):
                for item, finish in zip(batch, self._treat(batch), strict=True):
                    self._finishes.append((item.pixel_count, self._pool.submit(finish)))
                yield from self._collect(self._read_ahead)
            yield from self._collect(0)
        finally:
            self._abandon()

    def _batches(self, rows: Sequence[ManifestRow]) -> Iterator[list[Decoded]]:
        batch: list[Decoded] = []
        pixels = 0
        for item in self._decoded(rows):
            batch.append(item)
            pixels += item.pixel_count
            if len(batch) == self._batch_size or pixels > PIXELS_IN_FLIGHT // 4:
                yield batch
                batch, pixels = [], 0
        if batch:
            yield batch

    def _decoded(self, rows: Sequence[ManifestRow]) -> Iterator[Decoded]:
        source = iter(rows)
        while True:
            while len(self._reads) + len(self._decodes) < self._read_ahead and (row := next(source, None)) is not None:
                self._reads.append(self._pool.submit(self._read, row))
            while self._reads and self._may_decode(self._reads[0]):
                item = self._result(self._reads.popleft(), "wait_input")
                self._pixels += item.pixel_count
                self._decodes.append(self._pool.submit(self._decode, item))
            if not self._decodes:
                return
            yield self._result(self._decodes.popleft(), "wait_input")

    def _may_decode(self, head: Future[Read]) -> bool:
        """Rows enter in order, so the one that all others wait for always gets through."""
        if not self._decodes:
            return True
        return head.done() and self._pixels + head.result().pixel_count <= PIXELS_IN_FLIGHT

    def _collect(self, keep: int) -> Iterator[Done]:
        while self._finishes and (
            len(self._finishes) > keep or self._pixels > PIXELS_IN_FLIGHT // 2 or self._finishes[0][1].done()
        ):
            pixels, future = self._finishes.popleft()
            done = self._result(future, "wait_output")
            self._pixels -= pixels
            yield done

    def _result(self, future: Future[Got], why: str) -> Got:
        if future.done():
            return future.result()
        begin = time.perf_counter()
        try:
            return future.result()
        finally:
            self.waited_s[why] += time.perf_counter() - begin

    def _abandon(self) -> None:
        left: list[Future[Any]] = [*self._reads, *self._decodes, *(future for _, future in self._finishes)]
        for future in left:
            future.cancel()
        wait(left)
        self._reads.clear()
        self._decodes.clear()
        self._finishes.clear()
        self._pixels = 0
