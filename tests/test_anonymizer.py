"""Images in, outcomes out; whatever misbehaves, no image with a detection that was not anonymized comes out."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anonymizer_fixtures import BOXES, KEY, Detector, anonymizer, file_of, noise, pixels_of

import anon_batch.anonymizer as module
from anon_batch import Anonymized, Anonymizer, Clean, GroundTruth, Withheld
from anon_batch.anonymize.protocol import CheckedImage, Finding, ImageCheck
from anon_batch.errors import ConfigError, FailedError, UnknownNameError, WithheldError
from anon_batch.imaging.source import SourceImage
from anon_batch.plugins import PluginOptions
from anon_batch.records import AnonymizedImage, Detections, EncodedImage


def truth(boxes: Any, keep: bool = False) -> GroundTruth:
    rows = np.asarray(boxes, np.float32).reshape(-1, 4)
    return GroundTruth(rows, np.zeros(len(rows), np.bool_), keep=np.full(len(rows), keep))


def test_five_lines_anonymize_an_array_and_a_file() -> None:
    made = anonymizer()
    pixels = noise()
    out = made.anonymize_array(pixels)
    assert (out[6:10, 6:10] == 0).all()
    assert (pixels == noise()).all(), "the argument does not change"
    assert (pixels_of(made.anonymize_bytes(file_of(pixels))) == out).all()


def test_outcomes_say_what_was_done() -> None:
    clean, done = anonymizer(Detector(lambda a: [Detections.empty(), *a[1:]]))([noise(1), noise(2)], ["a", "b"])
    assert isinstance(clean, Clean)
    assert isinstance(done, Anonymized)
    assert (clean.pixels == noise(1)).all()
    assert dict(done.methods) == {0: "solid", 1: "solid"}
    assert [(r.label, r.method, r.synthetic) for r in done.records] == [("face", "solid", False)] * 2
    changed = (done.pixels != noise(2)).any(axis=2)
    assert changed.any()
    assert not (changed & ~done.touched).any()


def test_boxes_of_the_caller_are_anonymized() -> None:
    made = Anonymizer("manifest", "solid", key=KEY)
    [out] = made([noise()], ground_truth=[truth([[4, 4, 12, 12]])])
    assert isinstance(out, Anonymized)
    assert (out.pixels[6:10, 6:10] == 0).all()


def test_regions_that_the_owner_keeps_stay_as_they_are() -> None:
    [kept] = anonymizer()([noise()], ground_truth=[truth(BOXES, keep=True)])
    assert isinstance(kept, Clean)
    [one] = anonymizer()([noise()], ground_truth=[truth(BOXES[:1], keep=True)])
    assert isinstance(one, Anonymized)
    assert list(one.methods) == [1], "the index, and so the seed, is that of the detection"
    assert (one.pixels[4:12, 4:12] == noise()[4:12, 4:12]).all()


def test_given_detections_are_anonymized_instead_of_those_of_the_detectors() -> None:
    pixels = np.random.default_rng(3).integers(1, 255, (60, 80, 3), np.uint8)
    own = Anonymizer("manifest", {"face": {"method": "solid", "shape": "rectangle"}}, key=KEY)
    source = SourceImage.from_array("a", pixels)
    [found] = own.detect([source], [truth([(10, 10, 30, 30)])])
    assert isinstance(found, Detections)
    [withheld] = own.detect([source])
    assert isinstance(withheld, Withheld)
    assert withheld.error.reason == "no_boxes"
    [outcome] = own.process([source], detections=[found])
    assert isinstance(outcome, Anonymized)
    assert [region.box for region in outcome.regions] == [(10, 10, 30, 30)]
    [clean] = own.process([source], detections=[Detections.empty()])
    assert isinstance(clean, Clean)


@pytest.mark.parametrize(
    ("given", "said"), [("photo.jpg", "str; read the file first"), (Path("photo.jpg"), "Path; read the"), (5, "int$")]
)
def test_what_is_no_image_is_an_error_of_the_caller(given: Any, said: str) -> None:
    for call in (lambda: anonymizer()([given]), lambda: anonymizer().anonymize_bytes(given)):
        with pytest.raises(TypeError, match=f"expected bytes, an array or a SourceImage, got .*{said}"):
            call()


def test_other_buffers_are_read_as_bytes() -> None:
    data = file_of(noise())
    assert anonymizer().anonymize_bytes(memoryview(data)) == anonymizer().anonymize_bytes(data)


def test_another_key_shares_the_loaded_models() -> None:
    own = Anonymizer("manifest", "solid", key=KEY)
    other = own.with_key(bytes(32))
    assert (other.ladder, other.detector) == (own.ladder, own.detector)
    assert (other._key, own._key) == (bytes(32), KEY)
    assert pickle.loads(pickle.dumps(other))._key == bytes(32)
    with pytest.raises(ConfigError, match="key has 3 bytes"):
        own.with_key(b"key")


def test_equal_keys_and_ids_give_equal_results_and_pickles_keep_the_key() -> None:
    made = Anonymizer("manifest", "swap")
    boxes = [truth([[20, 20, 80, 100]])]
    [first] = made([noise(3, 128, 128)], ["a"], boxes)
    [again] = pickle.loads(pickle.dumps(made))([noise(3, 128, 128)], ["a"], boxes)
    assert isinstance(first, Anonymized)
    assert isinstance(again, Anonymized)
    assert (first.pixels == again.pixels).all()


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "empty"), (b"hello", "unsupported_format"), (file_of(noise())[:-40], "truncated")],
)
def test_a_file_that_cannot_be_read_is_an_outcome(data: bytes, reason: str) -> None:
    bad, good = anonymizer()([data, file_of(noise())])
    assert isinstance(bad, Withheld)
    assert (bad.status, bad.reason) == ("failed", reason)
    assert isinstance(good, Anonymized)
    with pytest.raises(FailedError, match=reason):
        anonymizer().anonymize_bytes(data)


def test_wrong_arguments_are_errors_that_name_the_key() -> None:
    with pytest.raises(UnknownNameError, match="pixelate"):
        Anonymizer(policy="pixelated")
    with pytest.raises(ConfigError, match=r"anonymize\.face\.method"):
        Anonymizer(policy={"method": "solid"})
    with pytest.raises(ConfigError, match="key has 3 bytes"):
        Anonymizer("manifest", "solid", key=b"abc")
    with pytest.raises(ValueError, match="expected"):
        anonymizer()([np.zeros((4, 4), np.uint8)])
    with pytest.raises(ValueError, match="zip"):
        anonymizer()([noise()], ["a", "b"])


def statuses(outcomes: Sequence[Any]) -> list[str]:
    return [outcome.status for outcome in outcomes]


def test_a_detector_that_fails_on_one_image_withholds_that_one_alone() -> None:
    outcomes = anonymizer()([noise(1), noise(2), noise(3)], ["a", "bad", "c"])
    assert statuses(outcomes) == ["anonymized", "withheld", "anonymized"]
    assert isinstance(outcomes[1], Withheld)
    assert outcomes[1].reason == "detect"
    assert "broke" in outcomes[1].error.detail


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
def test_a_detector_with_odd_answers_withholds(change: Callable[[list[Any]], Any]) -> None:
    assert statuses(anonymizer(Detector(change))([noise(1), noise(2), noise(3)])) == ["withheld"] * 3


def test_a_detector_that_loses_count_in_batches_only_is_called_image_by_image() -> None:
    assert (
        statuses(anonymizer(Detector(lambda a: a if len(a) == 1 else a[1:]))([noise(1), noise(2)]))
        == ["anonymized"] * 2
    )


def test_the_reason_that_a_detector_gives_is_kept() -> None:
    class Withholding(Detector):
        def detect(self, images: Sequence[Any], ground_truth: Any = None) -> Any:
            raise WithheldError("no_boxes", "detail")

    [out] = anonymizer(Withholding())([noise()])
    assert isinstance(out, Withheld)
    assert out.reason == "no_boxes"


class FakeLadder:
    """Answers as it was made to, with the real policy."""

    def __init__(self, real: Any, answer: Callable[[Sequence[Any]], Any]) -> None:
        self.policy, self.is_synthetic, self.answer = real.policy, real.is_synthetic, answer
        self.prepare = real.prepare

    def anonymize(self, batch: Sequence[Any], run_key: bytes) -> Any:
        return self.answer(batch)


def _raise(error: Exception) -> Callable[[Sequence[Any]], Any]:
    def answer(batch: Sequence[Any]) -> Any:
        raise error

    return answer


def _claims(methods: dict[int, str]) -> Callable[[Sequence[Any]], Any]:
    return lambda batch: [AnonymizedImage(i.pixels, np.zeros(i.pixels.shape[:2], np.bool_), methods) for i, _ in batch]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda batch: [WithheldError("anonymize", "why") for _ in batch], "anonymize"),
        (_raise(WithheldError("anonymize")), "anonymize"),
        (_raise(MemoryError()), "out_of_memory"),
        (_raise(KeyError()), "anonymize"),
        (lambda batch: [], "anonymize"),
        (lambda batch: [None for _ in batch], "incomplete"),
        (lambda batch: [image for image, _ in batch], "incomplete"),
        (_claims({}), "anonymize"),
        (_claims({0: "solid"}), "anonymize"),
    ],
)
def test_a_ladder_that_misbehaves_withholds(answer: Callable[[Sequence[Any]], Any], reason: str) -> None:
    made = anonymizer()
    made.ladder = FakeLadder(made.ladder, answer)  # type: ignore[assignment]
    [out] = made([noise()])
    assert isinstance(out, Withheld)
    assert out.reason == reason


def test_detections_that_lose_their_region_withhold(monkeypatch: pytest.MonkeyPatch) -> None:
    made = anonymizer()
    policy = type(made.ladder.policy)
    real = policy.regions_of
    for lost in (lambda *a: real(*a)[:1], lambda *a: []):
        monkeypatch.setattr(policy, "regions_of", lost)
        [out] = made([noise()])
        assert (out.status, out.reason) == ("withheld", "incomplete")  # type: ignore[union-attr]

    def broken(*_: object) -> None:
        raise ValueError("extent")

    monkeypatch.setattr(policy, "regions_of", broken)
    [out] = made([noise()])
    assert (out.status, out.reason) == ("withheld", "detect")  # type: ignore[union-attr]


def test_an_encoder_that_returns_the_source_withholds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "encode_anonymized", lambda image, *_, **__: EncodedImage(image.source, "PNG", 24, 20))
    made = anonymizer()
    [out] = made([file_of(noise())])
    encoded = made.encode(out)  # type: ignore[arg-type]
    assert isinstance(encoded, Withheld)
    assert encoded.reason == "encode"


@pytest.mark.parametrize(
    ("raised", "status", "reason"),
    [
        (WithheldError("metadata"), "withheld", "metadata"),
        (FailedError("decode"), "failed", "decode"),
        (MemoryError(), "withheld", "out_of_memory"),
        (ValueError("x"), "withheld", "encode"),
    ],
)
@pytest.mark.parametrize("clean", [False, True])
def test_an_encoder_that_fails_withholds(
    raised: Exception, status: str, reason: str, clean: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> EncodedImage:
        raise raised

    monkeypatch.setattr(module, "encode_clean" if clean else "encode_anonymized", broken)
    made = anonymizer(Detector(lambda a: [Detections.empty() for _ in a]) if clean else None)
    [out] = made([file_of(noise())])
    encoded = made.encode(out)  # type: ignore[arg-type]
    assert isinstance(encoded, Withheld)
    assert (encoded.status, encoded.reason) == (status, reason)
    with pytest.raises((FailedError, WithheldError), match=reason):
        made.anonymize_bytes(file_of(noise()))


class Check(ImageCheck):
    """Answers with `answers` in turn; notes what it saw."""

    name = "check"

    def __init__(self, *answers: Any) -> None:
        super().__init__(PluginOptions(), None)  # type: ignore[arg-type]
        self.answers = list(answers)
        self.seen: list[CheckedImage] = []

    def check(self, images: Sequence[CheckedImage]) -> Sequence[Finding]:
        self.seen += images
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return [answer]


def _found(*boxes: tuple[int, int, int, int], score: float = 1) -> Finding:
    n = len(boxes)
    marks = np.full((n, 5, 2), np.nan, np.float32)
    return Finding(
        add=Detections(np.asarray(boxes, np.float32), np.full(n, score, np.float32), marks, ("check",) * n),
        counts={"found": np.int64(n)},  # type: ignore[dict-item]
    )


@pytest.mark.parametrize("clean", [False, True])
def test_an_image_check_adds_regions(clean: bool) -> None:
    check = Check(_found((1, 14, 5, 19)), Finding(counts={"found": 0}))
    made = anonymizer(Detector(boxes=BOXES[:0] if clean else BOXES), checks=[check])
    [out] = made([noise()])
    assert isinstance(out, Anonymized)
    assert (out.pixels[15:18, 2:4] == 0).all()
    assert [region.index for region in out.regions] == ([0] if clean else [0, 1, 2])
    assert out.checks["check"] == {"found": 1}
    assert type(out.checks["check"]["found"]) is int
    assert (check.seen[1].pixels == out.pixels).all()
    assert not check.seen[0].pixels.flags.writeable


@pytest.mark.parametrize(
    "answers",
    [
        [Finding(withhold="a face is left")],
        [RuntimeError("broke")],
        [None],
        [_found((1, 14, 5, 19))] * 3,
        *([Finding(counts={"found": count})] for count in (math.nan, 1.5, -1, "1")),
        [Finding(counts={1: 1})],
        [_found((1, 14, 5, 19), score=math.nan)],
    ],
)
@pytest.mark.parametrize("clean", [False, True])
def test_an_image_check_withholds(answers: list[Any], clean: bool) -> None:
    made = anonymizer(Detector(boxes=BOXES[:0] if clean else BOXES), checks=[Check(*answers)])
    [out] = made([noise()])
    assert isinstance(out, Withheld)
    assert (out.status, out.reason) == ("withheld", "check")


def test_an_image_check_without_memory_withholds() -> None:
    [out] = anonymizer(checks=[Check(MemoryError())])([noise()])
    assert isinstance(out, Withheld)
    assert out.reason == "out_of_memory"


def test_a_batch_that_does_not_fit_into_memory_is_searched_in_halves() -> None:
    calls = []

    def search(images: Sequence[Any]) -> list[Detections]:
        calls.append(len(images))
        if len(images) > 2:
            raise MemoryError
        if len(images) == 1:
            raise MemoryError  # the odd one of nine
        return [Detections.empty() for _ in images]

    outcomes = anonymizer(Detector(search))([noise() for _ in range(9)])
    assert calls == [9, 4, 2, 2, 5, 2, 3, 1, 2]
    assert [out.reason if isinstance(out, Withheld) else "" for out in outcomes] == [*[""] * 6, "out_of_memory", "", ""]


def test_a_check_sees_only_regions_that_are_anonymized() -> None:
    first, second = Check(_found((1, 14, 5, 19)), Finding()), Check(Finding(), Finding())
    [out] = anonymizer(checks=[first, second])([noise()])
    assert isinstance(out, Anonymized)
    assert [len(seen.regions) for seen in second.seen] == [2, 3]


def test_a_detector_cannot_change_the_image() -> None:
    class Careless(Detector):
        def detect(self, images: Sequence[Any], ground_truth: Any = None) -> Any:
            for image in images:
                image.pixels[...] = 0  # the next detector would find nothing, and the output would be black
            return super().detect(images)

    pixels = noise()
    [out] = anonymizer(Careless())([pixels])
    assert isinstance(out, Withheld)
    assert (out.reason, "read-only" in out.error.detail) == ("detect", True)
    assert np.array_equal(pixels, noise())
