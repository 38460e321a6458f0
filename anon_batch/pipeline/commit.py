"""Commit a shard: what is kept encrypted and the audit part first, then the provenance part, whose existence is the commit."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

import pyarrow as pa

from anon_batch import __version__
from anon_batch.formats.audit import AuditRow, write_audit
from anon_batch.formats.layout import Kind
from anon_batch.formats.part import PartMeta
from anon_batch.formats.provenance import write_provenance
from anon_batch.formats.run_json import now
from anon_batch.formats.seal_store import SealStore
from anon_batch.formats.sealed import SealedShard
from anon_batch.pipeline.run import Run
from anon_batch.pipeline.stages import FinishedRow
from anon_batch.records import ProvenanceRow, ShardResult, ShardSpec
from anon_batch.redaction import redact_address
from anon_batch.sealing.envelope import WrappedKek
from anon_batch.stats import ShardStats, match


@dataclasses.dataclass(frozen=True, slots=True)
class FinishedShard:
    """A shard whose images are written.

    Args:
        spec: the shard.
        attempt: name of the attempt.
        rows: in manifest order.
        stats: of these rows.
        shard_sha256: digest of the tar or Parquet file with the images; empty if the layout has none.
        keks: keys of what is kept encrypted, each encrypted to the recipients, by kind.
    """

    spec: ShardSpec
    attempt: str
    rows: Sequence[FinishedRow]
    stats: ShardStats
    shard_sha256: str = ""
    keks: Mapping[Kind, WrappedKek] = dataclasses.field(default_factory=dict)

    @property
    def statuses(self) -> dict[str, int]:
        """Map each status to its number of rows."""
        return dict(Counter(row.provenance.status for row in self.rows))

    def result(self, seconds: float = 0.0, timings: Mapping[str, float] | None = None) -> ShardResult:
        """Return what the driver hears of the committed shard."""
        lost = [row.provenance for row in self.rows if row.provenance.reason is not None]
        return ShardResult(
            self.spec,
            "committed",
            self.statuses,
            Counter(str(row.reason) for row in lost),
            lost[0].image_id if lost else "",
            seconds,
            timings or {},
            stats=self.stats.to_json(),
        )


def commit(run: Run, shard: FinishedShard, extra: pa.Schema) -> bool:
    """Write what is kept encrypted and the audit part, then the provenance part unless it exists.

    What the ground truth tells is in the audit part alone.

    Args:
        run: names release and ledger.
        shard: what to commit.
        extra: names and types of the pass-through columns.

    Returns:
        False if another attempt has committed the shard: its part counts, and this attempt's files are orphans.
    """
    meta = PartMeta(shard.spec.name, shard.attempt, run.plan.run_id, now(), shard.stats.to_json(), shard.shard_sha256)
    for kind, kek in shard.keks.items():
        if sealed := tuple(own for row in shard.rows for own in row.sealed.get(kind, ())):
            SealStore(run.ledger, kind).put(shard.spec, shard.attempt, SealedShard(sealed, (kek,)))
    run.ledger.put_audit(shard.spec, shard.attempt, write_audit([_audit_row(row) for row in shard.rows], meta))
    meta = dataclasses.replace(meta, stats=shard.stats.public().to_json())
    rows = [row.provenance for row in shard.rows]
    return run.release.commit_part(shard.spec, write_provenance(rows, extra, run.plan.models, __version__, meta))


def commit_poison(run: Run, spec: ShardSpec) -> ShardResult:
    """Commit a single row that no attempt survived as `failed(poison)`."""
    planned = run.planned_rows()
    [row] = planned.read(spec)
    detail = "every attempt at this row ended its worker's process or could not be committed"
    provenance = ProvenanceRow(row.image_id, "failed", "poison", extra=row.extra)
    rows = [FinishedRow(row, provenance, None, None, None, detail)]
    shard = FinishedShard(spec, f"{run.invocation}-poison", rows, statistics(rows))
    if not commit(run, shard, planned.extra_schema):
        return ShardResult(spec, "already_committed")  # because a late attempt was given up too early
    return shard.result()


def statistics(rows: Sequence[FinishedRow]) -> ShardStats:
    """Return the statistics of finished rows, without times."""
    stats = ShardStats()
    for row in rows:
        _count(stats, row)
    return stats


def _count(stats: ShardStats, row: FinishedRow) -> ShardStats:
    out = row.provenance
    stats.add_row(
        out.status,
        out.reason,
        row.detections,
        row.row.regions,
        methods=row.methods,
        kept=_kept(row),
        labelled=row.labelled,
        slices=row.row.slices,
        bytes_in=row.source_size_bytes or 0,
        bytes_out=out.size_bytes or 0,
    )
    stats.add_checks(row.checks)
    return stats


def _kept(row: FinishedRow) -> list[int]:
    """Return the detections in a published image that were left untouched on the owner's word."""
    if row.detections is None or row.provenance.output is None:
        return []
    return [index for index in range(len(row.detections)) if index not in row.methods]


def _audit_row(row: FinishedRow) -> AuditRow:
    source, out = row.row, row.provenance
    detail = None if row.detail is None else row.detail.encode(errors="backslashreplace").decode()  # lone surrogates
    found, truth = row.detections, source.regions
    matches = match(found, truth).region_detection.tolist() if found is not None and truth is not None else []
    return AuditRow(
        source.image_id,
        redact_address(source.uri),
        source.offset,
        source.length,
        row.source_sha256,
        row.source_size_bytes,
        out.status,
        out.reason,
        detail,
        found,
        row.methods,
        truth,
        matches,
        _count(ShardStats(), row).to_json(),
    )
