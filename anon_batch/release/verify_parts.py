"""Verify the provenance parts of a release: every row once, with the right id, and every image that a row names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from anon_batch.errors import IntegrityError, ObjectNotFoundError, ResumeRefusedError
from anon_batch.formats import layout
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.release import Release
from anon_batch.formats.run_json import RunJson
from anon_batch.formats.seal_store import SealStore
from anon_batch.formats.tombstone import ERASED, LEFT_OF_ERASED, erased_id
from anon_batch.manifest.chunks import PlannedRows
from anon_batch.pipeline.private_stats import with_private
from anon_batch.records import STATUSES, ShardSpec
from anon_batch.release.output_names import OutputNames
from anon_batch.release.reveal.sealed_release import NAMES
from anon_batch.release.verification import Verification
from anon_batch.release.verify_files import check_images
from anon_batch.sealing.envelope import WHOLE_IMAGE
from anon_batch.shards import effective, gaps
from anon_batch.stats import ShardStats, merge


class PartsChecker:
    """Check the parts of one release; collect faults and what the parts say together.

    Args:
        release: what to check.
        record: its run.json.
        result: receives the faults.

    Attributes:
        stats: merged statistics of the checked parts.
        names: names of the outputs of the checked parts.
        erased: numbers of the erased rows of the checked parts.
    """

    def __init__(self, release: Release, record: RunJson, result: Verification) -> None:
        self._release = release
        self._record = record
        self._result = result
        destroyed = release.read_destroyed(record.run_id)
        self._kept = [kind for kind in NAMES if kind in record.config and destroyed.find(NAMES[kind]) is None]
        self.stats = ShardStats()
        self.erased: set[int] = set()
        self.names = OutputNames(lambda spec: _published(release.read_part(spec).table.to_pylist()))

    def check_coverage(self) -> list[ShardSpec]:
        """Check that the parts cover every row once; return the parts that count."""
        found = self._release.parts()
        kept = effective(found)
        for gap in gaps(self._result.rows, kept):
            self._result.fault(f"rows {gap.start} to {gap.stop - 1}: no provenance part covers them")
        for spec in sorted(set(found) - set(kept)):
            self._result.fault(f"{self._release.part_key(spec)}: another part commits its rows too")
        for spec, version in self._release.other_parts():
            self._result.fault(f"{layout.provenance_part(spec.name, version)}: {self._explain_version(version)}")
        for spec in kept:
            if spec.stop > self._result.rows:
                self._result.fault(f"{self._release.part_key(spec)}: beyond the last row {self._result.rows - 1}")
        return kept

    def _explain_version(self, version: int) -> str:
        if version < self._release.version:
            return f"version {self._release.version} replaced it; run the command that made that version again to delete it"
        return f"of version {version}, which is not published; run the command that makes it again to finish it"

    def planned_rows(self, ledger: Ledger) -> PlannedRows | None:
        """Return the ledger's rows; None, and a fault, if it is not this release's ledger."""
        result = self._result
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

    def check_shard(
        self, spec: ShardSpec, planned: PlannedRows | None, pool: ThreadPoolExecutor, ledger: Ledger | None = None
    ) -> None:
        """Check a part, its rows, and the images that it names; add to the statistics what `ledger` knows by the ground truth."""
        key, result = self._release.part_key(spec), self._result
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
        for number, row in enumerate(rows, spec.start):
            self._check_row(row)
            if row["reason"] == ERASED:
                self.erased.add(number)
                self._check_erased(number, row)
        published = _published(rows)
        self.names.add(spec, published)
        shard_key = layout.shard_file(spec.name, meta.attempt, self._record.layout)
        for faults in check_images(
            self._release,
            published,
            shard_key,
            meta.shard_sha256,
            pool,
            mark_generated=self._record.mark_generated,
            credentials=any(version.kind == "c2pa" for version in self._release.versions),
        ):
            for fault in faults:
                result.fault(fault)
        if ledger is not None:
            for kind in self._kept:
                self._check_kept(SealStore(ledger, kind), kind, spec, meta.attempt, rows)
        result.objects += len(published)
        stats = ShardStats.from_json(meta.stats)
        if Counter(stats.statuses) != statuses:
            result.fault(f"{key}: statistics of {stats.statuses}, its rows are {dict(statuses)}")
        self.stats = merge(self.stats, stats if ledger is None else with_private(stats, ledger, spec, meta))

    def _check_kept(
        self, store: SealStore, kind: layout.Kind, spec: ShardSpec, attempt: str, rows: list[dict[str, Any]]
    ) -> None:
        """Check that everything that was anonymized is sealed, or in the index of faces, and nothing else."""
        uri = store.keys_address(spec, attempt)
        try:
            sealed = store.read(spec, attempt, self._record.run_id)
        except IntegrityError as exc:
            self._result.fault(str(exc))
            return
        places = Counter((own.place.image_id, own.place.region) for own in sealed.records)
        expected = Counter[tuple[str, int]]()
        for row in rows:
            if row["status"] == "anonymized":
                image_id = row["image_id"]
                whole = kind == "link" or (image_id, WHOLE_IMAGE) in places
                expected.update((image_id, at) for at in ([WHOLE_IMAGE] if whole else range(len(row["regions"]))))
        for image_id in sorted({image_id for image_id, _ in (expected - places) | (places - expected)}):
            what = "what is sealed of" if kind == "seal" else "what the index of faces holds of"
            self._result.fault(f"{uri}: {what} {image_id} are not its regions")

    def _check_ids(self, planned: PlannedRows, spec: ShardSpec, rows: list[dict[str, Any]]) -> None:
        try:
            expected = [row.image_id for row in planned.read(spec)]
        except (IntegrityError, ObjectNotFoundError) as exc:
            self._result.fault(f"ledger: {exc}")
            return
        for offset, (image_id, row) in enumerate(zip(expected, rows, strict=False)):
            if row["image_id"] != image_id:
                self._result.fault(
                    f"row {spec.start + offset}: provenance says {row['image_id']!r}, the manifest {image_id!r}"
                )

    def _check_row(self, row: Mapping[str, Any]) -> None:
        result, status, published = self._result, row["status"], row["status"] in ("anonymized", "clean")
        if status not in STATUSES:
            result.fault(f"{row['image_id']}: unknown status {status!r}")
        if (row["output"] is not None) != published:
            result.fault(f"{row['image_id']}: status {status} with output {row['output']!r}")
        if (row["reason"] is None) != published:
            result.fault(f"{row['image_id']}: status {status} with reason {row['reason']!r}")
        if bool(row["regions"]) != (status == "anonymized"):
            result.fault(f"{row['image_id']}: status {status} with {len(row['regions'] or ())} regions")
        generated = any(region["synthetic"] for region in row["regions"] or ())
        if row["synthetic"] != (generated if published else None):
            result.fault(
                f"{row['image_id']}: status {status}, synthetic {row['synthetic']}, but {generated} by its regions"
            )

    def _check_erased(self, number: int, row: Mapping[str, Any]) -> None:
        """Check that nothing of an erased row is left but its place."""
        if row["image_id"] != erased_id(number):
            self._result.fault(f"row {number}: erased, but its id is {row['image_id']!r}")
        if left := sorted(
            name for name, value in row.items() if name not in LEFT_OF_ERASED and value not in (None, [])
        ):
            self._result.fault(f"row {number}: erased, but {', '.join(left)} is left")


def _published(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["output"] is not None]
