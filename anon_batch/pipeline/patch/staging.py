"""The place where a patch does its rows: a small run of its own in the ledger, with attempts and commits as any run.

Its rows keep their numbers, ids and seeds, so that what it makes of them is what the release's own run would have made.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Sequence

import pyarrow as pa

from anon_batch.errors import IntegrityError, ObjectExistsError, ObjectNotFoundError
from anon_batch.formats import layout
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.plan import Plan
from anon_batch.formats.release import Release
from anon_batch.formats.run_json import now
from anon_batch.formats.seal_store import read_kept
from anon_batch.formats.touched_rows import TouchedRow, TouchedRows
from anon_batch.manifest.chunks import PlannedRows
from anon_batch.pipeline.patch.drawn import to_detections
from anon_batch.pipeline.patch.job import PatchJob
from anon_batch.pipeline.run import Run
from anon_batch.pipeline.writers import ImageLocation, Sink
from anon_batch.records import EncodedImage, ManifestRow, ShardSpec
from anon_batch.storage import join

MAX_SHARD_ROWS = 64  # because a patch is small, and each worker should get some of it


@dataclasses.dataclass(frozen=True, slots=True)
class Staging:
    """The private files of one patch.

    Args:
        ledger: of the release.
        attempt: names the version that the patch makes, and its plan, so that nothing of an abandoned one is taken for its own.
    """

    ledger: Ledger
    attempt: str

    @property
    def folder(self) -> str:
        """Key below LEDGER."""
        return f"{layout.LEDGER_PATCH}/{self.attempt}"

    @property
    def _rows_address(self) -> str:
        return self.ledger.address(f"{self.folder}/rows.parquet")

    def read_rows(self) -> TouchedRows | None:
        """Return the rows that the patch does again; None if they were not found yet.

        Raises:
            IntegrityError: the file is damaged.
        """
        try:
            return TouchedRows.from_parquet(self.ledger.storage.read(self._rows_address), self._rows_address)
        except ObjectNotFoundError:
            return None

    def keep_rows(self, touched: TouchedRows) -> TouchedRows:
        """Write the rows unless another process has; return those that count."""
        try:
            self.ledger.storage.put_if_absent(self._rows_address, touched.to_parquet())
        except ObjectExistsError:
            return self.read_rows() or touched
        return touched

    def open_run(self, job: PatchJob, touched: TouchedRows) -> StagedRun:
        """Begin the run that does the rows again, or resume it."""
        release = Release(self.ledger.storage, join(self.ledger.address(self.folder), "output"))
        ledger = Ledger(self.ledger.storage, join(self.ledger.address(self.folder), "ledger"))
        plan = ledger.publish_plan(
            Plan(
                run_id=job.plan.run_id,
                total=len(touched.rows),
                shard_rows=min(job.config.engine.shard_rows, MAX_SHARD_ROWS),
                models=job.models,
                fingerprint={},
                rows_id="",
                created_at=now(),
            )
        )
        return StagedRun(
            job.config,
            plan,
            release,
            ledger,
            job.run_key,
            secrets.token_hex(4),
            kept=read_kept(self.ledger),
            staging=self,
            whole=job.plan,
        )

    def delete(self) -> None:
        """Delete everything that the patch kept here."""
        self.ledger.delete(f"{self.folder}/{info.key}" for info in self.ledger.objects(self.folder))
        self.ledger.storage.prune(self.ledger.address(self.folder))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StagedRun(Run):
    """A run over some rows of a release. Its shards count them from 0, as they stand in the list of touched rows.

    Args:
        staging: where the list is.
        whole: plan of the release's run.
    """

    staging: Staging
    whole: Plan

    def open_sink(self, key: str, extra: pa.Schema, rows: Sequence[ManifestRow]) -> Sink:
        """Return what takes the images: one object each in any layout, because a shard's names depend on all of its rows."""
        return StagedSink(self.release)

    def planned_rows(self) -> PlannedRows:
        """Return a reader of the rows."""
        if (touched := self.staging.read_rows()) is None:
            raise IntegrityError(
                f"{self.staging.ledger.address(self.staging.folder)}: another process has ended this patch"
            )
        return TouchedPlannedRows(self.staging.ledger, self.whole, touched.rows)


class StagedSink:
    """Write one object for each image, named by the number of its row."""

    def __init__(self, release: Release) -> None:
        self._release = release

    def add(self, row: ManifestRow, image: EncodedImage) -> ImageLocation:
        key = layout.image_key(f"{row.index:010d}")
        self._release.put(key, image.data)
        return ImageLocation(key, None)

    def close(self) -> str:
        """Do nothing, because every image is written already."""
        return ""


class TouchedPlannedRows(PlannedRows):
    """Read some rows of a release's run from its ledger, with what people drew in them.

    Args:
        ledger: of the release.
        plan: of its run.
        touched: the rows, in order.
    """

    def __init__(self, ledger: Ledger, plan: Plan, touched: Sequence[TouchedRow]) -> None:
        super().__init__(ledger, plan.rows_id, plan.total)
        self._touched = touched

    def read(self, spec: ShardSpec) -> list[ManifestRow]:
        """Return the rows of one shard of the staged run, in order; raise as `PlannedRows.read`."""
        return [self._read_one(own) for own in self._touched[spec.start : spec.stop]]

    def _read_one(self, own: TouchedRow) -> ManifestRow:
        [row] = super().read(ShardSpec(own.number, 1))
        return dataclasses.replace(
            row,
            sha256=own.source_sha256 or row.sha256,
            drawn=to_detections(own.drawn) if own.drawn else None,
        )
