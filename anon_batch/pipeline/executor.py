"""Run the rows of a shard through read -> decode -> anonymize -> encode -> put with bounded memory, in order.

The calling thread runs `anonymize`, because it drives the networks. Threads read ahead of it and write behind it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, wait
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

from anon_batch.records import ManifestRow

PIXELS_IN_FLIGHT = 120_000_000  # 360 MB as RGB; one larger image passes alone


class Sized(Protocol):
    """Something that occupies memory for a number of decoded pixels."""

    @property
    def pixel_count(self) -> int: ...


Read = TypeVar("Read", bound=Sized)
Decoded = TypeVar("Decoded", bound=Sized)
Result = TypeVar("Result")
Encoded = TypeVar("Encoded")
Finished_co = TypeVar("Finished_co", covariant=True)
Returned = TypeVar("Returned")
Given = ParamSpec("Given")


class RowStages(Protocol[Read, Decoded, Result, Encoded, Finished_co]):
    """The stages that a row passes, in this order. An exception of any stage ends the shard's attempt."""

    def read(self, row: ManifestRow) -> Read:
        """Fetch the source bytes and read the image's size from its header."""

    def decode(self, item: Read) -> Decoded:
        """Decode the pixels that the detectors see."""

    def anonymize(self, batch: Sequence[Decoded]) -> Sequence[Result]:
        """Detect and anonymize; return one result for each item, in order."""

    def encode(self, item: Result) -> Encoded:
        """Encode the output. The returned object holds no pixels."""

    def put(self, item: Encoded) -> Finished_co:
        """Write the output to storage."""


class InlineExecutor(Executor):
    """Run each call at once in the thread that submits it."""

    def submit(self, fn: Callable[Given, Returned], /, *args: Given.args, **kwargs: Given.kwargs) -> Future[Returned]:
        future: Future[Returned] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as exc:
            future.set_exception(exc)
        return future


class RowExecutor(Generic[Read, Decoded, Result, Encoded, Finished_co]):
    """Run rows through their stages.

    Args:
        stages: the stages of a row.
        io: thread pool for `read` and `put`, which mostly wait.
        cpu: runs `decode` and `encode`. Use a thread pool only where CPUs are left beside the calling thread's, otherwise
            `InlineExecutor`, because threads that share one CPU contend for the interpreter lock.
        batch_size: images in one call of `anonymize`; fewer when they are large.
        read_ahead: items between `read` and `anonymize`, and items between `anonymize` and `put`.

    Attributes:
        waited_s: seconds that the calling thread waited: `wait_input` for images to be read and decoded, `wait_output` for
            outputs to be encoded and written.
    """

    def __init__(
        self,
        stages: RowStages[Read, Decoded, Result, Encoded, Finished_co],
        io: Executor,
        cpu: Executor,
        batch_size: int,
        read_ahead: int,
    ) -> None:
        self._stages = stages
        self._io = io
        self._cpu = cpu
        self._batch_size = batch_size
        self._read_ahead = read_ahead
        self._reads: deque[Future[Read]] = deque()
        self._decodes: deque[Future[Decoded]] = deque()
        self._outputs: deque[tuple[int, Future[Future[Finished_co]]]] = deque()
        self._pixels = 0
        self.waited_s = {"wait_input": 0.0, "wait_output": 0.0}

    def run(self, rows: Sequence[ManifestRow]) -> Iterator[Finished_co]:
        """Yield what `put` returned, in the order of `rows`.

        An exception of any stage ends the run; no thread is left running.
        """
        try:
            for batch in self._batches(rows):
                sizes = [item.pixel_count for item in batch]
                results = self._stages.anonymize(batch)
                del batch  # the items hold pixels
                for size, result in zip(sizes, results, strict=True):
                    self._outputs.append((size, self._cpu.submit(self._write, result)))
                del results
                yield from self._collect(self._read_ahead)
            yield from self._collect(0)
        finally:
            self._cancel()

    def _write(self, result: Result) -> Future[Finished_co]:
        return self._io.submit(self._stages.put, self._stages.encode(result))

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
                self._reads.append(self._io.submit(self._stages.read, row))
            while self._reads and self._may_decode(self._reads[0]):
                item = self._result(self._reads.popleft(), "wait_input")
                self._pixels += item.pixel_count
                self._decodes.append(self._cpu.submit(self._stages.decode, item))
            if not self._decodes:
                return
            yield self._result(self._decodes.popleft(), "wait_input")

    def _may_decode(self, head: Future[Read]) -> bool:
        """Return whether the next image fits into memory. With nothing in flight any image may pass, so none blocks."""
        if not self._decodes:
            return True
        return head.done() and self._pixels + head.result().pixel_count <= PIXELS_IN_FLIGHT

    def _collect(self, keep: int) -> Iterator[Finished_co]:
        while self._outputs and (
            len(self._outputs) > keep or self._pixels > PIXELS_IN_FLIGHT // 2 or _is_written(self._outputs[0][1])
        ):
            pixels, future = self._outputs.popleft()
            finished = self._result(self._result(future, "wait_output"), "wait_output")
            self._pixels -= pixels
            yield finished

    def _result(self, future: Future[Returned], phase: str) -> Returned:
        if future.done():
            return future.result()
        begin = time.perf_counter()
        try:
            return future.result()
        finally:
            self.waited_s[phase] += time.perf_counter() - begin

    def _cancel(self) -> None:
        encodes = [future for _, future in self._outputs]
        _cancel_and_wait([*self._reads, *self._decodes, *encodes])
        _cancel_and_wait(
            [future.result() for future in encodes if not future.cancelled() and future.exception() is None]
        )
        self._reads.clear()
        self._decodes.clear()
        self._outputs.clear()
        self._pixels = 0


def _is_written(output: Future[Future[Any]]) -> bool:
    """Return whether the output is written or has failed, so that collecting it does not wait."""
    return output.done() and (output.exception() is not None or output.result().done())


def _cancel_and_wait(futures: Sequence[Future[Any]]) -> None:
    for future in futures:
        future.cancel()
    wait(futures)
