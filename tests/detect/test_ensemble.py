from __future__ import annotations

import numpy as np
import pytest

from anon_batch.config import DetectConfig, ModelsConfig
from anon_batch.detect.ensemble import Ensemble, build_detector
from anon_batch.detect.labels import CheckedDetector
from anon_batch.errors import ConfigError, UnknownNameError, WithheldError
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.records import Detections, GroundTruth, Preview
from anon_batch.storage import Storage

IMAGE = Preview("image", np.zeros((100, 100, 3), np.uint8))
MARKS = np.arange(10, dtype=np.float32).reshape(5, 2)


def detections(name, *boxes, score=0.5, marks=None):
    landmarks = np.full((len(boxes), 5, 2), np.nan, np.float32)
    if marks is not None:
        landmarks[:] = marks
    return Detections(
        np.asarray(boxes, np.float32).reshape(-1, 4),
        np.full(len(boxes), score, np.float32),
        landmarks,
        (name,) * len(boxes),
    )


class Fixed:
    labels = ("face",)

    def __init__(self, name, found, models=()):
        self.name, self._found, self.models = name, found, models

    def detect(self, images):
        if isinstance(self._found, Exception):
            raise self._found
        return [self._found for _ in images]


def ensemble(*parts, merge_iou=0.4, min_side_px=0.0):
    return Ensemble(parts, merge_iou, min_side_px)


def test_the_ensemble_finds_what_any_detector_finds():
    a, b = detections("a", [0, 0, 10, 10]), detections("b", [50, 50, 70, 70], [1, 0, 11, 10], score=0.9)
    both = ensemble(Fixed("a", a), Fixed("b", b)).detect([IMAGE])[0]
    assert both.detectors == ("a", "b")
    assert both.boxes.tolist() == [[0, 0, 10, 10], [50, 50, 70, 70]]


def test_detections_below_the_least_side_are_dropped_by_their_longer_side():
    found = detections("a", [0, 0, 4, 4], [0, 20, 5, 40], [50, 50, 60, 50 + 9.5])
    assert len(ensemble(Fixed("a", found)).detect([IMAGE])[0]) == 3
    kept = ensemble(Fixed("a", found), min_side_px=10).detect([IMAGE])[0]
    assert kept.boxes.tolist() == [[0, 20, 5, 40], [50, 50, 60, 59.5]]
    assert len(ensemble(Fixed("a", Detections.empty()), min_side_px=10).detect([IMAGE])[0]) == 0


def test_a_failing_part_fails_the_call():
    parts = [Fixed("a", detections("a", [0, 0, 4, 4])), Fixed("b", WithheldError("detect", "broken"))]
    with pytest.raises(WithheldError, match="broken"):
        ensemble(*parts).detect([IMAGE])


@pytest.fixture
def runtime(tmp_path):
    return Runtime(ModelStore(Storage(), ModelsConfig(cache=str(tmp_path))))


def test_the_boxes_of_the_manifest_go_before_all_networks(runtime):
    config = DetectConfig(detectors=["centerface", "manifest"])
    detector = build_detector(config, runtime)
    assert detector.name == "manifest+centerface"
    assert detector.models == ("centerface_int8",)
    from skimage.data import astronaut

    boxes = np.asarray([[178, 62, 270, 177], [180, 62, 270, 177]], np.float32)
    truth = GroundTruth(boxes, np.zeros(2, np.bool_))
    found = detector.detect([Preview("astronaut", astronaut())], [truth])[0]
    assert found.detectors == ("manifest", "manifest")
    assert np.isfinite(found.landmarks).all(), "they come from CenterFace"


def test_an_image_without_given_boxes_does_not_withhold_its_neighbours(runtime):
    detector = build_detector(DetectConfig(detectors="manifest"), runtime)
    with pytest.raises(WithheldError):
        detector.detect([IMAGE, IMAGE], [GroundTruth.empty(), None])
    assert len(detector.detect([IMAGE], [GroundTruth.empty()])[0]) == 0


def test_the_same_detector_twice_with_its_own_scale_and_threshold(runtime):
    strict, half = {"name": "centerface", "threshold": 0.99}, {"name": "centerface", "scale": 0.5}
    config = DetectConfig(detectors=[strict, half])
    from skimage.data import astronaut

    detector = build_detector(config, runtime)
    assert detector.models == ("centerface_int8",)
    assert len(detector.detect([Preview("astronaut", astronaut())])[0]) == 1


def test_an_unknown_detector_stops_before_anything_is_loaded(runtime):
    with pytest.raises(UnknownNameError, match="centerface"):
        build_detector(DetectConfig(detectors=["centrface"]), runtime)


class Seeing(Fixed):
    """Records the images that it is shown."""

    def detect(self, images):
        self.shown = list(images)
        return super().detect(images)


