"""What every built-in detector guarantees, on every backend that it has."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np
import pytest
import row_networks
from drawn_plates import PLATE, car_with_plate
from drawn_text import TEXT, name_tag
from external_data import MODELS as WEIGHTS
from external_data import skip_without_weights
from face_services import Services

from anon_batch import plugins
from anon_batch.config import DetectConfig, ModelsConfig
from anon_batch.detect.ensemble import build_detector
from anon_batch.errors import ModelError
from anon_batch.geometry import pairwise_iou, regions_of
from anon_batch.models.registry import MODELS
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import MIRROR_VARIABLE, ModelStore
from anon_batch.records import GroundTruth, Preview
from anon_batch.storage import Storage

CASES = [
    ("centerface", "onnxruntime", "int8"),
    ("centerface", "onnxruntime", "fp32"),
    ("centerface", "torch", "auto"),
    ("centerface", "openvino", "auto"),
    ("yunet", "onnxruntime", "auto"),
    ("yunet", "torch", "auto"),
    ("yunet", "openvino", "auto"),
    ("yunet_n", "onnxruntime", "auto"),
    ("yunet_n", "torch", "auto"),
    ("yunet_n", "openvino", "auto"),
    ("licence_plate", "onnxruntime", "auto"),
    ("licence_plate", "torch", "auto"),
    ("licence_plate", "openvino", "auto"),
    ("person", "onnxruntime", "auto"),
    ("person", "torch", "auto"),
    ("person", "openvino", "auto"),
    ("ssd", "onnxruntime", "auto"),
    ("ssd", "openvino", "auto"),
    ("retinaface", "onnxruntime", "auto"),
    ("retinaface", "openvino", "auto"),
    ("mtcnn", "onnxruntime", "auto"),
    ("mtcnn", "torch", "auto"),
    ("mediapipe", "onnxruntime", "auto"),
    ("mediapipe", "torch", "auto"),
    ("mediapipe", "openvino", "auto"),
    ("dlib_hog", "auto", "auto"),
    ("dlib_mmod", "auto", "auto"),
    ("text", "onnxruntime", "auto"),
    ("text", "openvino", "auto"),
    ("rekognition", "auto", "auto"),
    ("google_vision", "auto", "auto"),
    ("manifest", "auto", "auto"),
]
# Thresholds of detectors whose default favours recall so much that it shows what merely resembles a face.
THRESHOLDS = {"mtcnn": 0.9, "mediapipe": 0.4, "dlib_hog": 0.6}
OWN_THRESHOLDS = {"mtcnn": 0.2, "mediapipe": 0.2, "dlib_hog": 0.3}
SERVICES = {"rekognition": {"region": "eu-west-1"}, "google_vision": {"region": "eu"}}
FACE = np.asarray([[178, 62, 270, 177]], np.float32)  # of the astronaut, drawn by hand
PERSON = np.asarray([[20, 15, 375, 512]], np.float32)
EYES_AND_MOUTH = np.asarray([[203, 102], [247, 104], [223, 125], [203, 142], [241, 144]], np.float32)


OPTIONS = {
    "retinaface": row_networks.OPTIONS,
    **{name: {**own, "requests_per_s": 10_000} for name, own in SERVICES.items()},
}


def config_of(name, backend, precision, threshold=None, **keys):
    threshold = THRESHOLDS.get(name) if threshold is None else threshold
    detector = {"name": name, "threshold": threshold, "options": OPTIONS.get(name, {})}
    keys = {"allow_upload": name in SERVICES, **keys}
    return DetectConfig(detectors=[detector], backend=backend, precision=precision, **keys)


def models_of(case):
    """Return the names of the models that a case runs."""
    name, backend, precision = case
    if name == "centerface":
        return ("centerface_int8",) if (backend, precision) == ("onnxruntime", "int8") else ("centerface",)
    if name == "mtcnn":
        return ("mtcnn_pnet", "mtcnn_rnet", "mtcnn_onet")
    if name == "person":
        return ("person", "person_outline")
    return () if name in ("manifest", "retinaface", "dlib_hog", *SERVICES) else (name,)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    mirror = os.environ.get(MIRROR_VARIABLE) or (str(WEIGHTS) if WEIGHTS.is_dir() else None)
    own = tmp_path_factory.mktemp("own") / "retinaface.onnx"
    own.write_bytes(row_networks.retinaface_of_centerface())
    cache = str(tmp_path_factory.mktemp("models"))
    return ModelStore(Storage(), ModelsConfig(mirror=mirror, cache=cache, files={"retinaface": str(own)}))


SLOW = ("dlib_mmod",)  # seconds an image


@pytest.fixture(
    scope="module",
    params=[pytest.param(own, marks=pytest.mark.full) if own[0] in SLOW else own for own in CASES],
    ids="-".join,
)
def case(request):
    return request.param


@pytest.fixture(scope="module")
def service(case, tmp_path_factory):
    """Start a stand-in for the service that a case asks, if it is one."""
    if case[0] not in SERVICES:
        yield
        return
    pytest.importorskip("boto3" if case[0] == "rekognition" else "google.auth")
    with pytest.MonkeyPatch.context() as patch:
        services = Services(patch, tmp_path_factory.mktemp("service"))
        services.start(case[0])
        yield
        services.stop()


@pytest.fixture(scope="module")
def make(case, models, service):
    backend = case[1]
    if backend == "openvino":
        pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    if case[0].startswith("dlib"):
        pytest.importorskip("dlib", reason="the extra `dlib` is not installed")
    packaged = {status.entry.name for status in models.status() if status.state == "package"}
    to_fetch = [model for model in models_of(case) if model not in packaged]
    if MIRROR_VARIABLE not in os.environ:
        skip_without_weights(*(MODELS[model].filename for model in to_fetch))
    return lambda **keys: WithGivenBoxes(build_detector(config_of(*case, **keys), Runtime(models)))


@pytest.fixture(scope="module")
def detector(make):
    return make()


@dataclass(frozen=True, slots=True, eq=False)
class LabelledPreview(Preview):
    """A preview with the boxes that the manifest gives."""

    truth: GroundTruth = field(default_factory=GroundTruth.empty)


class WithGivenBoxes:
    """A detector that gets the boxes of its images."""

    def __init__(self, detector):
        self._detector = detector

    def __getattr__(self, name):
        return getattr(self._detector, name)

    def detect(self, images):
        return self._detector.detect(images, [image.truth for image in images])


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What a detector is to find in an image of 512 x 512 px: its label, box (1, 4), and landmarks (5, 2) if it gives any."""

    pixels: np.ndarray
    label: str
    box: np.ndarray
    marks: np.ndarray | None

    def cut(self, first, stop):
        """Return the columns first .. stop - 1, and the box there."""
        return self.pixels[:, first:stop], self.box - np.float32([first, 0, first, 0])


