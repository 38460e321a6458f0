"""Verify a release: every row once, every image there, every digest right, no metadata, no orphan."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from anon_batch.config import GatesConfig, validate
from anon_batch.errors import ConfigError, IntegrityError, ObjectNotFoundError, ResumeRefusedError
from anon_batch.formats import layout
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.release import Release
from anon_batch.formats.run_json import RunJson
from anon_batch.formats.stats_json import StatsJson
from anon_batch.manifest.chunks import PlannedRows
from anon_batch.pipeline.gates import evaluate_gates
from anon_batch.records import STATUSES, ShardSpec
from anon_batch.release.output_names import OutputNames
from anon_batch.release.verify_files import check_images
from anon_batch.shards import effective, gaps
from anon_batch.stats import ShardStats, merge, summarise

_CHECKERS = 4
_SHOWN_FAULTS = 100


@dataclass(slots=True)
class Verification:
    """What verify found.

    Args:
        rows: rows that the release must account for.
        accounted: rows that a commit accounts for.
        objects: output images that were read and checked.
        statuses: status -> rows.
        faults: what is wrong and where, the first hundred.
        faults_count: number of all faults.
    """

    rows: int
    accounted: int = 0
    objects: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    faults_count: int = 0

    def fault(self, text: str) -> None:
        """Add a fault."""
        self.faults_count += 1
        if len(self.faults) < _SHOWN_FAULTS:
            self.faults.append(text)


def verify(release: Release, ledger: Ledger | None) -> Iterator[Verification]:
    """Check a release, shard by shard.

    Args:
        release: what to check.
        ledger: its ledger, whose rows the provenance must match; None checks the public files alone, that is, row numbers
            without gaps, but not the rows' ids.

    Yields:
        The same growing record after every shard; the last one is the verdict.

    Raises:
        ConfigError: there is no release.
        IntegrityError: run.json is damaged.
        StorageError: storage fails or refuses.
    """
    checker = _Checker(release, release.read_run_json())
    kept = checker.check_coverage()
    planned = None if ledger is None else checker.planned_rows(ledger)
    with ThreadPoolExecutor(_CHECKERS) as pool:
        for spec in kept:
            try:
                checker.check_shard(spec, planned, pool)
            except (IntegrityError, ObjectNotFoundError) as exc:
                checker.result.fault(str(exc))
            yield checker.result
    checker.check_names()
    checker.check_summaries()
    checker.check_gates()
    yield checker.result


class _Checker:
    """Check one release; collect faults and what the parts say together."""

    def __init__(self, release: Release, record: RunJson) -> None:
        self._release = release
        self._record = record
        self._stats = ShardStats()
        self._names = OutputNames(lambda spec: _published(release.read_part(spec).table.to_pylist()))
        self.result = Verification(rows=record.rows)

    def check_coverage(self) -> list[ShardSpec]:
        """Check that the parts cover every row once; return the parts that count."""
        found = self._release.parts()
        kept = effective(found)
        for gap in gaps(self.result.rows, kept):
            self.result.fault(f"rows {gap.start} to {gap.stop - 1}: no provenance part covers them")
        for spec in sorted(set(found) - set(kept)):
            self.result.fault(f"{layout.provenance_part(spec.name)}: another part commits its rows too")
        for spec in kept:
            if spec.stop > self.result.rows:
                self.result.fault(f"{layout.provenance_part(spec.name)}: beyond the last row {self.result.rows - 1}")
        if not self._record.is_finished:
            self.result.fault(f"{layout.RUN}: state is {self._record.state!r}, not 'finished'")
        return kept

    def planned_rows(self, ledger: Ledger) -> PlannedRows | None:
        """Return the ledger's rows; None, and a fault, if it is not this release's ledger."""
        result = self.result
        try:
            plan = ledger.plan()
        except (IntegrityError, ResumeRefusedError) as exc:
            result.fault(str(exc))
            return None
        if plan is None:
            result.fault(f"ledger {ledger.uri}: no {layout.LEDGER_PLAN}")
            return None
        if plan.run_id != self._record.run_id:
            result.fault(f"ledger {ledger.uri}: of run {plan.run_id}, the release is of {self._record.run_id}")
            return None
        if plan.total != result.rows:
            result.fault(f"{layout.RUN}: {result.rows} rows, the plan has {plan.total}")
        return PlannedRows(ledger, plan.rows_id, result.rows)

    def check_shard(self, spec: ShardSpec, planned: PlannedRows | None, pool: ThreadPoolExecutor) -> None:
        """Check a part, its rows, and the images that it names."""
        key, result = layout.provenance_part(spec.name), self.result
        meta, table = self._release.read_part(spec)
        rows = table.to_pylist()
        if meta.shard != spec.name:
            result.fault(f"{key}: holds shard {meta.shard}")
        if meta.run_id != self._record.run_id:
            result.fault(f"{key}: of run {meta.run_id}, not {self._record.run_id}")
        if len(rows) != spec.count:
            result.fault(f"{key}: {len(rows)} rows, expected {spec.count}")
        if planned is not None:
            self._check_ids(planned, spec, rows)
        statuses = Counter(str(row["status"]) for row in rows)
        result.accounted += len(rows)
        result.statuses.update(statuses)
        for row in rows:
            self._check_row(row)
        published = _published(rows)
        self._names.add(spec, published)
        shard_key = layout.shard_file(spec.name, meta.attempt, self._record.layout)
        for faults in check_images(self._release, published, shard_key, meta.shard_sha256, pool):
            for fault in faults:
                result.fault(fault)
        result.objects += len(published)
        stats = ShardStats.from_json(meta.stats)
        if Counter(stats.statuses) != statuses:
            result.fault(f"{key}: statistics of {stats.statuses}, its rows are {dict(statuses)}")
        self._stats = merge(self._stats, stats)

    def _check_ids(self, planned: PlannedRows, spec: ShardSpec, rows: list[dict[str, Any]]) -> None:
        try:
            expected = [row.image_id for row in planned.read(spec)]
        except (IntegrityError, ObjectNotFoundError) as exc:
            self.result.fault(f"ledger: {exc}")
            return
        for offset, (image_id, row) in enumerate(zip(expected, rows, strict=False)):
            if row["image_id"] != image_id:
                self.result.fault(
                    f"row {spec.start + offset}: provenance says {row['image_id']!r}, the manifest {image_id!r}"
                )

    def _check_row(self, row: Mapping[str, Any]) -> None:
        result, status, published = self.result, row["status"], row["status"] in ("anonymized", "clean")
        if status not in STATUSES:
            result.fault(f"{row['image_id']}: unknown status {status!r}")
        if (row["output"] is not None) != published:
            result.fault(f"{row['image_id']}: status {status} with output {row['output']!r}")
        if (row["reason"] is None) != published:
            result.fault(f"{row['image_id']}: status {status} with reason {row['reason']!r}")
        if bool(row["regions"]) != (status == "anonymized"):
            result.fault(f"{row['image_id']}: status {status} with {len(row['regions'] or ())} regions")

    def check_names(self) -> None:
        """Check that no two rows name one image, and that a row names every object: an orphan has no record."""
        result = self.result
        try:
            if duplicates := self._names.duplicates():
                result.fault(f"{duplicates} rows name an image that another row names too")
            for key in self._names.orphans(self._listed):
                result.fault(f"{key}: no provenance row names it")
        except (IntegrityError, ObjectNotFoundError) as exc:
            result.fault(str(exc))
        for info in self._release.objects(layout.PROVENANCE):
            if layout.parse_part(info.key) is None:
                result.fault(f"{layout.PROVENANCE}/{info.key}: not the name of a part")

    def _listed(self) -> Iterator[str]:
        for folder in (layout.IMAGES, layout.SHARDS):
            for info in self._release.objects(folder):
                yield f"{folder}/{info.key}"

    def check_summaries(self) -> None:
        """Check that run.json and stats.json say what the parts say together."""
        record, result = self._record, self.result
        if record.is_finished and _nonzero(record.statuses or {}) != _nonzero(result.statuses):
            result.fault(f"{layout.RUN}: statuses {record.statuses} differ from the parts' {dict(result.statuses)}")
        try:
            published = self._release.read_stats().summary
        except IntegrityError as exc:
            result.fault(str(exc))
            return
        expected = json.loads(json.dumps(summarise(self._stats)))
        if published != expected:
            keys = [key for key in expected if published.get(key) != expected[key]]
            result.fault(f"{layout.STATS}: differs from the sum of the parts in {', '.join(keys) or 'further keys'}")

    def check_gates(self) -> None:
        """Check that gates.json exists once the run is finished, and that it is what the statistics give."""
        if not self._record.is_finished:
            return
        try:
            published = self._release.read_gates()
            limits = validate(GatesConfig, self._record.gates, f"{layout.RUN}: gates")
            expected = evaluate_gates(StatsJson(summarise(self._stats)), limits)
        except (IntegrityError, ConfigError) as exc:
            self.result.fault(str(exc))
            return
        if published is None:
            self.result.fault(f"{layout.GATES}: missing")
        elif published != expected:
            names = [gate.name for gate in expected.results if gate not in published.results]
            self.result.fault(f"{layout.GATES}: differs from the statistics in {', '.join(names) or 'further gates'}")


def _published(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["output"] is not None]


def _nonzero(statuses: Mapping[str, int]) -> dict[str, int]:
    return {status: count for status, count in statuses.items() if count}
