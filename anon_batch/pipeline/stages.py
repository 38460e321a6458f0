"""The stages of one row: read, decode, anonymize, encode, put. Every error ends in a status of the row."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from anon_batch.anonymizer import Anonymizer
from anon_batch.errors import (
    CredentialsError,
    FailedError,
    ObjectUnavailableError,
    RowError,
    StorageError,
    StorageFullError,
    TransientStorageError,
    WithheldError,
    row_error,
)
from anon_batch.formats.layout import Kind
from anon_batch.geometry import clip_detections
from anon_batch.imaging.source import SourceImage
from anon_batch.manifest.fetch import SourceReader, failure_of
from anon_batch.outcomes import Anonymized, Clean, Outcome, Withheld
from anon_batch.pipeline.keeping import Keeper, Kept
from anon_batch.pipeline.timing import Stopwatch
from anon_batch.pipeline.writers import ImageLocation, Sink
from anon_batch.records import Detections, EncodedImage, ManifestRow, ProvenanceRow, RegionRecord
from anon_batch.redaction import hide_address
from anon_batch.sealing.envelope import Sealed
from anon_batch.stats.uncovered import LabelledRegions

_ENDS_THE_RUN = (CredentialsError, StorageFullError)


@dataclass(frozen=True, slots=True, eq=False)
class ReadRow:
    """A row after `read`.

    Args:
        row: of the manifest.
        size_bytes: of the source; None when it could not be read.
        sha256: of the source bytes; None when they could not be read.
        source: the opened image, or why there is none.
    """

    row: ManifestRow
    size_bytes: int | None
    sha256: str | None
    source: SourceImage | Withheld

    @property
    def pixel_count(self) -> int:
        """Pixels that the decoded image will have."""
        return self.source.pixel_count if isinstance(self.source, SourceImage) else 0


@dataclass(frozen=True, slots=True, eq=False)
class AnonymizedRow:
    """A row after `anonymize`."""

    read: ReadRow
    outcome: Outcome


@dataclass(frozen=True, slots=True, eq=False)
class EncodedRow:
    """A row after `encode`, without pixels.

    Args:
        read: the row.
        encoded: the output, or why there is none.
        regions: what was anonymized, for the provenance.
        methods: index of a detection -> method that rendered its region.
        detections: what was found, None when detection did not finish.
        checks: check -> what it counted.
        size: width and height, px; None for an image that could not be opened.
        labelled: what became of the labelled regions; None without ground truth, or without an output.
        kept: what the job keeps of it, encrypted, by kind.
    """

    read: ReadRow
    encoded: EncodedImage | Withheld
    regions: tuple[RegionRecord, ...]
    methods: Mapping[int, str]
    detections: Detections | None
    checks: Mapping[str, Mapping[str, int]]
    size: tuple[int, int] | None
    labelled: LabelledRegions | None
    kept: Mapping[Kind, Kept] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class FinishedRow:
    """A row's end: what is published, what is audited, what is counted.

    Args:
        row: of the manifest.
        provenance: the public row.
        detections: what was found, clipped to the image; None when detection did not finish.
        source_sha256, source_size_bytes: of the source; None when it could not be read.
        detail: what happened, for the private audit.
        methods: index of a detection -> method that rendered its region.
        checks: check -> what it counted.
        labelled: what became of the labelled regions; None without ground truth, or without an output.
        sealed: what the job keeps of it, encrypted, by kind; empty without an output.
    """

    row: ManifestRow
    provenance: ProvenanceRow
    detections: Detections | None
    source_sha256: str | None
    source_size_bytes: int | None
    detail: str | None
    methods: Mapping[int, str] = field(default_factory=dict)
    checks: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    labelled: LabelledRegions | None = None
    sealed: Mapping[Kind, tuple[Sealed, ...]] = field(default_factory=dict)


class ImageStages:
    """The stages of the rows in one attempt at a shard; see `executor.RowStages`.

    Args:
        anonymizer: opens, anonymizes and encodes images.
        reader: reads source bytes.
        sink: takes the outputs.
        max_bytes: limit of a source's size.
        last_chance: a source that still cannot be read ends as `failed`, because there is no later attempt.
        keepers: encrypt what the job keeps of each image, by kind.
    """

    def __init__(
        self,
        anonymizer: Anonymizer,
        reader: SourceReader,
        sink: Sink,
        max_bytes: int,
        *,
        last_chance: bool,
        keepers: Mapping[Kind, Keeper] | None = None,
    ) -> None:
        self._anonymizer = anonymizer
        self._reader = reader
        self._sink = sink
        self._max_bytes = max_bytes
        self._last_chance = last_chance
        self._keepers = keepers or {}
        self.timer = Stopwatch()

    def read(self, row: ManifestRow) -> ReadRow:
        """Fetch the source, compare it with the manifest and read its header.

        Raises:
            TransientStorageError: the whole store is away; the shard is tried again.
            CredentialsError: the run stops.
        """
        try:
            data, sha256, changed = self._fetch(row)
        except TransientStorageError as exc:
            if not (self._last_chance or isinstance(exc, ObjectUnavailableError)):
                raise _without_address(exc, row) from None
            return _unread(row, failure_of(exc))
        except CredentialsError as exc:
            raise _without_address(exc, row) from None
        except StorageError as exc:
            return _unread(row, failure_of(exc))
        except Exception as exc:
            return _unread(row, row_error(exc, FailedError, "source_unreadable"))
        with self.timer("digest"):
            if changed is not None:
                return ReadRow(row, len(data), sha256, Withheld(row.image_id, FailedError("source_changed", changed)))
            source = self._anonymizer.open(row.image_id, data)
            own = row.measured(source.width, source.height) if isinstance(source, SourceImage) else row
            return ReadRow(own, len(data), sha256, source)

    def _fetch(self, row: ManifestRow) -> tuple[bytes, str, str | None]:
        """Return the source's bytes, their digest, and how they differ from the manifest."""
        data, sha256, changed = self._fetch_once(row)
        if changed is not None and row.size_bytes in (None, len(data)):  # because a bit may have flipped on the way
            return self._fetch_once(row)
        return data, sha256, changed

    def _fetch_once(self, row: ManifestRow) -> tuple[bytes, str, str | None]:
        with self.timer("read"):
            data = self._reader.read(row, self._max_bytes)
        with self.timer("digest"):
            sha256 = hashlib.sha256(data).hexdigest()
            return data, sha256, _difference_from_manifest(row, data, sha256)

    def decode(self, read: ReadRow) -> ReadRow:
        """Decode the pixels that the detectors see."""
        if isinstance(read.source, Withheld):
            return read
        with self.timer("decode"):
            undecoded = self._anonymizer.decode(read.source)
        return read if undecoded is None else ReadRow(read.row, read.size_bytes, read.sha256, undecoded)

    def anonymize(self, batch: Sequence[ReadRow]) -> list[AnonymizedRow]:
        """Detect and anonymize."""
        opened = [read for read in batch if isinstance(read.source, SourceImage)]
        sources = [read.source for read in opened if isinstance(read.source, SourceImage)]
        truths, drawn = [read.row.regions for read in opened], [read.row.drawn for read in opened]
        persons = [read.row.persons for read in opened]
        outcomes = iter(self._anonymizer.process(sources, truths, self.timer, drawn=drawn, persons=persons))
        return [
            AnonymizedRow(read, read.source if isinstance(read.source, Withheld) else next(outcomes)) for read in batch
        ]

    def encode(self, item: AnonymizedRow) -> EncodedRow:
        """Encode the output and free the pixels."""
        outcome, source = item.outcome, item.read.source
        labelled: LabelledRegions | None = None
        kept: Mapping[Kind, Kept] = {}
        if isinstance(outcome, Withheld):
            encoded: EncodedImage | Withheld = outcome
        else:
            with self.timer("encode"):
                encoded = self._anonymizer.encode(outcome)
                if isinstance(encoded, EncodedImage):
                    encoded, labelled = self._judge(outcome, item.read.row, encoded)
                if isinstance(encoded, EncodedImage):
                    encoded, kept = self._keep(outcome, encoded)
        size = None
        if isinstance(source, SourceImage):
            size = source.width, source.height
            source.release()
        regions: tuple[RegionRecord, ...] = ()
        methods: Mapping[int, str] = {}
        if isinstance(outcome, Anonymized) and isinstance(encoded, EncodedImage):
            regions, methods = outcome.records, outcome.methods
        return EncodedRow(
            item.read, encoded, regions, methods, outcome.detections, outcome.checks, size, labelled, kept
        )

    def _judge(
        self, outcome: Clean | Anonymized, row: ManifestRow, encoded: EncodedImage
    ) -> tuple[EncodedImage | Withheld, LabelledRegions | None]:
        """Return the output with what became of its labelled regions, or a withheld row that could not be counted."""
        if row.regions is None:
            return encoded, None
        try:
            return encoded, self._anonymizer.judge(outcome, row.regions)
        except Exception as exc:  # because a release must not be better in the statistics than it is
            error = row_error(exc, WithheldError, "encode", f"{row.image_id}: labelled regions: ")
            return Withheld(row.image_id, error, outcome.detections, outcome.checks), None

    def _keep(
        self, outcome: Clean | Anonymized, encoded: EncodedImage
    ) -> tuple[EncodedImage | Withheld, Mapping[Kind, Kept]]:
        """Return the output with what is kept of its source, or a withheld row of which something cannot be kept."""
        if isinstance(outcome, Clean):
            return encoded, {}
        try:
            return encoded, {kind: keeper.keep(outcome, encoded) for kind, keeper in self._keepers.items()}
        except WithheldError as error:
            return Withheld(outcome.source.image_id, error, outcome.detections, outcome.checks), {}

    def put(self, item: EncodedRow) -> FinishedRow:
        """Write the output, unless there is none.

        Raises:
            StorageError: the shard is tried again, or the run stops.
        """
        row, encoded = item.read.row, item.encoded
        placed: ImageLocation | None = None
        error = encoded.error if isinstance(encoded, Withheld) else None
        if isinstance(encoded, EncodedImage):
            try:
                with self.timer("put"):
                    placed = self._place(row, encoded)
            except StorageError:
                raise
            except Exception as exc:
                error = row_error(exc, WithheldError, "encode")
        with self.timer("digest"):
            provenance = _provenance(item, placed, error)
        found = item.detections
        kept = {} if error is not None else item.kept
        return FinishedRow(
            row,
            provenance,
            None if found is None or item.size is None else clip_detections(found, *item.size),
            item.read.sha256,
            item.read.size_bytes,
            None if error is None else error.detail,
            {} if error is not None else item.methods,
            {**item.checks, **{kind: own.counts for kind, own in kept.items() if own.counts}},
            None if error is not None else item.labelled,
            {kind: own.records for kind, own in kept.items()},
        )

    def _place(self, row: ManifestRow, encoded: EncodedImage) -> ImageLocation:
        try:
            return self._sink.add(row, encoded)
        except StorageError as exc:
            is_away = isinstance(exc, TransientStorageError) and not isinstance(exc, ObjectUnavailableError)
            if is_away or isinstance(exc, _ENDS_THE_RUN):
                raise
            # Storage refuses this name, size or folder, and others may pass. If none does, the commit is refused too.
            raise WithheldError("write", str(exc)) from None