def image_of(pixels, image_id="image", boxes=()):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    truth = GroundTruth(boxes, np.zeros(len(boxes), np.bool_))
    return LabelledPreview(image_id, np.ascontiguousarray(pixels), truth=truth)


@pytest.fixture(scope="module")
def subject(case):
    from skimage.data import astronaut

    if case[0] == "text":
        return Subject(name_tag(), "text", np.float32([TEXT]), None)
    if case[0] == "person":
        return Subject(astronaut(), "person", PERSON, None)
    if case[0] != "licence_plate":
        return Subject(
            astronaut(),
            "face",
            FACE,
            None if case[0] in ("manifest", "ssd", "dlib_hog", "dlib_mmod") else EYES_AND_MOUTH,
        )
    x1, y1, x2, y2 = PLATE
    corners = [[x1, y1], [x2, y1], [(x1 + x2) / 2, (y1 + y2) / 2], [x1, y2], [x2, y2]]
    return Subject(car_with_plate(), "licence_plate", np.float32([PLATE]), np.float32(corners))


@pytest.fixture(scope="module")
def shown(subject):
    return image_of(subject.pixels, "shown", subject.box)


@pytest.fixture(scope="module")
def noise():
    noise = np.random.default_rng(3).normal(128, 12, (240, 320, 1)).clip(0, 255).astype(np.uint8)
    return image_of(np.repeat(noise, 3, axis=2), "noise")


@pytest.fixture(scope="module")
def mixed(subject, shown, noise):
    """Return images of many sizes; two of one size, which a batching backend would put together."""
    tall, shifted = subject.cut(100, 350)
    flipped = np.float32([250, 0, 250, 0]) - shifted[:, [2, 1, 0, 3]] * np.float32([1, -1, 1, -1])
    return [
        noise,
        shown,
        image_of(np.full((1, 1, 3), 90, np.uint8), "dot"),
        image_of(tall, "tall", shifted),
        image_of(tall[:, ::-1], "flipped", flipped),
        shown,
        image_of(np.full((4000, 1, 3), 200, np.uint8), "strip"),
        image_of(np.full((1, 4000, 3), 9, np.uint8), "line"),
    ]


def same(a, b):
    return (
        np.array_equal(a.boxes, b.boxes)
        and np.array_equal(a.scores, b.scores)
        and np.array_equal(a.landmarks, b.landmarks, equal_nan=True)
        and a.detectors == b.detectors
    )


def test_every_built_in_detector_is_under_contract():
    assert {name for name, *_ in CASES} == set(plugins.built_in("detectors"))


def test_nothing_in_nothing_out(detector):
    assert detector.detect([]) == []


def test_grey_noise_and_tiny_images_show_nothing(detector, noise, mixed):
    for image in (noise, mixed[2], mixed[6], mixed[7]):
        assert len(detector.detect([image])[0]) == 0, image.image_id


