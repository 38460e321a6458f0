"""One row's way: read, decode, detect, anonymize, encode, put. Every fault ends in a status, never in an untreated output."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from anon_batch.anonymize.ladder import Ladder
from anon_batch.config import JobConfig
from anon_batch.detect.protocol import Detector
from anon_batch.errors import (
    AccessDeniedError,
    CredentialsError,
    FailedError,
    ObjectNotFoundError,
    RowError,
    StorageError,
    StorageFullError,
    TransientStorageError,
    WithheldError,
)
from anon_batch.geometry import clip_detections
from anon_batch.imaging.encode import encode_anonymized, encode_clean
from anon_batch.imaging.source import SourceImage
from anon_batch.manifest.fetch import SourceReader
from anon_batch.pipeline.timing import Stopwatch
from anon_batch.pipeline.writers import ImageLocation, Sink
from anon_batch.records import (
    AnonymizedImage,
    DecodedImage,
    Detections,
    EncodedImage,
    ManifestRow,
    Preview,
    ProvenanceRow,
    Region,
    RegionRecord,
    Status,
)

_ENDS_THE_RUN = (AccessDeniedError, CredentialsError, StorageFullError)


@dataclass(frozen=True, slots=True, eq=False)
class ReadRow:
    """A row's source, opened, or why that failed."""

    row: ManifestRow
    data: bytes = b""
    sha256: str | None = None
    image: SourceImage | None = None
    error: RowError | None = None

    @property
    def pixel_count(self) -> int:
        return 0 if self.image is None else self.image.pixel_count


@dataclass(frozen=True, slots=True, eq=False)
class DecodedRow:
    """A row's image and what the detectors see of it, or why there is none."""

    read: ReadRow
    image: SourceImage | None = None
    preview: Preview | None = None
    error: RowError | None = None

    @property
    def pixel_count(self) -> int:
        return self.read.pixel_count


@dataclass(frozen=True, slots=True, eq=False)
class FinishedRow:
    """A row's fate: what is published, what is audited, what is counted."""

    row: ManifestRow
    provenance: ProvenanceRow
    detections: Detections | None
    source_sha256: str | None
    source_size_bytes: int | None
    detail: str | None


