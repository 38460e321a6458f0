"""Statistics of a shard with what its ground truth tells, which the ledger alone holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from anon_batch.errors import IntegrityError
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.part import PartMeta
from anon_batch.records import ShardSpec
from anon_batch.stats import ShardStats

_READERS = 16
_READ_AHEAD = 64  # parts


def with_private(public: ShardStats, ledger: Ledger, spec: ShardSpec, part: PartMeta) -> ShardStats:
    """Return a shard's statistics with what its ground truth tells.

    Args:
        public: the statistics of the provenance part.
        ledger: holds the audit part.
        spec: the shard.
        part: metadata of the provenance part, which names the attempt.

    Raises:
        IntegrityError: the audit part is missing, damaged, or tells something else than the provenance part.
    """
    if not public.has_ground_truth:
        return public
    audit = ledger.read_audit_meta(spec, part.attempt)
    whole = ShardStats.from_json(audit.stats)
    if whole.public() != public:
        raise IntegrityError(f"ledger: the audit part of {spec.name} has other statistics than the provenance part")
    return whole


def read_all(parts: Iterable[tuple[ShardSpec, PartMeta]], ledger: Ledger) -> Iterator[ShardStats]:
    """Yield the statistics of shards with what their ground truth tells, in the order given; read several footers at a time.

    Args:
        parts: shards with the metadata of their provenance parts.
        ledger: holds the audit parts.

    Raises:
        IntegrityError: as `with_private`.
    """
    left = iter(parts)
    with ThreadPoolExecutor(_READERS) as pool:
        while batch := list(islice(left, _READ_AHEAD)):  # because a slow consumer would let all footers pile up
            yield from pool.map(lambda own: with_private(ShardStats.from_json(own[1].stats), ledger, *own), batch)