def test_an_object_is_found_once_and_where_it_is(detector, subject, shown):
    found = detector.detect([shown])[0]
    assert len(found) == 1
    assert pairwise_iou(found.boxes, subject.box)[0, 0] > 0.7
    assert 0.5 < found.scores[0] <= 1
    assert found.labels == (subject.label,)
    marks = found.landmarks[0]
    if subject.marks is not None:
        assert np.abs(marks - subject.marks).max() < 10
    else:
        assert np.isnan(marks).all()


def test_records_are_well_formed(detector, mixed):
    for image, found in zip(mixed, detector.detect(mixed), strict=True):
        assert found.boxes.dtype == found.scores.dtype == found.landmarks.dtype == np.float32
        assert np.isfinite(found.boxes).all()
        assert ((found.scores >= 0) & (found.scores <= 1)).all()
        assert set(found.detectors) <= {detector.name}
        assert set(found.labels) <= set(detector.labels or found.labels)
        sides = found.boxes[:, 2:] - found.boxes[:, :2]
        assert (sides > 0).all()
        centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
        assert ((centres >= 0) & (centres <= [image.width, image.height])).all()
        marks = found.landmarks[np.isfinite(found.landmarks).all(axis=(1, 2))]
        boxes = found.boxes[np.isfinite(found.landmarks).all(axis=(1, 2))]
        near = np.repeat(0.25 * (boxes[:, 2:] - boxes[:, :2])[:, None], 5, axis=1)
        assert (marks >= boxes[:, None, :2] - near).all()
        assert (marks <= boxes[:, None, 2:] + near).all()


def test_an_object_cut_by_the_border_is_covered_up_to_it(case, models, detector, subject):
    left, top, right, bottom = subject.box[0]
    cut = int((left + right) / 2) - 4
    half = image_of(subject.pixels[:, cut:], "half", subject.box - np.float32([cut, 0, cut, 0]))
    if case[0] in THRESHOLDS:
        detector = WithGivenBoxes(build_detector(config_of(*case, threshold=OWN_THRESHOLDS[case[0]]), Runtime(models)))
    found = detector.detect([half])[0]
    visible = np.asarray([[0, top, right - cut, bottom]], np.float32)
    best = int(pairwise_iou(found.boxes, visible)[:, 0].argmax())
    x1, y1, x2, y2 = regions_of(found, half.width, half.height, 1.3, "ellipse")[best].extent
    assert x1 == 0
    assert y1 <= top + 0.12 * (bottom - top)
    assert x2 >= 0.9 * (right - cut)
    assert y2 >= bottom - 0.12 * (bottom - top)


def test_an_image_alone_and_in_a_batch_gives_the_same_to_the_bit(detector, mixed):
    together = detector.detect(mixed)
    backwards = detector.detect(mixed[::-1])[::-1]
    for image, one, other in zip(mixed, together, backwards, strict=True):
        assert same(one, detector.detect([image])[0]), image.image_id
        assert same(one, other), image.image_id


def test_a_second_instance_gives_the_same_to_the_bit(make, detector, shown):
    assert same(make().detect([shown])[0], detector.detect([shown])[0])


def test_the_images_are_not_changed(detector, mixed):
    before = [image.pixels.copy() for image in mixed]
    for image in mixed:
        image.pixels.flags.writeable = False
    try:
        detector.detect(mixed)
    finally:
        for image in mixed:
            image.pixels.flags.writeable = True
    for image, copy in zip(mixed, before, strict=True):
        np.testing.assert_array_equal(image.pixels, copy)


def test_scale_and_tiles_keep_px_of_the_image(make, detector, subject, shown):
    tile = {"size_px": 300, "overlap_px": 150}
    for keys in (
        {"scale": 2.0},
        {"scale": 0.7},
        {"tile": tile},
        {"max_side_px": 300},
        {"max_side_px": 400, "tile": tile},
    ):
        found = make(**keys).detect([shown])[0]
        assert pairwise_iou(found.boxes, subject.box).max() > 0.6, keys
    assert len(make(min_side_px=600).detect([shown])[0]) == 0


def test_wrong_weights_are_refused(case, detector, tmp_path):
    assert {model for model in detector.models if "@" not in model} == set(models_of(case))
    for model in models_of(case):
        if MODELS[model].package is None:
            (tmp_path / MODELS[model].filename).write_bytes(b"rotten")
            store = ModelStore(Storage(), ModelsConfig(cache=str(tmp_path)))
            with pytest.raises(ModelError):
                build_detector(config_of(*case), Runtime(store))


def test_the_threshold_is_obeyed(case, make, shown, models):
    detector = make()
    if not detector.models:
        pytest.skip("given boxes have no scores to compare")
    strict = build_detector(config_of(*case, threshold=1.0), Runtime(models))
    assert len(strict.detect([shown])[0]) == 0