def test_parts_see_the_downscaled_image_and_boxes_are_returned_in_px_of_the_full_one():
    part = Seeing("a", detections("a", [10, 20, 30, 25], marks=MARKS))
    image = Preview("wide", np.zeros((100, 400, 3), np.uint8))
    found = Ensemble([part], 0.4, 0, max_side_px=80).detect([image])[0]
    assert (part.shown[0].width, part.shown[0].height) == (80, 20)
    assert part.shown[0].whole_size == (400, 100)
    np.testing.assert_allclose(found.boxes, [[50, 100, 150, 125]])
    np.testing.assert_allclose(found.landmarks[0], MARKS * 5)
    again = Ensemble([part], 0.4, 0, max_side_px=80).detect([part.shown[0]])[0]
    assert part.shown[0].width == 80, "not reduced twice"
    np.testing.assert_array_equal(again.boxes, found.boxes)


def test_landmarks_of_every_detector_are_returned_in_px_of_the_full_image():
    a, b = (detections(name, [10, 10, 20, 20], marks=MARKS + n) for n, name in enumerate("ab"))
    image = Preview("image", np.zeros((50, 100, 3), np.uint8), 2.0, 4.0)
    [found] = ensemble(Fixed("a", a), Fixed("b", b)).detect([image])
    np.testing.assert_array_equal(found.landmarks, [MARKS * [2, 4]])
    np.testing.assert_array_equal(found.witnesses, [[(MARKS + 1) * [2, 4]]])


def test_small_images_are_not_scaled():
    part = Seeing("a", Detections.empty())
    Ensemble([part], 0.4, 0, max_side_px=100).detect([IMAGE])
    assert part.shown[0] is IMAGE


def test_the_least_side_counts_px_of_the_full_image():
    part = Fixed("a", detections("a", [0, 0, 3, 3], [10, 10, 12, 12]))
    found = Ensemble([part], 0.4, 25, max_side_px=10).detect([IMAGE])[0]
    np.testing.assert_allclose(found.boxes, [[0, 0, 30, 30]])


def test_boxes_of_the_manifest_are_exact_beside_a_detector_that_sees_a_downscaled_image(runtime):
    boxes = np.asarray([[3.3, 7.1, 11.7, 19.9]], np.float32)
    image, truth = Preview("a", np.zeros((301, 403, 3), np.uint8)), GroundTruth(boxes, np.zeros(1, np.bool_))
    detector = build_detector(DetectConfig(detectors=["manifest", "centerface"], max_side_px=64), runtime)
    [found] = detector.detect([image], [truth])
    np.testing.assert_array_equal(found.boxes, boxes)


def test_given_boxes_come_from_the_caller_with_their_labels(runtime):
    truth = GroundTruth(np.float32([[0, 0, 9, 9], [20, 20, 40, 40]]), np.zeros(2, np.bool_), ("face", "licence_plate"))
    detector = build_detector(DetectConfig(detectors="manifest"), runtime)
    [found] = detector.detect([IMAGE], [truth])
    assert found.labels == ("face", "licence_plate")
    only_plates = DetectConfig(detectors=[{"name": "manifest", "labels": ["licence_plate"]}])
    [found] = build_detector(only_plates, runtime).detect([IMAGE], [truth])
    assert found.labels == ("licence_plate",)


def test_images_without_boxes_are_withheld_unless_another_detector_is_to_search_them(runtime):
    truth = GroundTruth(np.float32([[0, 0, 9, 9]]), np.zeros(1, np.bool_))
    with pytest.raises(WithheldError, match="an empty list means"):
        build_detector(DetectConfig(detectors=["manifest", "centerface"]), runtime).detect(
            [IMAGE, IMAGE], [truth, None]
        )
    search = {"name": "manifest", "options": {"unlabelled": "search"}}
    detector = build_detector(DetectConfig(detectors=[search, "centerface"]), runtime)
    found = detector.detect([IMAGE, IMAGE], [truth, None])
    assert [own.boxes.tolist() for own in found] == [[[0, 0, 9, 9]], []]
    with pytest.raises(ConfigError, match="needs another detector"):
        build_detector(DetectConfig(detectors=[search]), runtime)


def test_labels_that_a_built_in_does_not_find_are_refused(runtime):
    config = DetectConfig(detectors=[{"name": "centerface", "labels": ["licence_plate"]}])
    with pytest.raises(ConfigError, match="centerface does not find licence_plate; it finds face"):
        build_detector(config, runtime)


def test_options_that_a_built_in_does_not_have_are_refused(runtime):
    config = DetectConfig(detectors=[{"name": "centerface", "options": {"cells": 3}}])
    with pytest.raises(ConfigError, match=r"unknown key `detect.detectors.centerface.options.cells`"):
        build_detector(config, runtime)


def test_the_boxes_of_the_manifest_are_named_once(runtime):
    twice = [{"name": "manifest", "labels": ["plate"]}, {"name": "manifest", "labels": ["face"]}]
    with pytest.raises(ConfigError, match="`manifest` is named twice"):
        build_detector(DetectConfig(detectors=twice), runtime)


def test_detections_survive_buffers_that_a_detector_uses_again():
    found = detections("a", (0, 0, 10, 10))
    (kept,) = CheckedDetector(Fixed("a", found)).detect([IMAGE])
    found.boxes[...] = 50
    assert kept.boxes.tolist() == [[0, 0, 10, 10]]
