"""Make an erased row: what is published of it, and what the ledger keeps, which is that it was erased."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from anon_batch.formats.release import Part
from anon_batch.formats.tombstone import ERASED, LEFT_OF_ERASED, digest_of, erased_id
from anon_batch.formats.version_json import Tombstone
from anon_batch.pipeline.versions.rewrite import NewRow
from anon_batch.records import ProvenanceRow, ShardSpec
from anon_batch.stats import ShardStats

_OF_THE_RUN = LEFT_OF_ERASED - {"image_id", "status", "reason"}  # which say nothing about the image


def erased_rows(part: Part, spec: ShardSpec, numbers: set[int]) -> Mapping[int, NewRow]:
    """Return what the rows of these numbers become, those of this shard.

    Args:
        part: of the version before.
        spec: its shard.
        numbers: of all rows to erase, in the whole release.
    """
    return {number: _erased_row(number, public) for number, public in _rows(part, spec, numbers)}


def tombstones_of(part: Part, spec: ShardSpec, numbers: set[int]) -> list[Tombstone]:
    """Return the tombstones of the rows of these numbers, those of this shard."""
    return [
        Tombstone(number, digest_of(public["sha256"]) if public["sha256"] else "")
        for number, public in _rows(part, spec, numbers)
    ]


def _rows(part: Part, spec: ShardSpec, numbers: set[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number in sorted(numbers):
        if spec.start <= number < spec.stop:
            [public] = part.table.slice(number - spec.start, 1).to_pylist()
            yield number, public


def _erased_row(number: int, public: Mapping[str, Any]) -> NewRow:
    row = ProvenanceRow(erased_id(number), "withheld", ERASED)
    said = {"image_id": row.image_id, "status": row.status, "reason": row.reason}
    stats = ShardStats()
    stats.add_row(row.status, row.reason)
    return NewRow(
        {**said, "regions": [], **{name: public[name] for name in _OF_THE_RUN}},
        {**said, "stats": stats.to_json()},
        sealed={},
    )
