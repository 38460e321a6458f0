"""Attempts at shards: markers in the ledger that outlive whoever began them."""

from __future__ import annotations

import itertools
import secrets
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from anon_batch.errors import ObjectExistsError, StorageError
from anon_batch.formats import layout
from anon_batch.records import ShardSpec
from anon_batch.shards import is_exhausted
from anon_batch.storage import PARTIAL_PREFIX, Storage, join


class Begun(NamedTuple):
    """Attempts at all shards.

    Args:
        markers: how many there are; more with each attempt that begins.
        exhausted: shards without an attempt left.
    """

    markers: int
    exhausted: frozenset[ShardSpec]


def begin(storage: Storage, ledger: str, spec: ShardSpec, invocation: str, limit: int) -> str | None:
    """Takes the shard's next attempt.

    Returns:
        The attempt's name, INVOCATION-NUMBER, that nobody else holds; None when all are used up.
    """
    while True:
        names = _names(storage, ledger, spec)
        if is_exhausted(_by_invocation(names), invocation, limit):
            return None
        own = [name.rpartition("-")[2] for name in names if name.rpartition("-")[0] == invocation]
        name = f"{invocation}-{1 + max((int(number) for number in own if number.isdecimal()), default=0)}"
        try:
            # The content tells two takers of one name apart; see Storage.put_if_absent.
            storage.put_if_absent(join(ledger, layout.attempt(spec.name, name)), secrets.token_hex(8).encode())
        except ObjectExistsError:
            continue
        return name


def last_of(storage: Storage, ledger: str, spec: ShardSpec, invocation: str, limit: int) -> bool:
    """Whether no further attempt at the shard is left after those already begun."""
    return is_exhausted(_by_invocation(_names(storage, ledger, spec)), invocation, limit)


def begun(storage: Storage, ledger: str, invocation: str, limit: int) -> Begun:
    """What one listing of all markers says; of the shards only the exhausted ones are kept in memory.

    Args:
        storage: where the ledger lies.
        ledger: its address.
        invocation: the present one.
        limit: attempts per invocation.

    Raises:
        StorageError: the store lists a shard's markers apart from each other, so that they cannot be counted.
    """
    folder, exhausted, count, last = join(ledger, layout.LEDGER_ATTEMPTS), set[ShardSpec](), 0, ""
    for shard, markers in itertools.groupby(_markers(storage, folder), lambda marker: marker[0].name):
        if shard <= last:
            raise StorageError("the store lists keys out of order; keep the ledger in one that sorts them", folder)
        last, of_shard = shard, list(markers)
        count += len(of_shard)
        if is_exhausted(_by_invocation([name for _, name in of_shard]), invocation, limit):
            exhausted.add(of_shard[0][0])
    return Begun(count, frozenset(exhausted))


def _markers(storage: Storage, folder: str) -> Iterator[tuple[ShardSpec, str]]:
    for info in storage.list(folder):
        if (marker := layout.parse_attempt(info.key)) is not None and not marker[1].startswith(PARTIAL_PREFIX):
            yield marker


def _names(storage: Storage, ledger: str, spec: ShardSpec) -> list[str]:
    found = (info.key for info in storage.list(join(ledger, f"{layout.LEDGER_ATTEMPTS}/{spec.name}")))
    return [name for name in found if not name.startswith(PARTIAL_PREFIX)]


def _by_invocation(names: list[str]) -> Counter[str]:
    return Counter(name.rpartition("-")[0] for name in names)
