"""Shards cover every row once; commits in any order and with any overlap complete the release; rounds end."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from anon_batch.records import ShardSpec
from anon_batch.shards import effective, first_round, gaps, is_exhausted, pending, split

TOTALS = st.integers(1, 3000)
SHARD_ROWS = st.integers(1, 600)


def _rows(specs: list[ShardSpec]) -> list[int]:
    return [row for spec in specs for row in range(spec.start, spec.stop)]


@st.composite
def _cuts(draw: st.DrawFn, total: int) -> tuple[int, ...]:
    if total < 2:
        return ()
    inside = tuple(sorted(draw(st.sets(st.integers(1, total - 1), max_size=6))))
    return (*inside, total) if draw(st.booleans()) else inside  # the last one too, as for the shards of a source


@given(TOTALS, SHARD_ROWS, st.data())
def test_the_first_round_has_every_row_once_in_order_and_no_shard_crosses_a_cut(
    total: int, shard_rows: int, data: st.DataObject
) -> None:
    cuts = data.draw(_cuts(total))
    specs = list(first_round(total, shard_rows, cuts))
    assert _rows(specs) == list(range(total))
    assert max(spec.count for spec in specs) <= shard_rows
    assert {spec.start for spec in specs}.issuperset({*cuts} - {total})
    assert len(specs) <= len(list(first_round(total, shard_rows))) + 2 * len(cuts) + 32


@given(TOTALS, SHARD_ROWS, st.data())
def test_shards_that_begin_and_end_at_cuts_are_whole(total: int, shard_rows: int, data: st.DataObject) -> None:
    cuts = tuple(sorted({*data.draw(_cuts(total)), total}))
    bounds = list(zip((0, *cuts[:-1]), cuts, strict=True))
    largest = max(stop - start for start, stop in bounds)
    assert [(spec.start, spec.stop) for spec in first_round(total, largest, cuts)] == bounds
    specs = list(first_round(total, shard_rows, cuts))
    assert _rows(specs) == list(range(total))
    kept = data.draw(st.sets(st.sampled_from(specs)))
    assert _rows(sorted([*kept, *pending(total, shard_rows, kept, (), cuts)])) == list(range(total))


@given(st.integers(0, 10**9), st.integers(2, 5000))
def test_splits_have_every_row_once_and_are_smaller(start: int, count: int) -> None:
    parent = ShardSpec(start, count)
    children = split(parent)
    assert _rows(children) == list(range(parent.start, parent.stop))
    assert all(child.count < parent.count for child in children)


@settings(max_examples=60)
@given(st.data(), st.integers(1, 400), st.integers(1, 70))
def test_any_interleaving_of_commits_and_exhausted_attempts_covers_every_row(
    data: st.DataObject, total: int, shard_rows: int
) -> None:
    """A model of the run: each pass commits some pending shards and exhausts others; late commits of shards that were given
    up long ago arrive at any time."""
    cuts = data.draw(_cuts(total))
    committed: set[ShardSpec] = set()
    exhausted: set[ShardSpec] = set()
    for _ in range(60):
        todo = list(pending(total, shard_rows, committed, exhausted, cuts))
        assert len(_rows(todo)) == len(set(_rows(todo))), "a row was planned twice"
        if not todo:
            break
        for spec in todo:
            if spec.count == 1 and spec in exhausted:
                committed.add(spec)  # given up: committed as failed(poison)
                continue
            fate = data.draw(st.sampled_from(["commit", "exhaust", "lost"]), label=spec.name)
            if fate == "commit":
                committed.add(spec)
            elif fate == "exhaust":
                exhausted.add(spec)
        if exhausted and data.draw(st.booleans(), label="late"):
            committed.add(data.draw(st.sampled_from(sorted(exhausted)), label="late commit"))
    else:
        for spec in pending(total, shard_rows, committed, exhausted, cuts):
            committed.add(spec)
    kept = effective(committed)
    assert _rows(kept) == list(range(total))
    assert not gaps(total, committed)


@given(TOTALS, SHARD_ROWS, st.data())
def test_gaps_are_exactly_the_rows_without_commit(total: int, shard_rows: int, data: st.DataObject) -> None:
    specs = list(first_round(total, shard_rows))
    kept = data.draw(st.lists(st.sampled_from(specs), unique=True))
    covered = set(_rows(kept))
    assert _rows(gaps(total, kept)) == [row for row in range(total) if row not in covered]


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(0, 12)), st.integers(1, 5))
def test_attempts_of_another_invocation_do_not_exhaust_at_once(attempts: dict[str, int], limit: int) -> None:
    exhausted = is_exhausted(attempts, "a", limit)
    assert exhausted == (attempts.get("a", 0) >= limit or sum(attempts.values()) >= 3 * limit)
    assert is_exhausted({"a": limit}, "a", limit)
    assert not is_exhausted({"b": limit}, "a", limit)
