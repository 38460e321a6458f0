"""Order, bounds and clean ends of the executor, whatever the batch size, the look-ahead, the sizes and the fault."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anon_batch.pipeline import executor as executor_module
from anon_batch.pipeline.executor import InlineExecutor, RowExecutor
from anon_batch.records import ManifestRow

SIZES = st.lists(st.sampled_from([0, 1, 5, 20, 31, 101, 500]), max_size=40)
LIMIT = 100


@dataclass
class Item:
    index: int
    pixel_count: int


class Stages:
    """Stages that count what is inside them, and raise where asked."""

    def __init__(self, sizes: Sequence[int], fails: tuple[str, int] | None = None) -> None:
        self.sizes = sizes
        self.fails = fails
        self.lock = threading.Lock()
        self.inside = 0
        self.begun = 0
        self.anonymized = 0
        self.running = 0
        self.pixels = 0
        self.most_pixels_before_one_more = 0
        self.most_ahead = 0
        self.batches: list[int] = []

    def _enter(self, stage: str, index: int) -> None:
        with self.lock:
            self.running += 1
        try:
            if self.fails == (stage, index):
                raise RuntimeError(f"{stage} of {index}")
        finally:
            with self.lock:
                self.running -= 1

    def read(self, row: ManifestRow) -> Item:
        with self.lock:
            self.begun += 1
            self.most_ahead = max(self.most_ahead, self.begun - self.anonymized)
        self._enter("read", row.index)
        return Item(row.index, self.sizes[row.index])

    def decode(self, item: Item) -> Item:
        with self.lock:
            self.most_pixels_before_one_more = max(self.most_pixels_before_one_more, self.pixels)
            self.pixels += item.pixel_count
        self._enter("decode", item.index)
        return item

    def anonymize(self, batch: Sequence[Item]) -> list[Item]:
        self.batches.append(len(batch))
        with self.lock:
            self.anonymized += len(batch)
        for item in batch:
            self._enter("anonymize", item.index)
        return list(batch)

    def encode(self, item: Item) -> Item:
        self._enter("encode", item.index)
        return item

    def put(self, item: Item) -> int:
        self._enter("put", item.index)
        with self.lock:
            self.pixels -= item.pixel_count
        return item.index


def _rows(count: int) -> list[ManifestRow]:
    return [ManifestRow(index, str(index), "uri") for index in range(count)]


@pytest.fixture(scope="module", autouse=True)
def _small_limit() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executor_module, "PIXELS_IN_FLIGHT", LIMIT)
        yield


@pytest.fixture(scope="module")
def io() -> Iterator[Executor]:
    with ThreadPoolExecutor(3) as threads:
        yield threads


@pytest.fixture(scope="module", params=["inline", "threads", "the same threads"])
def cpu(request: pytest.FixtureRequest, io: Executor) -> Iterator[Executor]:
    if request.param == "inline":
        yield InlineExecutor()
    elif request.param == "the same threads":
        yield io
    else:
        with ThreadPoolExecutor(2) as threads:
            yield threads


@settings(max_examples=80, deadline=5000)
@given(SIZES, st.integers(1, 9), st.integers(1, 12))
def test_order_is_kept_and_bounds_hold(
    io: Executor, cpu: Executor, sizes: list[int], batch_size: int, read_ahead: int
) -> None:
    stages = Stages(sizes)
    executor = RowExecutor(stages, io, cpu, batch_size, read_ahead)
    done = list(executor.run(_rows(len(sizes))))
    assert done == list(range(len(sizes)))
    assert max(stages.batches, default=0) <= batch_size
    assert stages.most_ahead <= read_ahead + batch_size
    assert stages.most_pixels_before_one_more <= LIMIT + max(sizes, default=0)


def test_a_huge_image_is_decoded_alone(io: Executor, cpu: Executor) -> None:
    sizes = [5] * 6 + [10 * LIMIT] + [5] * 6
    together: list[tuple[int, int]] = []

    class Slow(Stages):
        def decode(self, item: Item) -> Item:
            out = super().decode(item)
            time.sleep(0.005)
            with self.lock:
                together.append((item.index, self.pixels - item.pixel_count))
            return out

    assert list(RowExecutor(Slow(sizes), io, cpu, 4, 8).run(_rows(len(sizes)))) == list(range(13))
    [beside_the_huge_one] = [pixels for index, pixels in together if index == 6]
    assert beside_the_huge_one <= 6 * 5
    assert all(index < 7 or pixels < 10 * LIMIT for index, pixels in together), (
        "an image was decoded beside the huge one"
    )


@settings(max_examples=80, deadline=5000)
@given(
    SIZES.filter(bool),
    st.integers(1, 9),
    st.integers(1, 12),
    st.sampled_from(["read", "decode", "anonymize", "encode", "put"]),
    st.data(),
)
def test_an_exception_of_any_stage_ends_the_run_and_leaves_no_thread_running(
    io: Executor, cpu: Executor, sizes: list[int], batch_size: int, read_ahead: int, stage: str, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(sizes) - 1))
    stages = Stages(sizes, (stage, at))
    executor = RowExecutor(stages, io, cpu, batch_size, read_ahead)
    done: list[int] = []
    with pytest.raises(RuntimeError, match=f"{stage} of {at}"):
        done.extend(executor.run(_rows(len(sizes))))
    assert stages.running == 0
    begun = stages.begun
    assert done == list(range(len(done)))
    assert at not in done
    time.sleep(0.001)
    assert stages.begun == begun, "a thread went on after the end"
    stages.fails = None
    assert list(executor.run(_rows(len(sizes)))) == list(range(len(sizes))), "the executor can be used again"


def test_closing_the_iterator_ends_the_run(io: Executor, cpu: Executor) -> None:
    stages = Stages([1] * 50)
    running = RowExecutor(stages, io, cpu, 2, 4).run(_rows(50))
    assert next(running) == 0
    running.close()  # type: ignore[attr-defined]
    assert stages.running == 0
    assert stages.begun < 20


def test_too_few_results_of_a_batch_are_an_error_not_a_loss(io: Executor, cpu: Executor) -> None:
    class Short(Stages):
        def anonymize(self, batch: Sequence[Item]) -> list[Item]:
            return super().anonymize(batch)[1:]

    with pytest.raises(ValueError, match="zip"):
        list(RowExecutor(Short([1] * 4), io, cpu, 4, 4).run(_rows(4)))


def test_inline_executor_computes_in_the_calling_thread(io: Executor) -> None:
    threads: dict[str, set[str]] = {}

    class Named(Stages):
        def _enter(self, stage: str, index: int) -> None:
            with self.lock:
                threads.setdefault(stage, set()).add(threading.current_thread().name)

    stages = Named([1] * 20)
    assert len(list(RowExecutor(stages, io, InlineExecutor(), 4, 8).run(_rows(20)))) == 20
    here = {threading.current_thread().name}
    assert threads["decode"] == threads["anonymize"] == threads["encode"] == here
    assert not (threads["read"] | threads["put"]) & here


def test_rows_are_read_and_put_while_the_caller_anonymizes(io: Executor) -> None:
    put, read = threading.Event(), threading.Event()

    class Waiting(Stages):
        def _enter(self, stage: str, index: int) -> None:
            if (stage, index) == ("put", 3):
                put.set()
            if (stage, index) == ("read", 9):
                read.set()
            if (stage, index) == ("anonymize", 4):
                assert put.wait(5), "of the batch before"
                assert read.wait(5), "of the batch after"

    stages = Waiting([1] * 12)
    assert len(list(RowExecutor(stages, io, InlineExecutor(), 4, 8).run(_rows(12)))) == 12
