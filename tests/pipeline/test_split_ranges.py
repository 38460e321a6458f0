"""Splits are ranges of rows, whatever the tables are that bring them."""

from __future__ import annotations

import fnmatch

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anon_batch.formats.splits import Split
from anon_batch.pipeline.split_ranges import SplitRanges
from anon_batch.release.card.split_images import shard_patterns


def found(rows: list[tuple[str | None, str]], *cuts: int) -> tuple[Split, ...]:
    ranges = SplitRanges()
    for start, stop in zip((0, *cuts), (*cuts, len(rows)), strict=True):
        part = rows[start:stop]
        ranges.feed(pa.table({"split": pa.array([s for s, _ in part], pa.string()), "image_id": [i for _, i in part]}))
    return ranges.found()


ROWS = [("train", "a/train/x/1"), ("train", "a/train/y/1"), ("validation", "a/val/x/1"), ("test", "a/val-2/x/1")]


def test_each_split_has_its_range_and_its_folder() -> None:
    expected = (
        Split("train", 0, 2, "a/train"),
        Split("validation", 2, 3, "a/val/x"),
        Split("test", 3, 4, "a/val-2/x"),
    )
    assert found(ROWS) == expected


@given(st.lists(st.integers(0, 8), max_size=4).map(sorted))
def test_tables_do_not_matter(cuts: list[int]) -> None:
    rows = [row for row in ROWS for _ in range(2)]
    assert found(rows, *cuts) == found(rows)


@pytest.mark.parametrize(
    "rows",
    [
        [("train", "a"), ("test", "b"), ("train", "c")],
        [("train", "a"), (None, "b")],
        [("all", "a")],
        [("my split", "a")],
        [("../x", "a")],
        [("tr\\u00e4in", "a")],
        [(f"s{n}", "a") for n in range(60)],
    ],
)
def test_what_loaders_could_not_tell_apart_is_no_split(rows: list[tuple[str | None, str]]) -> None:
    assert found(rows) == ()


@pytest.mark.parametrize(
    "ids", [("x/1", "x/2"), ("1", "2"), ("x/1", "x/y/2"), ("x/1", "2"), ("tr[a]/1", "te/1"), ("*/1", "te/1")]
)
def test_splits_without_folders_of_their_own_have_none(ids: tuple[str, str]) -> None:
    assert [split.folder for split in found([("train", ids[0]), ("test", ids[1])])] == ["", ""]


def test_rows_without_the_column_have_no_splits() -> None:
    ranges = SplitRanges()
    ranges.feed(pa.table({"image_id": ["a"]}))
    assert ranges.found() == ()


@given(st.integers(0, 3000), st.integers(1, 3000), st.lists(st.integers(0, 7000), max_size=20))
def test_patterns_match_the_shards_of_a_range_and_no_other(start: int, length: int, rows: list[int]) -> None:
    patterns = shard_patterns(start, start + length)
    for row in (start, start + length - 1, start + length, max(start - 1, 0), *rows):
        hits = sum(fnmatch.fnmatchcase(f"{row:010d}-256-ab12", pattern) for pattern in patterns)
        assert hits == (start <= row < start + length)


def test_patterns_are_few() -> None:
    assert shard_patterns(0, 800) == ["0000000[0-7]*"]
    assert len(shard_patterns(0, 1_281_167)) == 7
