"""Read sampled rows of a release: the source as the run read it, and the output that was published."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from anon_batch.errors import (
    CredentialsError,
    FailedError,
    IntegrityError,
    ObjectNotFoundError,
    ObjectUnavailableError,
    RowError,
    StorageError,
    TransientStorageError,
    row_error,
)
from anon_batch.evaluate.release.job import ReleaseJob
from anon_batch.evaluate.release.tasks import Rows
from anon_batch.formats import layout
from anon_batch.formats.audit import read_outlines
from anon_batch.formats.shard_file import read_members
from anon_batch.imaging.source import SourceImage
from anon_batch.manifest.fetch import SourceReader, failure_of
from anon_batch.records import BoolArray, Detections, FloatArray, GroundTruth, ManifestRow, ShardSpec
from anon_batch.redaction import hide_address

Provenance = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredRow:
    """A sampled row of a release.

    Args:
        image_id: of the row.
        status: in the release.
        regions: (N, 4) float32 xyxy, the published extents, px of the upright image.
        output: the published image; None if there is none.
        source: the original; None without a ledger, or if it cannot be read again.
        unread: reason code why there is no source; "" if there is one, or if none was asked for.
        truth: labelled regions of the manifest; None if unknown.
        detections: what the run found, clipped to the image; None without a ledger, or where it did not search.
        rendered: (N,) bool, which of them were anonymized.
        extra: pass-through columns of the manifest, private ones included.
    """

    image_id: str
    status: str
    regions: FloatArray
    output: SourceImage | None
    source: SourceImage | None
    unread: str
    truth: GroundTruth | None
    detections: Detections | None
    rendered: BoolArray
    extra: Mapping[str, Any]

    @property
    def anonymized(self) -> Detections:
        """The detections that were anonymized."""
        return Detections.empty() if self.detections is None else self.detections.take(self.rendered)

    def release(self) -> None:
        """Free the pixels."""
        for image in (self.output, self.source):
            if image is not None:
                image.release()


class RowReader:
    """Read sampled rows of one release. Keeps the chunk of the ledger that was read last.

    Args:
        job: names release, ledger and sources.
    """

    def __init__(self, job: ReleaseJob) -> None:
        self._job = job
        self._planned = job.planned_rows()
        self._sources = SourceReader(job.storage, job.allowed())
        self._pool = ThreadPoolExecutor(job.config.engine.io_threads, thread_name_prefix="io")

    def read(self, spec: ShardSpec, offsets: Rows, size: int) -> Iterator[list[MeasuredRow]]:
        """Yield the rows of a shard at these offsets, at most `size` at a time; read the next ones meanwhile.

        Raises:
            IntegrityError: the release or the ledger is damaged: an output is missing, changed, or does not decode.
            StorageError: storage keeps failing, not for one source alone.
        """
        part = self._job.release.read_part(spec)
        provenance = part.table.take(list(offsets)).to_pylist()
        planned = self._rows(spec, offsets, provenance)
        audit = self._audit(spec, part.meta.attempt, offsets)
        shard_key = layout.shard_file(spec.name, part.meta.attempt, self._job.run.layout)
        members = self._members(shard_key, provenance)
        items = list(zip(provenance, planned, audit, strict=True))
        batches = [items[start : start + size] for start in range(0, len(items), size)]
        upcoming = [self._pool.submit(self._row, *item, members) for item in batches[0]] if batches else []
        for number in range(len(batches)):
            current, ahead = upcoming, batches[number + 1] if number + 1 < len(batches) else []
            upcoming = [self._pool.submit(self._row, *item, members) for item in ahead]
            # Here, because pixels of all that is read ahead would take too much memory.
            yield [_decoded(future.result()) for future in current]

    def _rows(self, spec: ShardSpec, offsets: Rows, provenance: Sequence[Provenance]) -> Sequence[ManifestRow | None]:
        if self._planned is None:
            return [None] * len(offsets)
        every = self._planned.read(spec)
        rows = [every[offset] for offset in offsets]
        for row, public in zip(rows, provenance, strict=True):
            if row.image_id != public["image_id"]:
                raise IntegrityError(
                    f"row {row.index}: provenance says {public['image_id']!r}, the ledger {row.image_id!r}; `anon-batch verify` "
                    "says more"
                )
        return rows

    def _audit(self, spec: ShardSpec, attempt: str, offsets: Rows) -> Sequence[Provenance | None]:
        if self._job.ledger is None:
            return [None] * len(offsets)
        try:
            table = self._job.ledger.read_audit(spec, attempt)
        except ObjectNotFoundError:
            raise IntegrityError(
                f"{layout.audit_part(spec.name, attempt)}: missing in ledger {self._job.ledger.uri}; restore it, or measure "
                "the outputs alone with --no-ledger"
            ) from None
        if len(table) != spec.count:
            raise IntegrityError(f"{layout.audit_part(spec.name, attempt)}: {len(table)} rows, expected {spec.count}")
        rows: list[Provenance | None] = table.take(list(offsets)).to_pylist()
        return rows

    def _members(self, key: str, provenance: Sequence[Provenance]) -> Mapping[str, bytes]:
        """Return the images of the shard file that the rows name; empty for the layout `files`."""
        wanted = {row["member"] for row in provenance if row["member"] is not None}
        if not wanted:
            return {}
        try:
            data = self._job.release.read(key)
        except ObjectNotFoundError:
            raise IntegrityError(f"{key}: missing; `anon-batch verify` says more") from None
        try:
            return {name: content for name, content in read_members(data, key) if name in wanted}
        except Exception as exc:  # because a damaged file may break its reader in any way
            raise IntegrityError(f"{key}: damaged ({type(exc).__name__})") from None

    def _row(
        self,
        public: Provenance,
        planned: ManifestRow | None,
        audit: Provenance | None,
        members: Mapping[str, bytes],
    ) -> MeasuredRow:
        output = self._output(public, members) if public["output"] is not None else None
        source, unread = self._source(planned, audit) if planned is not None and audit is not None else (None, "")
        boxes = [[region[name] for name in ("x1", "y1", "x2", "y2")] for region in public["regions"] or ()]
        return MeasuredRow(
            public["image_id"],
            public["status"],
            np.array(boxes, np.float32).reshape(-1, 4),
            output,
            source,
            unread,
            _in_pixels(planned, public),
            *_found(audit),
            {} if planned is None else planned.extra,
        )

    def _output(self, public: Provenance, members: Mapping[str, bytes]) -> SourceImage:
        """Return the output, checked against the provenance."""
        member = public["member"]
        name = public["output"] if member is None else f"{public['output']}:{member}"
        try:
            data = self._job.release.read(public["output"]) if member is None else members[member]
        except (ObjectNotFoundError, KeyError):
            raise IntegrityError(f"{name}: missing; `anon-batch verify` says more") from None
        if hashlib.sha256(data).hexdigest() != public["sha256"]:
            raise IntegrityError(f"{name}: differs from its sha256 in the provenance; `anon-batch verify` says more")
        try:
            return SourceImage.open(public["image_id"], data)
        except RowError as exc:
            raise IntegrityError(f"{name}: does not decode ({exc.reason})") from None

    def _source(self, row: ManifestRow, audit: Provenance) -> tuple[SourceImage | None, str]:
        """Return the original, or the reason why there is none; those that the run could not read have none."""
        limits = self._job.config.limits
        if audit["source_sha256"] is None:
            return None, ""
        try:
            data = self._sources.read(row, limits.max_bytes)
            if hashlib.sha256(data).hexdigest() != audit["source_sha256"]:
                raise FailedError("source_changed", "its sha256 differs from what the run read")
            image = SourceImage.open(row.image_id, data, max_pixels=limits.max_pixels, max_bytes=limits.max_bytes)
        except RowError as exc:
            return None, "" if audit["status"] == "failed" else exc.reason
        except CredentialsError as exc:
            raise _without_address(exc, row) from None
        except TransientStorageError as exc:
            if not isinstance(exc, ObjectUnavailableError):
                raise _without_address(exc, row) from None
            return None, failure_of(exc).reason
        except StorageError as exc:
            return None, failure_of(exc).reason
        except Exception as exc:
            return None, row_error(exc, FailedError, "source_unreadable").reason
        return image, ""


def _in_pixels(planned: ManifestRow | None, public: Provenance) -> GroundTruth | None:
    """Return the regions of a row in px of its image, whose size the provenance has."""
    if planned is None or planned.regions is None or public["width"] is None:
        return None if planned is None else planned.regions
    return planned.regions.in_pixels(public["width"], public["height"])


def _decoded(row: MeasuredRow) -> MeasuredRow:
    if row.output is not None:
        try:
            row.output.decode()
        except RowError as exc:
            raise IntegrityError(f"output of {row.image_id!r}: does not decode ({exc.reason})") from None
    if row.source is None:
        return row
    try:
        row.source.decode()
    except RowError as exc:
        return replace(row, source=None, unread="" if row.status == "failed" else exc.reason)
    return row


def _found(audit: Provenance | None) -> tuple[Detections | None, BoolArray]:
    """Return what the run detected, and which of it was anonymized."""
    found = None if audit is None else audit["detections"]
    if found is None:
        return None, np.zeros(0, np.bool_)
    boxes = [[own[name] for name in ("x1", "y1", "x2", "y2")] for own in found]
    detections = Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([own["score"] for own in found], np.float32),
        np.array([own["landmarks"] for own in found], np.float32).reshape(-1, 5, 2),
        tuple(own["detector"] for own in found),
        tuple(own["label"] for own in found),
        outlines=read_outlines(audit.get("outlines") if audit else None, len(found)),
    )
    return detections, np.array([own["method"] is not None for own in found], np.bool_)


def _without_address(exc: StorageError, row: ManifestRow) -> StorageError:
    return type(exc)(f"source of {row.image_id!r}: {hide_address(exc.message, row.uri)}")
