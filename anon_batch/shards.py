"""Divide rows into shards, and tell which shards are pending and which commits count. Pure functions, no I/O.

Shards nest: a shard of the first round splits into ranges of `SPLIT_ROWS` rows, and those into single rows. Nesting makes late
commits harmless: two commits either cover disjoint rows, or one contains the other, and then the larger one counts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from anon_batch.records import ShardSpec

SPLIT_ROWS = 8
_TAIL_SHARDS = 4
_TAIL_SPLIT = 8
_SMALLEST_TAIL_ROWS = 4


def first_round(total: int, shard_rows: int) -> Iterator[ShardSpec]:
    """Yield the shards of the first round, rows 0 .. total - 1: `shard_rows` each, and smaller ones at the end.

    The small shards at the end keep all workers busy. They depend on the numbers of rows alone, never on the workers, so that
    every cluster makes the same shards.
    """
    tail_from = max(0, (total // shard_rows - _TAIL_SHARDS + 1)) * shard_rows
    for start in range(0, tail_from, shard_rows):
        yield ShardSpec(start, shard_rows)
    tail = total - tail_from
    size = max(min(shard_rows, _SMALLEST_TAIL_ROWS), min(shard_rows, -(-tail // (_TAIL_SHARDS * _TAIL_SPLIT))))
    for start in range(tail_from, total, size):
        yield ShardSpec(start, min(size, total - start))


def split(spec: ShardSpec) -> list[ShardSpec]:
    """Return the shards of the next round for one without attempts left; a single row has none."""
    if spec.count == 1:
        return []
    size = SPLIT_ROWS if spec.count > SPLIT_ROWS else 1
    return [ShardSpec(start, min(size, spec.stop - start)) for start in range(spec.start, spec.stop, size)]


def pending(
    total: int, shard_rows: int, committed: Collection[ShardSpec], exhausted: Collection[ShardSpec]
) -> Iterator[ShardSpec]:
    """Yield the shards that no commit covers yet, in row order.

    Args:
        total: rows of the plan.
        shard_rows: rows of a shard of the first round.
        committed: shards that have a commit.
        exhausted: shards without attempts left.

    Yields:
        Shards of the first round; in place of an exhausted or partly committed one, its splits. An exhausted single row is
        yielded too.
    """
    done = frozenset(committed)
    given_up = frozenset(exhausted)
    begun = frozenset(parent for spec in done | given_up for parent in _parents(spec, shard_rows, total))
    for spec in first_round(total, shard_rows):
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


def _parents(spec: ShardSpec, shard_rows: int, total: int) -> list[ShardSpec]:
    root = _root(spec.start, shard_rows, total)
    chain = []
    while root.count > spec.count:
        chain.append(root)
        root = next(child for child in split(root) if child.start <= spec.start < child.stop)
    return chain


def _root(row: int, shard_rows: int, total: int) -> ShardSpec:
    tail_from = max(0, (total // shard_rows - _TAIL_SHARDS + 1)) * shard_rows
    if row < tail_from:
        return ShardSpec(row - row % shard_rows, shard_rows)
    tail = list(first_round(total - tail_from, shard_rows))
    size = tail[0].count
    start = (row - tail_from) // size * size + tail_from
    return ShardSpec(start, min(size, total - start))


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
