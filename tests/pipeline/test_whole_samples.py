"""Shards begin where a sample of several images begins, unless the sample fills a shard by itself."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from anon_batch.pipeline.whole_samples import WholeSamples
from anon_batch.shards import first_round


def _starts(
    lengths: list[int], shard_rows: int, chunk: int = 7, cuts: tuple[int, ...] = ()
) -> tuple[tuple[int, ...], int]:
    """Return the starts for one tar with samples of these numbers of images."""
    ids = [f"t/{at}.{n}.jpg" for at, length in enumerate(lengths) for n in range(length)]
    table = pa.table({"image_id": ids, "uri": ["/t.tar"] * len(ids), "offset": [512] * len(ids)})
    samples = WholeSamples()
    for start in range(0, len(ids), chunk):
        samples.feed(table.slice(start, chunk))
    return samples.starts(shard_rows, cuts)


def test_a_shard_ends_before_a_sample_that_would_be_divided() -> None:
    assert _starts([3] * 40, 4)[0][:4] == (0, 3, 6, 12)
    assert _starts([1] * 40, 4) == ((), 4)


def test_a_sample_that_fills_a_shard_is_divided() -> None:
    starts, largest = _starts([100], 8)
    assert largest <= 16
    assert len(starts) > 6


def test_images_of_files_are_no_samples() -> None:
    samples = WholeSamples()
    ids = [f"a.{n}.jpg" for n in range(9)]
    samples.feed(pa.table({"image_id": ids, "uri": ["/x.jpg"] * 9, "offset": pa.nulls(9, pa.int64())}))
    assert samples.starts(4, ()) == ((), 4)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=80), st.integers(5, 30), st.integers(1, 40))
def test_no_sample_that_fits_is_divided_however_the_rows_are_read(
    lengths: list[int], shard_rows: int, chunk: int
) -> None:
    total = sum(lengths)
    begins = {sum(lengths[:at]) for at in range(len(lengths))}
    starts, largest = _starts(lengths, shard_rows, chunk)
    assert (starts, largest) == _starts(lengths, shard_rows, 1000)
    if max(lengths) == 1:
        assert starts == ()
        return
    assert starts[0] == 0
    assert set(starts) <= begins
    assert largest < 2 * shard_rows
    assert [spec.start for spec in first_round(total, largest, (*starts[1:], total))] == list(starts)