class RowStages:
    """The stages of a row, for one shard's attempt.

    Args:
        config: the job.
        run_key: seeds the faces.
        detector, ladder: the models.
        source: reads source bytes.
        sink: takes the outputs.
        last_chance: a source that still cannot be read ends as `failed`, as there is no later attempt.
    """

    def __init__(
        self,
        config: JobConfig,
        run_key: bytes,
        detector: Detector,
        ladder: Ladder,
        source: SourceReader,
        sink: Sink,
        *,
        last_chance: bool,
    ) -> None:
        self._config = config
        self._run_key = run_key
        self._detector = detector
        self._ladder = ladder
        self._source = source
        self._sink = sink
        self._last_chance = last_chance
        self.clock = Stopwatch()

    def read(self, row: ManifestRow) -> ReadRow:
        """Fetch the source and read its header.

        Raises:
            TransientStorageError, CredentialsError: the whole shard is tried again, or the run stops.
        """
        try:
            with self.clock("read"):
                data = self._source.read(row, self._config.limits.max_bytes)
        except ObjectNotFoundError as exc:
            return ReadRow(row, error=FailedError("source_not_found", str(exc)))
        except AccessDeniedError as exc:
            return ReadRow(row, error=FailedError("source_denied", str(exc)))
        except TransientStorageError as exc:
            if not self._last_chance:
                raise
            return ReadRow(row, error=FailedError("source_unreadable", str(exc)))
        except CredentialsError:
            raise
        except StorageError as exc:
            return ReadRow(row, error=FailedError("source_unreadable", str(exc)))
        except FailedError as exc:
            return ReadRow(row, error=exc)
        with self.clock("digest"):
            sha256 = hashlib.sha256(data).hexdigest()
            limits = self._config.limits
            try:
                _check_source(row, data, sha256)
                image = SourceImage.open(row.image_id, data, max_pixels=limits.max_pixels, max_bytes=limits.max_bytes)
            except RowError as exc:
                return ReadRow(row, data, sha256, error=exc)
            except Exception:
                return ReadRow(row, data, sha256, error=FailedError("decode", traceback.format_exc()))
            return ReadRow(row, data, sha256, image)

    def decode(self, read: ReadRow) -> DecodedRow:
        """Decode the pixels that the detectors see."""
        if read.image is None:
            return DecodedRow(read, error=read.error)
        try:
            with self.clock("decode"):
                preview = read.image.preview(self._config.detect.max_side_px)
            return DecodedRow(read, read.image, replace(preview, given=read.row.regions))
        except RowError as exc:
            return DecodedRow(read, error=exc)
        except Exception:
            return DecodedRow(read, error=FailedError("decode", traceback.format_exc()))

    def _decode_whole(self, image: SourceImage) -> DecodedImage | RowError:
        try:
            with self.clock("decode"):
                return image.decode()
        except RowError as exc:
            return exc
        except Exception:
            return FailedError("decode", traceback.format_exc())

    def treat(self, batch: Sequence[DecodedRow]) -> list[Callable[[], Callable[[], FinishedRow]]]:
        """Detects and anonymizes a batch; returns the calls that encode each picture, which return those that put it."""
        found = self._detect([item.preview for item in batch if item.preview is not None])
        regions: dict[int, list[Region]] = {}
        jobs: list[tuple[int, DecodedImage]] = []
        detected: list[Detections | None] = []
        errors: list[RowError | None] = []
        answers = iter(found)
        items: list[DecodedRow] = []
        for index, item in enumerate(batch):
            answer = next(answers) if item.preview is not None else None
            items.append(item)
            detected.append(answer if isinstance(answer, Detections) else None)
            errors.append(answer if isinstance(answer, RowError) else item.error)
            if item.image is not None and isinstance(answer, Detections) and len(answer):
                whole = self._decode_whole(item.image)
                if isinstance(whole, RowError):
                    items[index], errors[index] = DecodedRow(item.read, error=whole), whole
                    continue
                try:
                    regions[index] = self._ladder.policy.regions_of(answer, whole.width, whole.height)
                except Exception:
                    errors[index] = WithheldError("detect", traceback.format_exc())
                    continue
                jobs.append((index, whole))
        painted = self._anonymize([(image, regions[index]) for index, image in jobs])
        by_index = {index: result for (index, _), result in zip(jobs, painted, strict=True)}
        encodes: list[Callable[[], Callable[[], FinishedRow]]] = []
        for index, item in enumerate(items):
            result = by_index.get(index)
            error = result if isinstance(result, RowError) else errors[index]
            treated = result if isinstance(result, AnonymizedImage) else None
            encodes.append(partial(self._encode, item, detected[index], regions.get(index, []), treated, error))
        return encodes

    def _detect(self, images: list[Preview]) -> list[Detections | RowError]:
        """One answer a picture. A batch that fails is taken picture by picture, so that only the culprit is withheld."""
        if not images:
            return []
        with self.clock("detect"):
            try:
                return self._answers(images)
            except Exception:
                return [self._detect_one(image) for image in images]

    def _detect_one(self, image: Preview) -> Detections | RowError:
        try:
            return self._answers([image])[0]
        except RowError as exc:
            return exc
        except Exception:
            return WithheldError("detect", traceback.format_exc())

    def _answers(self, images: list[Preview]) -> list[Detections | RowError]:
        found: list[Detections | RowError] = list(self._detector.detect(images))
        if len(found) != len(images):  # whose are they? A picture must not get the faces of another
            raise WithheldError("detect", f"{len(found)} results for {len(images)} pictures")
        return found

    def _anonymize(self, jobs: list[tuple[DecodedImage, list[Region]]]) -> list[AnonymizedImage | RowError]:
        """One result a picture. The ladder holds back what methods raise; this holds back what it raises itself."""
        with self.clock("anonymize"):
            try:
                painted: list[AnonymizedImage | RowError] = list(self._ladder.anonymize(jobs, self._run_key))
                if len(painted) != len(jobs):
                    raise WithheldError("anonymize", f"{len(painted)} results for {len(jobs)} pictures")
            except RowError as exc:
                return [exc for _ in jobs]
            except Exception:
                return [WithheldError("anonymize", traceback.format_exc()) for _ in jobs]
        return painted

    def _encode(
        self,
        item: DecodedRow,
        found: Detections | None,
        regions: list[Region],
        treated: AnonymizedImage | None,
        error: RowError | None,
    ) -> Callable[[], FinishedRow]:
        """Encodes; returns the call that puts, which holds no pixels."""
        image, encoded = item.image, None
        faces: tuple[RegionRecord, ...] = ()
        if error is None:
            try:
                if image is None or found is None or bool(len(found)) != isinstance(treated, AnonymizedImage):
                    raise WithheldError("incomplete", "a stage gave no result")  # nothing passes by default
                if len(regions) != len(found):
                    raise WithheldError("incomplete", f"{len(regions)} regions for {len(found)} detections")
                faces = _face_records(regions, treated, self._ladder)
                with self.clock("encode"):
                    encoded = self._encoded(image, treated)
                if treated is not None and encoded.data == item.read.data and _differs(image, treated):
                    raise WithheldError("encode", "the output is the source")
            except RowError as exc:
                error = exc
            except Exception:
                error = WithheldError("encode", traceback.format_exc())
        size = None if image is None else (image.width, image.height)
        if image is not None:
            image.release()
        return partial(self._put, item.read, size, found, faces, encoded, error)

    def _encoded(self, image: SourceImage, treated: AnonymizedImage | None) -> EncodedImage:
        write = self._config.write
        if treated is not None:
            return encode_anonymized(image.decode(), treated, write.format, write.quality)
        return encode_clean(image, write.format, write.quality)

    def _put(
        self,
        read: ReadRow,
        size: tuple[int, int] | None,
        found: Detections | None,
        faces: tuple[RegionRecord, ...],
        encoded: EncodedImage | None,
        error: RowError | None,
    ) -> FinishedRow:
        placed: ImageLocation | None = None
        if error is None and encoded is not None:
            try:
                with self.clock("put"):
                    placed = self._placed(read.row, encoded)
            except RowError as exc:
                error = exc
            except StorageError:
                raise
            except Exception:
                error = WithheldError("encode", traceback.format_exc())
        with self.clock("digest"):
            provenance = _provenance(read.row, size, encoded, placed, faces, error)
        return FinishedRow(
            read.row,
            provenance,
            None if found is None or size is None else clip_detections(found, *size),
            read.sha256,
            len(read.data) if read.sha256 else None,
            None if error is None else error.detail,
        )

    def _placed(self, row: ManifestRow, encoded: EncodedImage) -> ImageLocation:
        try:
            return self._sink.add(row, encoded)
        except (*_ENDS_THE_RUN, TransientStorageError):
            raise
        except StorageError as exc:  # this one name or size is refused; others may pass
            raise WithheldError("write", str(exc)) from None


