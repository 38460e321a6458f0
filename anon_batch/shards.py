"""Divide rows into shards, and tell which shards are pending and which commits count. Pure functions, no I/O.

Shards nest: a shard of the first round splits into ranges of `SPLIT_ROWS` rows, and those into single rows. Nesting makes late
commits harmless: two commits either cover disjoint rows, or one contains the other, and then the larger one counts.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise

from anon_batch.records import ShardSpec

SPLIT_ROWS = 8
_TAIL_SHARDS = 4
_TAIL_SPLIT = 8
_SMALLEST_TAIL_ROWS = 4


def first_round(total: int, shard_rows: int, cuts: Sequence[int] = ()) -> Iterator[ShardSpec]:
    """Yield the shards of the first round, rows 0 .. total - 1: `shard_rows` each, and smaller ones at the end.

    The small shards at the end keep all workers busy. They depend on the numbers of rows alone, never on the workers, so that
    every cluster makes the same shards.

    Args:
        total: rows of the plan.
        shard_rows: most rows of a shard.
        cuts: ascending rows that begin a shard, because no shard may hold that row and the one before it. With `total` as the
            last one, no shard is made smaller at the end.
    """
    for start, stop, size in _stretches(total, shard_rows, cuts):
        for at in range(start, stop, size):
            yield ShardSpec(at, min(size, stop - at))


def _stretches(total: int, shard_rows: int, cuts: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Yield the rows between two cuts, and the number of rows of their shards; the last ones in two parts."""
    last = cuts[-1] if cuts else 0
    for start, stop in pairwise((0, *cuts)):
        yield start, stop, shard_rows
    tail_from = last + max(0, ((total - last) // shard_rows - _TAIL_SHARDS + 1)) * shard_rows
    if tail_from > last:
        yield last, tail_from, shard_rows
    shares = -(-(total - tail_from) // (_TAIL_SHARDS * _TAIL_SPLIT))
    yield tail_from, total, max(min(shard_rows, _SMALLEST_TAIL_ROWS), min(shard_rows, shares))


def split(spec: ShardSpec) -> list[ShardSpec]:
    """Return the shards of the next round for one without attempts left; a single row has none."""
    if spec.count == 1:
        return []
    size = SPLIT_ROWS if spec.count > SPLIT_ROWS else 1
    return [ShardSpec(start, min(size, spec.stop - start)) for start in range(spec.start, spec.stop, size)]


def pending(
    total: int,
    shard_rows: int,
    committed: Collection[ShardSpec],
    exhausted: Collection[ShardSpec],
    cuts: Sequence[int] = (),
) -> Iterator[ShardSpec]:
    """Yield the shards that no commit covers yet, in row order.

    Args:
        total: rows of the plan.
        shard_rows: rows of a shard of the first round.
        committed: shards that have a commit.
        exhausted: shards without attempts left.
        cuts: as in `first_round`.

    Yields:
        Shards of the first round; in place of an exhausted or partly committed one, its splits. An exhausted single row is
        yielded too.
    """
    done = frozenset(committed)
    given_up = frozenset(exhausted)
    stretches = list(_stretches(total, shard_rows, cuts))
    begun = frozenset(parent for spec in done | given_up for parent in _parents(spec, stretches))
    for spec in first_round(total, shard_rows, cuts):
        yield from _pending_below(spec, done, given_up, begun)


def _pending_below(
    spec: ShardSpec, done: frozenset[ShardSpec], given_up: frozenset[ShardSpec], begun: frozenset[ShardSpec]
) -> Iterator[ShardSpec]:
    if spec in done:
        return
    children = split(spec)
    if children and (spec in given_up or spec in begun):
        for child in children:
            yield from _pending_below(child, done, given_up, begun)
    else:
        yield spec


def _parents(spec: ShardSpec, stretches: Sequence[tuple[int, int, int]]) -> list[ShardSpec]:
    start, stop, size = stretches[bisect_right(stretches, spec.start, key=lambda stretch: stretch[0]) - 1]
    at = spec.start - (spec.start - start) % size
    root = ShardSpec(at, min(size, stop - at))
    chain = []
    while root.count > spec.count:
        chain.append(root)
        root = next(child for child in split(root) if child.start <= spec.start < child.stop)
    return chain


def effective(committed: Collection[ShardSpec]) -> list[ShardSpec]:
    """Return the commits that count, in row order: those that no larger one contains."""
    kept: list[ShardSpec] = []
    for spec in sorted(committed, key=lambda s: (s.start, -s.count)):
        if not kept or spec.start >= kept[-1].stop:
            kept.append(spec)
    return kept


def gaps(total: int, committed: Collection[ShardSpec]) -> list[ShardSpec]:
    """Return the row ranges that no commit covers."""
    missing: list[ShardSpec] = []
    at = 0
    for spec in effective(committed):
        if spec.start > at:
            missing.append(ShardSpec(at, spec.start - at))
        at = max(at, spec.stop)
    if at < total:
        missing.append(ShardSpec(at, total - at))
    return missing


def is_exhausted(attempts: Mapping[str, int], invocation: str, limit: int) -> bool:
    """Return whether a shard has no attempt left.

    Because a failed attempt counts against the rows only if the driver outlived it, attempts are limited for each invocation
    of the driver. All invocations together have three times that limit, so that rows that kill the driver end too.

    Args:
        attempts: invocation of the driver -> attempts that began.
        invocation: the current one.
        limit: attempts for each invocation.
    """
    return attempts.get(invocation, 0) >= limit or sum(attempts.values()) >= 3 * limit


def holds_any(spec: ShardSpec, numbers: Sequence[int]) -> bool:
    """Return whether a shard holds one of these rows, sorted by number."""
    at = bisect_left(numbers, spec.start)
    return at < len(numbers) and numbers[at] < spec.stop
