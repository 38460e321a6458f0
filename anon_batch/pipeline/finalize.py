"""The end of a run: merged statistics, and nothing left lying about that no commit names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from anon_batch.errors import IntegrityError
from anon_batch.formats import layout
from anon_batch.formats.part import read_part
from anon_batch.formats.parts import committed, read_metas
from anon_batch.formats.provenance import PROVENANCE_SCHEMA
from anon_batch.pipeline.run import Run, now, write_run_json
from anon_batch.records import ShardSpec
from anon_batch.shards import effective, gaps
from anon_batch.stats import ShardStats, merge
from anon_batch.storage import Storage, join

_READERS = 16
_READ_AHEAD = 64  # parts


def finalize(run: Run) -> dict[str, Any]:
    """Writes stats.json and run.json of a run whose rows are all committed, and removes what attempts left behind.

    Repeating it changes nothing.

    Returns:
        What stats.json holds.

    Raises:
        IntegrityError: rows are missing.
    """
    storage = run.storage()
    found = committed(storage, run.output)
    kept = effective(found)
    if missing := gaps(run.plan.total, kept):
        raise IntegrityError(f"rows {missing[0].start} to {missing[0].stop - 1} have no commit")
    stats, winners, lossy = ShardStats(), set[str](), list[ShardSpec]()
    for spec, meta in read_metas(storage, run.output, kept):
        part = ShardStats.from_json(meta.stats)
        if part.rows != spec.count:
            raise IntegrityError(f"part {spec.name}: statistics of {part.rows} rows")
        if meta.run_id != run.plan.run_id:
            raise IntegrityError(f"part {spec.name}: of run {meta.run_id}, not {run.plan.run_id}")
        stats = merge(stats, part)
        winners.add(f"{spec.name}-{meta.attempt}")
        if part.statuses.get("withheld", 0) + part.statuses.get("failed", 0):
            lossy.append(spec)
    if run.config.write.layout == "files":  # an attempt may have put a picture that a later one withheld
        storage.delete_many(run.output, _unpublished(storage, run, lossy))
    _sweep(storage, run, set(found) - set(kept), winners)
    summary = stats.summary()
    storage.put(join(run.output, layout.STATS), json.dumps(summary, indent=1).encode())
    write_run_json(storage, run, {"state": "finished", "finished_at": now(), "statuses": dict(stats.statuses)})
    return summary


def _unpublished(storage: Storage, run: Run, lossy: list[ShardSpec]) -> Iterator[str]:
    """Every key that a row without an output may have had."""

    def ids(spec: ShardSpec) -> list[str]:
        uri = join(run.output, layout.provenance_part(spec.name))
        rows = read_part(storage.read(uri), uri, PROVENANCE_SCHEMA).select(["image_id", "output"]).to_pylist()
        return [row["image_id"] for row in rows if row["output"] is None]

    keep_format = run.config.write.format == "keep"
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(lossy), _READ_AHEAD):  # or slow deletes would let the ids of all parts pile up
            for image_ids in pool.map(ids, lossy[start : start + _READ_AHEAD]):
                for image_id in image_ids:
                    for name in sorted(layout.possible_output_names(image_id, keep_format)):
                        yield layout.image_key(name)


def _sweep(storage: Storage, run: Run, superseded: set[ShardSpec], winners: set[str]) -> None:
    def losers(base: str, folder: str) -> Iterator[str]:
        for info in storage.list(join(base, folder)):
            if info.key.rpartition(".")[0] not in winners:
                yield f"{folder}/{info.key}"

    def foreign_rows() -> Iterator[str]:  # of drivers that ended before they had a plan
        for info in storage.list(join(run.ledger, layout.LEDGER_ROWS)):
            if not info.key.startswith(f"{run.plan.rows_id}/"):
                yield f"{layout.LEDGER_ROWS}/{info.key}"

    storage.delete_many(run.output, (layout.provenance_part(spec.name) for spec in sorted(superseded)))
    storage.delete_many(run.output, losers(run.output, layout.SHARDS))
    storage.delete_many(run.ledger, losers(run.ledger, layout.LEDGER_AUDIT))
    storage.delete_many(run.ledger, foreign_rows())
    storage.sweep_partials(run.output)
    storage.sweep_partials(run.ledger)
