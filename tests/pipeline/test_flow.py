"""Order, bounds and clean ends of the flow, whatever the batch size, the look-ahead, the sizes and the fault."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anon_batch.pipeline import flow as flow_module
from anon_batch.pipeline.flow import Flow
from anon_batch.records import ManifestRow

SIZES = st.lists(st.sampled_from([0, 1, 5, 20, 31, 101, 500]), max_size=40)
LIMIT = 100


@dataclass
class Item:
    index: int
    pixel_count: int


class Stages:
    """Stages that count what is inside them, and raise where told."""

    def __init__(self, sizes: Sequence[int], fails: tuple[str, int] | None = None) -> None:
        self.sizes = sizes
        self.fails = fails
        self.lock = threading.Lock()
        self.inside = 0
        self.begun = 0
        self.treated = 0
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
            self.most_ahead = max(self.most_ahead, self.begun - self.treated)
        self._enter("read", row.index)
        return Item(row.index, self.sizes[row.index])

    def decode(self, item: Item) -> Item:
        with self.lock:
            self.most_pixels_before_one_more = max(self.most_pixels_before_one_more, self.pixels)
            self.pixels += item.pixel_count
        self._enter("decode", item.index)
        return item

    def treat(self, batch: Sequence[Item]) -> list[Callable[[], int]]:
        self.batches.append(len(batch))
        with self.lock:
            self.treated += len(batch)
        for item in batch:
            self._enter("treat", item.index)
        return [partial(self._finish, item) for item in batch]

    def _finish(self, item: Item) -> int:
        self._enter("finish", item.index)
        with self.lock:
            self.pixels -= item.pixel_count
        return item.index


def _rows(count: int) -> list[ManifestRow]:
    return [ManifestRow(index, str(index), "uri") for index in range(count)]


@pytest.fixture(scope="module", autouse=True)
def _small_limit() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow_module, "PIXELS_IN_FLIGHT", LIMIT)
        yield


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(3) as threads:
        yield threads


@settings(max_examples=80, deadline=5000)
@given(SIZES, st.integers(1, 9), st.integers(1, 12))
def test_order_is_kept_and_bounds_hold(
    pool: ThreadPoolExecutor, sizes: list[int], batch_size: int, read_ahead: int
) -> None:
    stages = Stages(sizes)
    done = list(Flow(pool, stages.read, stages.decode, stages.treat, batch_size, read_ahead).run(_rows(len(sizes))))
    assert done == list(range(len(sizes)))
    assert max(stages.batches, default=0) <= batch_size
    assert stages.most_ahead <= read_ahead + batch_size
    assert stages.most_pixels_before_one_more <= LIMIT + max(sizes, default=0)


def test_a_huge_picture_is_decoded_alone(pool: ThreadPoolExecutor) -> None:
    sizes = [5] * 6 + [10 * LIMIT] + [5] * 6
    stages = Stages(sizes)
    together: list[tuple[int, int]] = []

    def decode(item: Item) -> Item:
        out = stages.decode(item)
        time.sleep(0.005)
        with stages.lock:
            together.append((item.index, stages.pixels - item.pixel_count))
        return out

    assert list(Flow(pool, stages.read, decode, stages.treat, 4, 8).run(_rows(len(sizes)))) == list(range(13))
    [beside_the_huge_one] = [pixels for index, pixels in together if index == 6]
    assert beside_the_huge_one <= 6 * 5
    assert all(index < 7 or pixels < 10 * LIMIT for index, pixels in together), (
        "a picture was decoded beside the huge one"
    )


@settings(max_examples=80, deadline=5000)
@given(
    SIZES.filter(bool), st.integers(1, 9), st.integers(1, 12),
    st.sampled_from(["read", "decode", "treat", "finish"]), st.data(),
)  # fmt: skip
def test_an_exception_of_any_stage_ends_it_with_nothing_left_running(
    pool: ThreadPoolExecutor, sizes: list[int], batch_size: int, read_ahead: int, stage: str, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(sizes) - 1))
    stages = Stages(sizes, (stage, at))
    flow = Flow(pool, stages.read, stages.decode, stages.treat, batch_size, read_ahead)
    done: list[int] = []
    with pytest.raises(RuntimeError, match=f"{stage} of {at}"):
        done.extend(flow.run(_rows(len(sizes))))
    assert stages.running == 0
    begun = stages.begun
    assert done == list(range(len(done)))
    assert at not in done
    time.sleep(0.001)
    assert stages.begun == begun, "a thread went on after the end"
    stages.fails = None
    assert list(flow.run(_rows(len(sizes)))) == list(range(len(sizes))), "the flow can be used again"


def test_leaving_it_half_way_ends_it(pool: ThreadPoolExecutor) -> None:
    stages = Stages([1] * 50)
    running = Flow(pool, stages.read, stages.decode, stages.treat, 2, 4).run(_rows(50))
    assert next(running) == 0
    running.close()  # type: ignore[attr-defined]
    assert stages.running == 0
    assert stages.begun < 20


def test_too_few_results_of_a_batch_are_an_error_not_a_loss(pool: ThreadPoolExecutor) -> None:
    stages = Stages([1] * 4)
    with pytest.raises(ValueError, match="zip"):
        list(Flow(pool, stages.read, stages.decode, lambda batch: stages.treat(batch)[1:], 4, 4).run(_rows(4)))
