"""The end of a run: merged statistics, and nothing left lying about that no commit names."""

from __future__ import annotations

import json
from typing import Any

from anon_batch import layout
from anon_batch.errors import IntegrityError
from anon_batch.pipeline.parts import committed, read_metas
from anon_batch.pipeline.plan import effective, gaps
from anon_batch.pipeline.run import Run, now, write_run_json
from anon_batch.provenance import read_part
from anon_batch.records import ShardSpec
from anon_batch.stats import ShardStats, merge
from anon_batch.storage import Storage, join


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
    stats, winners = ShardStats(), set[str]()
    for spec, meta in read_metas(storage, run.output, kept):
        part = ShardStats.from_json(meta.stats)
        if part.rows != spec.count:
            raise IntegrityError(f"part {spec.name}: statistics of {part.rows} rows")
        if meta.run_id != run.plan.run_id:
            raise IntegrityError(f"part {spec.name}: of run {meta.run_id}, not {run.plan.run_id}")
        stats = merge(stats, part)
        winners.add(f"{spec.name}-{meta.attempt}")
        if part.statuses.get("withheld", 0) + part.statuses.get("failed", 0):
            _remove_unpublished(storage, run, spec)
    _sweep(storage, run, set(found) - set(kept), winners)
    summary = stats.summary()
    storage.put(join(run.output, layout.STATS), json.dumps(summary, indent=1).encode())
    write_run_json(storage, run, {"state": "finished", "finished_at": now(), "statuses": dict(stats.statuses)})
    return summary


def _remove_unpublished(storage: Storage, run: Run, spec: ShardSpec) -> None:
    """An attempt may have put a picture that a later one withheld: its output must not stay."""
    if run.config.write.layout != "files":
        return
    uri = join(run.output, layout.provenance_part(spec.name))
    rows = read_part(storage.read(uri), uri).select(["image_id", "output"]).to_pylist()
    keep_format = run.config.write.format == "keep"
    for row in rows:
        if row["output"] is None:
            for name in layout.possible_output_names(row["image_id"], keep_format):
                storage.delete(join(run.output, layout.image_key(name)))


def _sweep(storage: Storage, run: Run, superseded: set[ShardSpec], winners: set[str]) -> None:
    for spec in superseded:
        storage.delete(join(run.output, layout.provenance_part(spec.name)))
    for base, folder in ((run.output, layout.SHARDS), (run.ledger, layout.LEDGER_AUDIT)):
        for info in storage.list(join(base, folder)):
            if info.key.rpartition(".")[0] not in winners:
                storage.delete(join(base, f"{folder}/{info.key}"))
    for info in storage.list(join(run.ledger, layout.LEDGER_ROWS)):  # of drivers that ended before they had a plan
        if not info.key.startswith(f"{run.plan.rows_id}/"):
            storage.delete(join(run.ledger, f"{layout.LEDGER_ROWS}/{info.key}"))
    storage.sweep_partials(run.output)
    storage.sweep_partials(run.ledger)
