"""Every error of reading and writing a row ends in the right status; the rest is the Anonymizer's, see test_anonymizer.py."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pytest
from anonymizer_fixtures import Detector, anonymizer, file_of, noise, pixels_of

from anon_batch.errors import (
    AccessDeniedError,
    CredentialsError,
    FailedError,
    ObjectNotFoundError,
    ObjectUnavailableError,
    StorageError,
    StorageFullError,
    TransientStorageError,
    TruncatedObjectError,
)
from anon_batch.pipeline.stages import FinishedRow, ImageStages
from anon_batch.pipeline.writers import ImageLocation
from anon_batch.records import Detections, EncodedImage, GroundTruth, ManifestRow

DATA = file_of(noise())


class Source:
    def __init__(self, answer: bytes | Exception) -> None:
        self.answer = answer

    def read(self, row: ManifestRow, max_bytes: int) -> bytes:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class SinkOfDict:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.images: dict[str, EncodedImage] = {}

    def add(self, row: ManifestRow, image: EncodedImage) -> ImageLocation:
        if self.error:
            raise self.error
        self.images[row.image_id] = image
        return ImageLocation(f"images/{row.image_id}", None)

    def close(self) -> str:
        return ""


def _stages(**parts: Any) -> ImageStages:
    return ImageStages(
        parts.get("anonymizer") or anonymizer(parts.get("detector")),
        parts.get("source", Source(DATA)),
        parts.get("sink", SinkOfDict()),
        10_000_000,
        last_chance=parts.get("last_chance", False),
    )


def _finish(stages: ImageStages, ids: Sequence[str] = ("a",), **row: Any) -> list[FinishedRow]:
    decoded = [stages.decode(stages.read(ManifestRow(i, name, "u", **row))) for i, name in enumerate(ids)]
    return [stages.put(stages.encode(item)) for item in stages.anonymize(decoded)]


def _status(stages: ImageStages, **row: Any) -> tuple[str, str | None]:
    [finished] = _finish(stages, **row)
    assert (finished.provenance.output is None) == (finished.provenance.reason is not None)
    return finished.provenance.status, finished.provenance.reason


def test_a_row_without_errors() -> None:
    sink = SinkOfDict()
    stages = _stages(sink=sink)
    [finished] = _finish(stages, size_bytes=len(DATA), sha256=hashlib.sha256(DATA).hexdigest().upper())
    assert finished.provenance.status == "anonymized"
    assert [region.label for region in finished.provenance.regions] == ["face", "face"]
    assert (finished.provenance.width, finished.provenance.height) == (24, 20)
    data = sink.images["a"].data
    assert finished.provenance.sha256 == hashlib.sha256(data).hexdigest()
    assert finished.source_sha256 == hashlib.sha256(DATA).hexdigest()
    assert finished.source_size_bytes == len(DATA)
    assert (pixels_of(data)[5:11, 5:11] == 0).all()
    assert set(stages.timer.seconds) == {"read", "digest", "decode", "detect", "anonymize", "encode", "put"}


def test_a_clean_row_and_rows_in_order() -> None:
    sink = SinkOfDict()
    stages = _stages(detector=Detector(lambda a: [Detections.empty() for _ in a]), sink=sink)
    rows = _finish(stages, ["a", "b", "c"])
    assert [row.provenance.image_id for row in rows] == ["a", "b", "c"]
    assert {row.provenance.status for row in rows} == {"clean"}
    assert (pixels_of(sink.images["b"].data) == noise()).all()


def test_the_ground_truth_of_the_row_reaches_the_detector() -> None:
    seen: list[Any] = []

    class Noting(Detector):
        def detect(self, images: Sequence[Any], ground_truth: Any = None) -> Any:
            seen.extend(ground_truth)
            return super().detect(images)

    truth = GroundTruth.empty()
    _finish(_stages(detector=Noting()), regions=truth)
    assert seen == [truth]


def test_an_outcome_that_is_withheld_is_not_written() -> None:
    sink = SinkOfDict()
    rows = _finish(_stages(sink=sink), ["a", "bad", "c"])
    assert [row.provenance.status for row in rows] == ["anonymized", "withheld", "anonymized"]
    assert rows[1].provenance.reason == "detect"
    assert "broke" in (rows[1].detail or "")
    assert set(sink.images) == {"a", "c"}


@pytest.mark.parametrize(
    ("data", "reason"), [(b"", "empty"), (b"hello", "unsupported_format"), (DATA[:-40], "truncated")]
)
def test_a_source_that_cannot_be_decoded(data: bytes, reason: str) -> None:
    [finished] = _finish(_stages(source=Source(data)))
    assert (finished.provenance.status, finished.provenance.reason) == ("failed", reason)
    assert finished.provenance.width is None
    assert finished.source_sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ObjectNotFoundError("gone", "s3://secret"), "source_not_found"),
        (AccessDeniedError("no", "s3://secret"), "source_denied"),
        (StorageError("odd", "s3://secret"), "source_unreadable"),
        (ObjectUnavailableError("500 on every try"), "source_unreadable"),
        (TruncatedObjectError("short on every try"), "source_truncated"),
        (FailedError("too_many_bytes"), "too_many_bytes"),
    ],
)
@pytest.mark.parametrize("last_chance", [False, True])
def test_a_source_that_cannot_be_read(error: Exception, reason: str, last_chance: bool) -> None:
    [finished] = _finish(_stages(source=Source(error), last_chance=last_chance))
    assert (finished.provenance.status, finished.provenance.reason) == ("failed", reason)
    assert "secret" not in repr(finished.provenance)
    assert finished.detections is None


def test_a_transient_error_of_the_source_retries_the_shard_until_the_last_chance() -> None:
    source = Source(TransientStorageError("503"))
    with pytest.raises(TransientStorageError):
        _status(_stages(source=source))
    assert _status(_stages(source=source, last_chance=True)) == ("failed", "source_unreadable")


@pytest.mark.parametrize("last_chance", [False, True])
def test_credentials_of_the_source_stop_the_run(last_chance: bool) -> None:
    with pytest.raises(CredentialsError):
        _status(_stages(source=Source(CredentialsError("expired")), last_chance=last_chance))


@pytest.mark.parametrize("row", [{"size_bytes": 3}, {"sha256": "0" * 64}, {"size_bytes": 0}])
def test_a_source_that_is_not_what_the_manifest_says(row: dict[str, Any]) -> None:
    assert _status(_stages(), **row) == ("failed", "source_changed")


@pytest.mark.parametrize(
    "error",
    [
        CredentialsError("expired"),
        StorageFullError("full"),
        TransientStorageError("503"),
    ],
)
def test_storage_that_refuses_everything_ends_the_shard(error: Exception) -> None:
    with pytest.raises(type(error)):
        _status(_stages(sink=SinkOfDict(error)))


@pytest.mark.parametrize(
    "error",
    [
        StorageError("the name is too long"),
        ObjectNotFoundError("no folder"),
        AccessDeniedError("not this folder"),
        ObjectUnavailableError("500 on every try"),
    ],
)
def test_storage_that_refuses_one_name_withholds_that_row(error: Exception) -> None:
    assert _status(_stages(sink=SinkOfDict(error))) == ("withheld", "write")


def test_a_sink_that_fails_withholds() -> None:
    assert _status(_stages(sink=SinkOfDict(RuntimeError("x")))) == ("withheld", "encode")