def _without_address(exc: StorageError, row: ManifestRow) -> StorageError:
    """Return the error as others than the owner of the sources may read it, because it leaves the ledger."""
    return type(exc)(f"source of {row.image_id!r}: {hide_address(exc.message, row.uri)}")


def _unread(row: ManifestRow, error: RowError) -> ReadRow:
    return ReadRow(row, None, None, Withheld(row.image_id, error))


def _difference_from_manifest(row: ManifestRow, data: bytes, sha256: str) -> str | None:
    if row.size_bytes is not None and row.size_bytes != len(data):
        return f"{len(data)} bytes, manifest says {row.size_bytes}"
    if row.sha256 is not None and row.sha256.lower() != sha256:
        return f"sha256 {sha256}, manifest says {row.sha256}"
    return None


def _provenance(item: EncodedRow, placed: ImageLocation | None, error: RowError | None) -> ProvenanceRow:
    row, encoded = item.read.row, item.encoded
    width, height = item.size or (None, None)
    if error is not None or placed is None or isinstance(encoded, Withheld):
        error = error or WithheldError("incomplete", "no output was written")
        return ProvenanceRow(row.image_id, error.status, error.reason, width=width, height=height, extra=row.extra)
    return ProvenanceRow(
        row.image_id,
        "anonymized" if item.regions else "clean",
        None,
        placed.output,
        placed.member,
        hashlib.sha256(encoded.data).hexdigest(),
        len(encoded.data),
        encoded.format,
        width,
        height,
        item.regions,
        row.extra,
    )