def _differs(image: SourceImage, treated: AnonymizedImage) -> bool:
    return not np.array_equal(image.decode().pixels, treated.pixels)


def _check_source(row: ManifestRow, data: bytes, sha256: str) -> None:
    if row.size_bytes is not None and row.size_bytes != len(data):
        raise FailedError("source_changed", f"{len(data)} bytes, manifest says {row.size_bytes}")
    if row.sha256 is not None and row.sha256.lower() != sha256:
        raise FailedError("source_changed", f"sha256 {sha256}, manifest says {row.sha256}")


def _face_records(regions: list[Region], treated: AnonymizedImage | None, ladder: Ladder) -> tuple[RegionRecord, ...]:
    if treated is None:
        return ()
    if missing := [region.index for region in regions if region.index not in treated.methods]:
        raise WithheldError("anonymize", f"faces {missing} were not treated")
    return tuple(
        RegionRecord(*region.extent, region.label, method, synthetic=ladder.is_synthetic(method))
        for region in regions
        for method in (treated.methods[region.index],)
    )


def _provenance(
    row: ManifestRow,
    size: tuple[int, int] | None,
    encoded: EncodedImage | None,
    placed: ImageLocation | None,
    faces: tuple[RegionRecord, ...],
    error: RowError | None,
) -> ProvenanceRow:
    width, height = size or (None, None)
    if error is not None or encoded is None or placed is None:
        ended = error or WithheldError("incomplete")
        status: Status = "failed" if isinstance(ended, FailedError) else "withheld"
        return ProvenanceRow(row.image_id, status, ended.reason, width=width, height=height, extra=row.extra)
    return ProvenanceRow(
        row.image_id,
        "anonymized" if faces else "clean",
        None,
        placed.output,
        placed.member,
        hashlib.sha256(encoded.data).hexdigest(),
        len(encoded.data),
        encoded.format,
        width,
        height,
        faces,
        row.extra,
    )
