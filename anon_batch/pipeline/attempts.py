"""Attempts at shards, counted by markers in the ledger that outlive the workers that wrote them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from anon_batch.errors import StorageError
from anon_batch.formats import layout
from anon_batch.formats.ledger import Ledger
from anon_batch.records import ShardSpec
from anon_batch.shards import is_exhausted


class Attempt(NamedTuple):
    """An attempt at a shard.

    Args:
        name: INVOCATION-NUMBER, unique for the shard.
        is_last: whether no further attempt may follow.
    """

    name: str
    is_last: bool

    def share_of(self, count: int) -> int:
        """Return how many of `count` images may be in memory: all, half, a quarter, ...; one in the last of several attempts.

        Because what ended the attempts before may have been too little memory.
        """
        number = int(self.name.rpartition("-")[2])
        return max(1, count >> (number - 1)) if number == 1 or not self.is_last else 1


class AttemptCounts(NamedTuple):
    """Attempts at all shards.

    Args:
        markers: number of attempts that began.
        exhausted: shards that have no attempt left.
    """

    markers: int
    exhausted: frozenset[ShardSpec]


def begin_attempt(ledger: Ledger, spec: ShardSpec, invocation: str, limit: int) -> Attempt | None:
    """Begin the next attempt at a shard; return None if no attempt is left.

    Args:
        ledger: holds the markers.
        spec: the shard.
        invocation: the driver's.
        limit: attempts for each invocation.
    """
    while True:
        names = ledger.attempts_at(spec)
        if is_exhausted(_by_invocation(names), invocation, limit):
            return None
        own = [name.rpartition("-")[2] for name in names if name.rpartition("-")[0] == invocation]
        name = f"{invocation}-{1 + max((int(number) for number in own if number.isdecimal()), default=0)}"
        if ledger.mark_attempt(spec, name):
            return Attempt(name, is_exhausted(_by_invocation([*names, name]), invocation, limit))


def count_attempts(ledger: Ledger, invocation: str, limit: int) -> AttemptCounts:
    """Count the attempts at all shards in one listing; keep only exhausted shards in memory.

    Args:
        ledger: holds the markers.
        invocation: the driver's.
        limit: attempts for each invocation.

    Raises:
        StorageError: the store does not list the markers of a shard together, so they cannot be counted.
    """
    exhausted, count, last = set[ShardSpec](), 0, ""
    for shard, group in itertools.groupby(ledger.attempts(), lambda attempt: attempt[0].name):
        if shard <= last:
            folder = ledger.address(layout.LEDGER_ATTEMPTS)
            raise StorageError("the store lists keys out of order; keep the ledger in a store that sorts them", folder)
        last, attempts = shard, list(group)
        count += len(attempts)
        if is_exhausted(_by_invocation(name for _, name in attempts), invocation, limit):
            exhausted.add(attempts[0][0])
    return AttemptCounts(count, frozenset(exhausted))


def _by_invocation(names: Iterable[str]) -> Counter[str]:
    return Counter(name.rpartition("-")[0] for name in names)
