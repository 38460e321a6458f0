"""Every error at every stage ends in the right status; whatever misbehaves, no untreated picture comes out."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from method_harness import RUNTIME, make_ladder
from pipeline_fixtures import job, picture

from anon_batch.anonymize.ladder import Ladder, build_ladder
from anon_batch.anonymize.policy import Policy
from anon_batch.anonymize.protocol import Method, Patch, Target
from anon_batch.config import JobConfig
from anon_batch.errors import (
    AccessDeniedError,
    CredentialsError,
    FailedError,
    ObjectNotFoundError,
    StorageError,
    StorageFullError,
    TransientStorageError,
    WithheldError,
)
from anon_batch.imaging import source as source_module
from anon_batch.pipeline import stages as row_module
from anon_batch.geometry import crop
from anon_batch.pipeline.stages import FinishedRow, RowStages
from anon_batch.pipeline.writers import ImageLocation
from anon_batch.records import AnonymizedImage, DecodedImage, Detections, EncodedImage, ManifestRow, Preview

BOXES = np.array([[4, 4, 12, 12], [14, 6, 20, 14]], np.float32)
KEY = b"k" * 32


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


class Detector:
    """Finds the two faces of every picture; `change` alters its answers, pictures called `bad` make it raise."""

    name = "fake"
    models: tuple[str, ...] = ()
    labels: tuple[str, ...] = ("face",)

    def __init__(self, change: Callable[[list[Any]], Any] = lambda answers: answers) -> None:
        self.change = change

    def detect(self, images: Sequence[Preview]) -> Any:
        if any(image.image_id == "bad" for image in images):
            raise RuntimeError("broke \udcff on it")
        marks = np.full((2, 5, 2), np.nan, np.float32)
        return self.change([Detections(BOXES, np.ones(2, np.float32), marks, ("fake", "fake")) for _ in images])


def _ladder(config: JobConfig) -> Ladder:
    return build_ladder(config.anonymize, RUNTIME)


def _stages(**parts: Any) -> RowStages:
    config = job("memory://unused")
    return RowStages(
        config,
        KEY,
        parts.get("detector", Detector()),
        parts.get("ladder", _ladder(config)),
        parts.get("source", Source(picture())),
        parts.get("sink", SinkOfDict()),
        last_chance=parts.get("last_chance", False),
    )


def _fates(stages: RowStages, ids: Sequence[str] = ("a",), **row: Any) -> list[FinishedRow]:
    decoded = [stages.decode(stages.read(ManifestRow(i, name, "u", **row))) for i, name in enumerate(ids)]
    return [encode()() for encode in stages.treat(decoded)]


def _fate(stages: RowStages, **row: Any) -> tuple[str, str | None]:
    [finished] = _fates(stages, **row)
    assert (finished.provenance.output is None) == (finished.provenance.reason is not None)
    return finished.provenance.status, finished.provenance.reason


def test_an_undisturbed_row() -> None:
    sink = SinkOfDict()
    [finished] = _fates(
        _stages(sink=sink), size_bytes=len(picture()), sha256=hashlib.sha256(picture()).hexdigest().upper()
    )
    assert finished.provenance.status == "anonymized"
    assert len(finished.provenance.regions) == 2
    data = sink.images["a"].data
    assert finished.provenance.sha256 == hashlib.sha256(data).hexdigest()
    assert finished.source_sha256 == hashlib.sha256(picture()).hexdigest()
    assert (np.asarray(Image.open(io.BytesIO(data)))[5:11, 5:11] == 0).all()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ObjectNotFoundError("gone", "s3://secret"), "source_not_found"),
        (AccessDeniedError("no", "s3://secret"), "source_denied"),
        (StorageError("odd", "s3://secret"), "source_unreadable"),
        (FailedError("too_many_bytes"), "too_many_bytes"),
    ],
)
@pytest.mark.parametrize("last_chance", [False, True])
def test_a_source_that_cannot_be_read(error: Exception, reason: str, last_chance: bool) -> None:
    [finished] = _fates(_stages(source=Source(error), last_chance=last_chance))
    assert (finished.provenance.status, finished.provenance.reason) == ("failed", reason)
    assert "secret" not in repr(finished.provenance)
    assert finished.detections is None


def test_a_passing_fault_of_the_source_tries_the_shard_again_until_the_last_chance() -> None:
    source = Source(TransientStorageError("503"))
    with pytest.raises(TransientStorageError):
        _fate(_stages(source=source))
    assert _fate(_stages(source=source, last_chance=True)) == ("failed", "source_unreadable")


@pytest.mark.parametrize("last_chance", [False, True])
def test_credentials_of_the_source_stop_the_run(last_chance: bool) -> None:
    with pytest.raises(CredentialsError):
        _fate(_stages(source=Source(CredentialsError("expired")), last_chance=last_chance))


@pytest.mark.parametrize("row", [{"size_bytes": 3}, {"sha256": "0" * 64}, {"size_bytes": 0}])
def test_a_source_that_is_not_what_the_manifest_says(row: dict[str, Any]) -> None:
    assert _fate(_stages(), **row) == ("failed", "source_changed")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello", "unsupported_format"),
        (picture()[:-40], "truncated"),
    ],
)
def test_what_cannot_be_decoded(data: bytes, reason: str) -> None:
    assert _fate(_stages(source=Source(data))) == ("failed", reason)


@pytest.mark.parametrize("raised", [MemoryError(), RuntimeError("x"), OSError("y")])
def test_a_decoder_that_breaks(raised: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> DecodedImage:
        raise raised

    monkeypatch.setattr(source_module, "decode_after_header", broken)
    assert _fate(_stages()) == ("failed", "decode")


def test_a_detector_that_breaks_on_one_picture_costs_that_one_alone() -> None:
    sink = SinkOfDict()
    fates = _fates(_stages(sink=sink), ["a", "bad", "c"])
    assert [row.provenance.status for row in fates] == ["anonymized", "withheld", "anonymized"]
    assert fates[1].provenance.reason == "detect"
    assert "broke" in (fates[1].detail or "")
    assert set(sink.images) == {"a", "c"}


@pytest.mark.parametrize(
    "change",
    [
        lambda answers: answers[:-1],
        lambda answers: [*answers, Detections.empty()],
        lambda answers: [],
        lambda answers: None,
        lambda answers: [None for _ in answers],
        lambda answers: ["face" for _ in answers],
        lambda answers: [Detections.empty(), *answers],
    ],
)
def test_a_detector_with_odd_answers_lets_nothing_out(change: Callable[[list[Any]], Any]) -> None:
    sink = SinkOfDict()
    fates = _fates(_stages(detector=Detector(change), sink=sink), ["a", "b", "c"])
    assert [row.provenance.status for row in fates] == ["withheld"] * 3
    assert not sink.images


def test_a_detector_that_loses_count_in_batches_only_is_asked_picture_by_picture() -> None:
    fates = _fates(_stages(detector=Detector(lambda a: a if len(a) == 1 else a[1:])), ["a", "b"])
    assert [row.provenance.status for row in fates] == ["anonymized"] * 2


def test_a_reason_that_the_detector_gives_is_kept() -> None:
    class Withholding(Detector):
        def detect(self, images: Sequence[Preview]) -> Any:
            raise WithheldError("no_boxes", "detail")

    assert _fate(_stages(detector=Withholding())) == ("withheld", "no_boxes")


class LadderOf:
    names = ("fake",)
    models: tuple[str, ...] = ()
    policy = Policy()

    def is_synthetic(self, method: str) -> bool:
        return False

    def __init__(self, answer: Callable[[Sequence[Any]], Any]) -> None:
        self.answer = answer

    def anonymize(self, batch: Sequence[Any], run_key: bytes) -> Any:
        return self.answer(batch)


def _raise(error: Exception) -> Callable[[Sequence[Any]], Any]:
    def answer(batch: Sequence[Any]) -> Any:
        raise error

    return answer


def _claims(faces: dict[int, str]) -> Callable[[Sequence[Any]], Any]:
    return lambda batch: [AnonymizedImage(i.pixels, np.zeros(i.pixels.shape[:2], np.bool_), faces) for i, _ in batch]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda batch: [WithheldError("anonymize", "why") for _ in batch], "anonymize"),
        (_raise(WithheldError("anonymize")), "anonymize"),
        (_raise(MemoryError()), "anonymize"),
        (lambda batch: [], "anonymize"),
        (lambda batch: [None for _ in batch], "incomplete"),
        (lambda batch: [image for image, _ in batch], "incomplete"),
        (_claims({}), "anonymize"),
        (_claims({0: "solid"}), "anonymize"),
    ],
)
def test_a_ladder_that_misbehaves_lets_nothing_out(answer: Callable[[Sequence[Any]], Any], reason: str) -> None:
    sink = SinkOfDict()
    assert _fate(_stages(ladder=LadderOf(answer), sink=sink)) == ("withheld", reason)
    assert not sink.images


class Lazy(Method):
    """A method that returns some regions as they were."""

    name = "lazy"
    sees_original = True

    def __init__(self, done_count: int) -> None:
        self.done_count = done_count

    def render(self, targets: Sequence[Target]) -> list[Patch]:
        return [self._render_one(target) for target in targets]

    def _render_one(self, target: Target) -> Patch:
        pixels = crop(target.pixels, target.region.extent).copy()
        if target.region.index < self.done_count:
            pixels[:] = 0
        return Patch(pixels)


@pytest.mark.parametrize(("done_count", "status"), [(0, "withheld"), (1, "withheld"), (2, "anonymized")])
def test_method_that_leaves_regions_as_they_were(done_count: int, status: str) -> None:
    sink = SinkOfDict()
    assert _fate(_stages(ladder=make_ladder(Lazy(done_count)), sink=sink))[0] == status
    assert bool(sink.images) == (status == "anonymized")


def test_regions_that_lose_a_face_let_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Policy.regions_of
    sink = SinkOfDict()
    for lost in (lambda *a: real(*a)[:1], lambda *a: []):
        monkeypatch.setattr(Policy, "regions_of", lost)
        assert _fate(_stages(sink=sink)) == ("withheld", "incomplete")

    def broken(*_: object) -> None:
        raise ValueError("extent")

    monkeypatch.setattr(Policy, "regions_of", broken)
    assert _fate(_stages(sink=sink)) == ("withheld", "detect")
    assert not sink.images


def test_an_encoder_that_returns_the_source_lets_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = SinkOfDict()
    monkeypatch.setattr(row_module, "encode_anonymized", lambda image, *_: EncodedImage(image.source, "PNG", 24, 20))
    monkeypatch.setattr(row_module, "encode_clean", lambda *_: pytest.fail("a picture with faces is not clean"))
    assert _fate(_stages(sink=sink)) == ("withheld", "encode")
    assert not sink.images


@pytest.mark.parametrize(
    ("raised", "status", "reason"),
    [
        (WithheldError("metadata"), "withheld", "metadata"),
        (FailedError("poison"), "failed", "poison"),
        (MemoryError(), "withheld", "encode"),
        (ValueError("x"), "withheld", "encode"),
    ],
)
@pytest.mark.parametrize("clean", [False, True])
def test_an_encoder_that_breaks(
    raised: Exception, status: str, reason: str, clean: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> EncodedImage:
        raise raised

    monkeypatch.setattr(row_module, "encode_clean" if clean else "encode_anonymized", broken)
    change = (lambda answers: [Detections.empty() for _ in answers]) if clean else (lambda answers: answers)
    sink = SinkOfDict()
    assert _fate(_stages(detector=Detector(change), sink=sink)) == (status, reason)
    assert not sink.images


@pytest.mark.parametrize(
    "error",
    [
        AccessDeniedError("no"),
        CredentialsError("expired"),
        StorageFullError("full"),
        TransientStorageError("503"),
    ],
)
def test_a_store_that_takes_nothing_ends_the_shard_not_the_row(error: Exception) -> None:
    with pytest.raises(type(error)):
        _fate(_stages(sink=SinkOfDict(error)))


@pytest.mark.parametrize("error", [StorageError("the name is too long"), ObjectNotFoundError("no folder")])
def test_a_store_that_refuses_one_name_withholds_that_row(error: Exception) -> None:
    assert _fate(_stages(sink=SinkOfDict(error))) == ("withheld", "write")


def test_a_sink_that_breaks_withholds() -> None:
    assert _fate(_stages(sink=SinkOfDict(RuntimeError("x")))) == ("withheld", "encode")


def test_a_dropped_picture_is_withheld() -> None:
    """A stage that hands on neither a picture nor an error."""
    stages, sink = _stages(), SinkOfDict()
    read = stages.read(ManifestRow(0, "a", "u"))
    dropped = replace(stages.decode(read), image=None)
    [encode] = stages.treat([dropped])
    put = encode()
    assert (put().provenance.status, put().provenance.reason) == ("withheld", "incomplete")
    assert not sink.images
