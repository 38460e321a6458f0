"""The flow of rows inside one worker: threads read and put around the one that drives the networks; what computes does so
in as many threads as there are CPUs for it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, wait
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

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
Given = ParamSpec("Given")


class Inline(Executor):
    """Makes each call at once, in the thread that submits it."""

    def submit(self, fn: Callable[Given, Got], /, *args: Given.args, **kwargs: Given.kwargs) -> Future[Got]:
        future: Future[Got] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as exc:
            future.set_exception(exc)
        return future


class Flow(Generic[Read, Decoded, Done]):
    """Takes rows through read -> decode -> treat -> encode -> put, in order, with bounded memory.

    Args:
        io: threads for `read` and the puts, which mostly wait.
        cpu: runs `decode` and the encodings. Threads only where CPUs are left beside the calling thread's, else `Inline`: threads
            that share one CPU, and Python's lock, hinder each other.
        read: fetches a row's bytes and sizes the picture from its header.
        decode: makes pixels of it.
        treat: runs in the calling thread on a batch; returns for each item the call that encodes it, which returns the one that
            puts it.
        batch_size: items handed to `treat` at once, fewer when they are large.
        read_ahead: items on their way to `treat`, and on their way out of it.

    Attributes:
        waited_s: seconds that the calling thread waited: `wait_input` for pictures to be read and decoded, `wait_output` for
            finished ones to be encoded and put.
    """

    def __init__(
        self,
        io: Executor,
        cpu: Executor,
        read: Callable[[ManifestRow], Read],
        decode: Callable[[Read], Decoded],
        treat: Callable[[Sequence[Decoded]], Sequence[Callable[[], Callable[[], Done]]]],
        batch_size: int,
        read_ahead: int,
    ) -> None:
        self._io = io
        self._cpu = cpu
        self._read = read
        self._decode = decode
        self._treat = treat
        self._batch_size = batch_size
        self._read_ahead = read_ahead
        self._reads: deque[Future[Read]] = deque()
        self._decodes: deque[Future[Decoded]] = deque()
        self._finishes: deque[tuple[int, Future[Future[Done]]]] = deque()
        self._pixels = 0
        self.waited_s = {"wait_input": 0.0, "wait_output": 0.0}

    def run(self, rows: Sequence[ManifestRow]) -> Iterator[Done]:
        """Yields what the puts returned, in the order of `rows`. An exception of any stage ends the flow, with no thread
        of it left running.
        """
        try:
            for batch in self._batches(rows):
                for item, encode in zip(batch, self._treat(batch), strict=True):
                    self._finishes.append((item.pixel_count, self._cpu.submit(self._finish, encode)))
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
                self._reads.append(self._io.submit(self._read, row))
            while self._reads and self._may_decode(self._reads[0]):
                item = self._result(self._reads.popleft(), "wait_input")
                self._pixels += item.pixel_count
                self._decodes.append(self._cpu.submit(self._decode, item))
            if not self._decodes:
                return
            yield self._result(self._decodes.popleft(), "wait_input")

    def _may_decode(self, head: Future[Read]) -> bool:
        """Rows enter in order, so the one that all others wait for always gets through."""
        if not self._decodes:
            return True
        return head.done() and self._pixels + head.result().pixel_count <= PIXELS_IN_FLIGHT

    def _finish(self, encode: Callable[[], Callable[[], Done]]) -> Future[Done]:
        return self._io.submit(encode())

    def _collect(self, keep: int) -> Iterator[Done]:
        while self._finishes and (
            len(self._finishes) > keep or self._pixels > PIXELS_IN_FLIGHT // 2 or _is_put(self._finishes[0][1])
        ):
            pixels, future = self._finishes.popleft()
            done = self._result(self._result(future, "wait_output"), "wait_output")
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
        encodes = [future for _, future in self._finishes]
        _end([*self._reads, *self._decodes, *encodes])
        _end([future.result() for future in encodes if not future.cancelled() and future.exception() is None])
        self._reads.clear()
        self._decodes.clear()
        self._finishes.clear()
        self._pixels = 0


def _is_put(finish: Future[Future[Done]]) -> bool:
    """Whether nothing is left to wait for; also after an exception."""
    return finish.done() and (finish.exception() is not None or finish.result().done())


def _end(futures: Sequence[Future[Any]]) -> None:
    for future in futures:
        future.cancel()
    wait(futures)
