"""End a run: merge the statistics and delete every file that no commit names."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

from anon_batch.config import GatesConfig
from anon_batch.errors import IntegrityError
from anon_batch.formats import layout
from anon_batch.formats.gates_json import Gates
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.plan import Plan
from anon_batch.formats.release import Release
from anon_batch.formats.run_json import RunJson
from anon_batch.formats.stats_json import StatsJson
from anon_batch.formats.tombstone import ERASED
from anon_batch.pipeline.gates import evaluate_gates
from anon_batch.pipeline.kept_evidence import read_kept_evidence
from anon_batch.pipeline.private_stats import read_all
from anon_batch.pipeline.run import Run
from anon_batch.records import ShardSpec
from anon_batch.shards import effective, gaps
from anon_batch.stats import ShardStats, merge, merge_all, summarise

_READERS = 16
_READ_AHEAD = 64  # parts


@dataclass(slots=True)
class Commits:
    """What the commits that count say, all of them together.

    Args:
        stats: merged statistics.
        winners: SHARD-ATTEMPT of every commit.
        lossy: shards with at least one row that has no output.
    """

    stats: ShardStats = field(default_factory=ShardStats)
    winners: set[str] = field(default_factory=set)
    lossy: list[ShardSpec] = field(default_factory=list)


class Finished(NamedTuple):
    """What a finished run wrote: statistics, and the verdicts of its gates."""

    stats: StatsJson
    gates: Gates


def finalize(run: Run) -> Finished:
    """Write stats.json, gates.json and run.json of a run whose rows are all committed, and delete orphans.

    Repeating it changes nothing but the verdicts of gates whose limits or evidence changed.

    Raises:
        IntegrityError: rows are missing, or a part belongs to another run.
    """
    release = run.release
    found = release.parts()
    kept = effective(found)
    commits = read_commits(release, run.ledger, run.plan, kept)
    if run.config.write.layout == "files":  # because an attempt may have put an image that a later one withheld
        release.delete(_unpublished(run, commits.lossy))
    release.delete(release.part_key(spec) for spec in sorted(set(found) - set(kept)))
    delete_orphans(release, run.ledger, run.plan, commits.winners)
    return write_summaries(release, commits, run.describe(), run.config.gates)


def write_summaries(release: Release, commits: Commits, record: RunJson, limits: GatesConfig) -> Finished:
    """Write stats.json, gates.json and run.json.

    Args:
        release: receives them.
        commits: what the commits that count say.
        record: the run; its state and statuses are replaced.
        limits: of the gates.
    """
    stats = StatsJson(summarise(commits.stats))
    gates = evaluate_gates(stats, limits, read_kept_evidence(release, record.run_id, stats))
    release.write_stats(stats)
    release.write_gates(gates)
    release.write_run_json(record.finished(commits.stats.statuses))
    return Finished(stats, gates)


def read_commits(release: Release, ledger: Ledger, plan: Plan, kept: list[ShardSpec]) -> Commits:
    """Read the footers of the parts that count.

    Raises:
        IntegrityError: rows are missing, or a part belongs to another run.
    """
    if missing := gaps(plan.total, kept):
        raise IntegrityError(f"rows {missing[0].start} to {missing[0].stop - 1} have no commit")
    commits = Commits()
    for spec, meta in release.read_metas(kept):
        part = ShardStats.from_json(meta.stats)
        if part.rows != spec.count:
            raise IntegrityError(f"part {spec.name}: statistics of {part.rows} rows")
        if meta.run_id != plan.run_id:
            raise IntegrityError(f"part {spec.name}: of run {meta.run_id}, not {plan.run_id}")
        commits.stats = merge(commits.stats, part)
        commits.winners.add(f"{spec.name}-{meta.attempt}")
        if part.statuses.get("withheld", 0) + part.statuses.get("failed", 0):
            commits.lossy.append(spec)
    if commits.stats.has_ground_truth:
        commits.stats = merge_all(read_all(release.read_metas(kept), ledger))
    return commits


def _unpublished(run: Run, lossy: list[ShardSpec]) -> Iterator[str]:
    """Yield every key that a row without an output may have had."""

    def ids(spec: ShardSpec) -> list[str]:
        rows = run.release.read_part(spec).table.select(["image_id", "output", "reason"]).to_pylist()
        # An erased row has no image id any more, and another image may have a name like the one in its place.
        return [row["image_id"] for row in rows if row["output"] is None and row["reason"] != ERASED]

    keep_format = run.config.write.format == "keep"
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(lossy), _READ_AHEAD):  # because slow deletes would let the ids of all parts pile up
            for image_ids in pool.map(ids, lossy[start : start + _READ_AHEAD]):
                for image_id in image_ids:
                    for name in sorted(layout.possible_output_names(image_id, keep_format)):
                        yield layout.image_key(name)


def delete_orphans(release: Release, ledger: Ledger, plan: Plan, winners: set[str]) -> None:
    """Delete shard files, audit parts and rows that no commit names; `winners` are SHARD-ATTEMPT of all that count."""

    def orphans(place: Release | Ledger, folder: str) -> Iterator[str]:
        for info in place.objects(folder):
            if info.key.rpartition(".")[0] not in winners:
                yield f"{folder}/{info.key}"

    def other_rows() -> Iterator[str]:  # of drivers that ended before they had a plan
        for info in ledger.objects(layout.LEDGER_ROWS):
            if not info.key.startswith(f"{plan.rows_id}/"):
                yield f"{layout.LEDGER_ROWS}/{info.key}"

    release.delete(orphans(release, layout.SHARDS))
    encrypted = [folder for files in layout.ENCRYPTED.values() for folder in (files.keys, files.ciphertexts)]
    for folder in (*encrypted, layout.LEDGER_AUDIT):
        ledger.delete(orphans(ledger, folder))
    ledger.delete(other_rows())
    release.storage.sweep_partials(release.uri)
    ledger.storage.sweep_partials(ledger.uri)
