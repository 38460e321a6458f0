"""Attempts at shards: markers in the ledger that outlive whoever began them."""

from __future__ import annotations

import secrets
from collections import Counter, defaultdict

from anon_batch import layout
from anon_batch.errors import ObjectExistsError
from anon_batch.pipeline.plan import is_exhausted
from anon_batch.records import ShardSpec
from anon_batch.storage import PARTIAL_PREFIX, Storage, join

Attempts = dict[ShardSpec, Counter[str]]


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


def all_attempts(storage: Storage, ledger: str) -> Attempts:
    """Attempts of every shard: invocation -> number begun."""
    found: Attempts = defaultdict(Counter)
    for info in storage.list(join(ledger, layout.LEDGER_ATTEMPTS)):
        if (parsed := layout.parse_attempt(info.key)) is not None:
            spec, name = parsed
            if not name.startswith(PARTIAL_PREFIX):
                found[spec][name.rpartition("-")[0]] += 1
    return found


def _names(storage: Storage, ledger: str, spec: ShardSpec) -> list[str]:
    found = (info.key for info in storage.list(join(ledger, f"{layout.LEDGER_ATTEMPTS}/{spec.name}")))
    return [name for name in found if not name.startswith(PARTIAL_PREFIX)]


def _by_invocation(names: list[str]) -> Counter[str]:
    return Counter(name.rpartition("-")[0] for name in names)
