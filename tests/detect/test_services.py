"""Detectors that are services: what is sent, what is read from answers, and what becomes of images that got none."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from face_services import SECRET, Services, aws_face, google_face
from PIL import Image

from anon_batch import Anonymizer
from anon_batch.config import DetectConfig, ModelsConfig
from anon_batch.detect.ensemble import build_detector
from anon_batch.detect.services.calls import RateLimit
from anon_batch.detect.services.images import Limits, encode_for
from anon_batch.errors import ConfigError, CredentialsError, ServiceUnavailableError, WithheldError
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.outcomes import Clean, Withheld
from anon_batch.records import Preview
from anon_batch.storage import Storage

pytest.importorskip("boto3", reason="the extra `rekognition` is not installed")
pytest.importorskip("google.auth", reason="the extra `google-vision` is not installed")

REGIONS = {"rekognition": "eu-west-1", "google_vision": "eu"}
NOTHING = {"rekognition": {"FaceDetails": []}, "google_vision": {"responses": [{}]}}
STORE = ModelStore(Storage(), ModelsConfig())


def config_of(name, **options):
    options = {"region": REGIONS[name], "requests_per_s": 10_000, "attempts": 3, "timeout_s": 5, **options}
    return {"detectors": [{"name": name, "options": options}], "rotated": False, "allow_upload": True}


def answer(name, faces):
    if name == "rekognition":
        return {"FaceDetails": [aws_face(own) for own in faces]}
    return {"responses": [{"faceAnnotations": [google_face(np.float64(own) * 80) for own in faces]}]}


@pytest.fixture(autouse=True)
def no_waits(monkeypatch):
    monkeypatch.setattr("anon_batch.detect.services.calls._FIRST_WAIT_S", 0.001)


@pytest.fixture
def services(monkeypatch, tmp_path):
    started = Services(monkeypatch, tmp_path)
    yield started
    started.stop()


@pytest.fixture(params=["rekognition", "google_vision"])
def name(request):
    return request.param


def build(name, runtime=None, **options):
    return build_detector(DetectConfig(**config_of(name, **options)), runtime or Runtime(STORE))


class InTurn:
    """Answers in turn; the last one for ever. The first call of a detector is answered with nothing found."""

    def __init__(self, name, *answers):
        self.answers = [NOTHING[name], *answers]

    def __call__(self, data):
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def image(height=80, width=80, value=90):
    return Preview("image", np.full((height, width, 3), value, np.uint8))


def test_without_leave_nothing_is_sent(services, name):
    stub = services.start(name)
    with pytest.raises(ConfigError, match=r"sends every original image to .*set `detect.allow_upload: true`"):
        build_detector(DetectConfig(**{**config_of(name), "allow_upload": False}), Runtime(STORE))
    with pytest.raises(ConfigError, match="region"):
        build_detector(DetectConfig(detectors=[name], allow_upload=True), Runtime(STORE))
    assert stub.images == []


def test_what_is_sent_is_a_jpeg_without_metadata_in_limits(services, name):
    stub = services.start(name, lambda data: NOTHING[name])
    detector = build(name, side_px=400)
    detector.detect([image(1000, 500), image(3, 2)])
    sizes = []
    for data in stub.calls:
        with Image.open(io.BytesIO(data)) as sent:
            sizes.append(sent.size)
            assert sent.format == "JPEG"
            assert set(sent.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert sizes == [(200, 400), (80, 80)]
    assert detector.models == (f"{name}@{REGIONS[name]}/" + ("2016-06-27" if name == "rekognition" else "v1"),)


def test_boxes_come_back_in_px_of_the_image(services, name):
    box = [0.1, 0.2, 0.3, 0.6]
    stub = services.start(name, lambda data: answer(name, [box]))
    [found] = build(name).detect([image()])
    np.testing.assert_allclose(found.boxes, np.float32([box]) * 80, atol=1e-3)
    assert found.detectors == (name,)
    assert np.isnan(found.landmarks).all()
    assert len(stub.calls) == 1
    if name == "rekognition":
        stub.answer = lambda data: answer(name, [[-0.1, 0.5, 0.3, 1.2]])
        [found] = build(name, side_px=320).detect([image(640, 1280)])
        np.testing.assert_allclose(found.boxes, [[-128, 320, 384, 768]], atol=0.01)


def test_google_leaves_out_what_is_0_and_what_is_unbounded(services):
    def face(*corners):
        return {
            "responses": [{"faceAnnotations": [{"boundingPoly": {"vertices": corners}, "detectionConfidence": 0.9}]}]
        }

    stub = services.start("google_vision")
    detector = build("google_vision")
    for corners, box in (
        (({}, {"x": 20}, {"x": 20, "y": 30}, {"y": 30}), [0, 0, 20, 30]),
        (({"x": 50, "y": 5}, {"y": 5}, {"y": 30}, {"x": 50, "y": 30}), [50, 5, 80, 30]),
        (({"x": 5, "y": 60}, {"x": 25, "y": 60}, {"x": 25}, {"x": 5}), [5, 60, 25, 80]),
    ):
        stub.answer = lambda data, corners=corners: face(*corners)
        detector = build("google_vision")
        [found] = detector.detect([image()])
        np.testing.assert_allclose(found.boxes, [box])


MALFORMED = {
    "rekognition": [
        b"no json",
        {},
        {"FaceDetails": "many"},
        {"FaceDetails": [{"Confidence": 99.0}]},
        {"FaceDetails": [{"BoundingBox": {"Left": 0.1, "Top": 0.1, "Width": 0.1}, "Confidence": 99.0}]},
        {
            "FaceDetails": [
                {"BoundingBox": {"Left": 0.1, "Top": 0.1, "Width": "wide", "Height": 0.1}, "Confidence": 9.0}
            ]
        },
        {"FaceDetails": [aws_face([0.5, 0.5, 0.5, 0.6])]},
        {"FaceDetails": [aws_face([5, 5, 6, 6])]},
        {"FaceDetails": [{"BoundingBox": aws_face([0, 0, 1, 1])["BoundingBox"]}]},
    ],
    "google_vision": [
        b"no json",
        {},
        [],
        {"responses": []},
        {"responses": [{}, {}]},
        {"responses": [{"faceAnnotations": {}}]},
        {"responses": [{"faceAnnotations": [{"detectionConfidence": 0.9}]}]},
        {"responses": [{"faceAnnotations": [{"boundingPoly": {"vertices": []}, "detectionConfidence": 0.9}]}]},
        {"responses": [{"faceAnnotations": [{**google_face([1, 1, 9, 9]), "detectionConfidence": None}]}]},
        {"responses": [{"faceAnnotations": [google_face([500, 500, 600, 600])]}]},
        {"responses": [{"error": {"code": 3, "message": "Bad image data of jane.jpg"}}]},
        {"responses": [{"error": "?"}]},
    ],
}


def test_an_answer_that_says_nothing_withholds_the_image_alone(services, name):
    stub = services.start(name, lambda data: NOTHING[name])
    detector = build(name)
    for index, wrong in enumerate(MALFORMED[name]):
        stub.answer = lambda data, wrong=wrong: wrong
        with pytest.raises(WithheldError) as caught:
            detector.detect([image(value=10 * index)])
        assert caught.value.reason == "detect", wrong
        assert "jane" not in str(caught.value)
        stub.answer = lambda data: NOTHING[name]
        assert len(detector.detect([image(value=10 * index)])[0]) == 0, "the wrong answer was not kept"


THROTTLED = {
    "rekognition": (400, {"__type": "ThrottlingException", "message": "Rate exceeded"}),
    "google_vision": (429, {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}),
}
DOWN = [(500, {}), (503, b"<html>busy</html>"), None]


def test_throttling_and_failures_are_tried_again(services, name):
    for wrong in (THROTTLED[name], *DOWN):
        stub = services.start(name, InTurn(name, wrong, wrong, answer(name, [[0.1, 0.1, 0.5, 0.5]])))
        assert len(build(name).detect([image()])[0]) == 1
        assert len(stub.calls) == 3
    if name == "google_vision":
        busy = {"responses": [{"error": {"code": 14}}]}
        services.start(name, InTurn(name, busy, NOTHING[name]))
        assert len(build(name).detect([image()])[0]) == 0


def test_an_image_that_the_service_fails_on_is_withheld_while_others_pass(services, name):
    def fail_on_dark(data):
        return (500, {}) if np.asarray(Image.open(io.BytesIO(data))).mean() < 50 else NOTHING[name]

    stub = services.start(name, fail_on_dark)
    detector = Anonymizer(config_of(name), "solid")
    images = [np.full((90, 90, 3), value, np.uint8) for value in (200, 10, 220, 240)]
    outcomes = detector(images)
    assert [type(outcome) for outcome in outcomes] == [Clean, Withheld, Clean, Clean]
    assert outcomes[1].error.reason == "detect"
    assert "HTTP 500" in outcomes[1].error.detail
    light = [data for data in stub.calls if np.asarray(Image.open(io.BytesIO(data))).mean() > 195]
    assert len(light) == 3, "an image that got an answer is not sent again when its batch is repeated"


def test_a_service_that_is_away_stops_the_run_and_withholds_nothing(services, name):
    for wrong in (THROTTLED[name], *DOWN):
        services.start(name, InTurn(name, wrong))
        anonymizer = Anonymizer(config_of(name), "solid")
        with pytest.raises(ServiceUnavailableError, match=r"does not answer|throttles every request"):
            anonymizer([np.zeros((90, 90, 3), np.uint8)] * 3)


def test_no_answer_in_time_is_tried_again(services, name):
    def slow(data):
        time.sleep(1.0)
        return NOTHING[name]

    stub = services.start(name, lambda data: NOTHING[name])
    detector = build(name, timeout_s=0.2, attempts=2)
    stub.answer = slow
    with pytest.raises(ServiceUnavailableError):
        detector.detect([image()])
    assert len(stub.calls) >= 2


REFUSALS = {
    "rekognition": [
        (400, {"__type": "UnrecognizedClientException", "message": f"The security token {SECRET} is invalid."}),
        (400, {"__type": "ExpiredTokenException", "message": "expired"}),
        (
            400,
            {
                "__type": "AccessDeniedException",
                "message": "User: arn:aws:iam::123456789012:user/jane is not authorized",
            },
        ),
    ],
    "google_vision": [
        (401, {"error": {"message": f"Bearer {SECRET}"}}),
        (403, {"error": {"message": "project example-123 has not enabled billing"}}),
    ],
}


@pytest.mark.parametrize(
    ("name", "refusal"), [(name, own) for name, every in REFUSALS.items() for own in every], indirect=["name"]
)
def test_refused_credentials_are_named_before_the_first_image_and_end_a_run(services, name, refusal):
    stub = services.start(name, lambda data: refusal)
    with pytest.raises(ConfigError, match="refuses the credentials") as caught:
        build(name)
    assert not {SECRET, "jane", "123"} & set(str(caught.value).split())
    assert "123456789012" not in str(caught.value)
    stub.answer = lambda data: NOTHING[name]
    anonymizer = Anonymizer(config_of(name), "solid")
    stub.answer = lambda data: refusal
    with pytest.raises(CredentialsError, match="refuses the credentials") as caught:
        anonymizer([np.zeros((90, 90, 3), np.uint8)] * 3)
    assert SECRET not in str(caught.value)


def test_no_credentials_are_named(services, monkeypatch, tmp_path):
    services.start("rekognition")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(ConfigError, match="boto3 finds no credentials"):
        build("rekognition")
    services.start("google_vision")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "secret-place.json"))
    with pytest.raises(ConfigError, match="no usable credentials") as caught:
        build("google_vision")
    assert "secret-place" not in str(caught.value)


def test_originals_are_not_sent_over_plain_http(services, monkeypatch):
    services.start("rekognition")
    monkeypatch.setenv("AWS_ENDPOINT_URL_REKOGNITION", "http://rekognition.example.org")
    with pytest.raises(ConfigError, match="https://"):
        build("rekognition")
    services.start("google_vision")
    monkeypatch.setenv("ANON_BATCH_GOOGLE_VISION_ENDPOINT", "http://127.0.0.1.example.org:80")
    with pytest.raises(ConfigError, match="https://"):
        build("google_vision")


def crowd(name, side, limit):
    """Return a service that sees white dots of 8 px on black, and gives the first `limit` of them."""
    import cv2

    def find(data):
        grey = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
        _, _, stats, _ = cv2.connectedComponentsWithStats((grey > 128).astype(np.uint8))
        boxes = [[x, y, x + w, y + h] for x, y, w, h, area in stats[1:].tolist() if area > 20][:limit]
        if name == "rekognition":
            size = np.float64([*grey.shape[::-1]] * 2)
            return {"FaceDetails": [aws_face(np.float64(box) / size) for box in boxes]}
        return {"responses": [{"faceAnnotations": [google_face(box) for box in boxes]}]}

    return find


def test_a_crowd_larger_than_an_answer_is_searched_in_windows(services, name):
    pixels = np.zeros((800, 800, 3), np.uint8)
    for row in range(16):
        for column in range(16):
            pixels[50 * row + 10 : 50 * row + 18, 50 * column + 10 : 50 * column + 18] = 255
    stub = services.start(name, crowd(name, 800, 100))
    detector = build(name)
    [found] = detector.detect([Preview("crowd", pixels)])
    assert len(found) == 256
    assert detector_requests(detector) == len(stub.calls) > 4


def detector_requests(detector):
    return detector.requests[next(iter(detector.requests))]


def test_a_crowd_that_no_window_thins_out_is_withheld(services, name):
    services.start(name, InTurn(name, answer(name, [[0.1, 0.1, 0.2, 0.2]] * 100)))
    with pytest.raises(WithheldError, match="there may be more") as caught:
        build(name).detect([image(400, 400)])
    assert caught.value.reason == "detect"


def test_the_rate_is_divided_among_workers():
    now, slept = [0.0], []

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    rate = RateLimit(4, clock=lambda: now[0], sleep=sleep)
    for _ in range(4):
        rate.wait()
    assert slept == pytest.approx([0.25] * 3)
    now[0] += 10
    rate.wait()
    rate.wait()
    assert slept == pytest.approx([0.25] * 4), "time without a request gives no burst"


def test_the_number_of_workers_must_be_known(services, name):
    services.start(name, lambda data: NOTHING[name])
    with pytest.raises(ConfigError, match=r"needs `engine\.workers`"):
        build(name, Runtime(STORE, workers=None))
    began = time.monotonic()
    build(name, Runtime(STORE, workers=4), requests_per_s=20).detect([image(value=own) for own in (1, 2, 3)])
    assert time.monotonic() - began >= 3 / 5


def test_a_file_too_large_is_made_smaller():
    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3)).astype(np.uint8)
    sent = encode_for(noise, Limits(1920, 80, 100_000))
    assert len(sent.data) <= 100_000
    assert sent.width < 800
    assert sent.stretch[0] == pytest.approx(sent.width / 800)
    with pytest.raises(WithheldError, match="no JPEG of at most 100 bytes"):
        encode_for(noise, Limits(1920, 80, 100))
