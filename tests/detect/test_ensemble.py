from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anon_batch.config import DetectConfig, ModelsConfig
from anon_batch.detect.ensemble import Ensemble, build_detector, merge_across
from anon_batch.errors import UnknownNameError, WithheldError
from anon_batch.geometry import pairwise_iou
from anon_batch.models.store import ModelStore
from anon_batch.records import DecodedImage, Detections, GroundTruth
from anon_batch.storage import Storage

IMAGE = DecodedImage("picture", np.zeros((100, 100, 3), np.uint8))
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
    def __init__(self, name, found, model_names=()):
        self.name, self._found, self.model_names = name, found, model_names

    def detect(self, images):
        if isinstance(self._found, Exception):
            raise self._found
        return [self._found for _ in images]


def ensemble(*parts, merge_iou=0.4, min_face_px=0.0):
    return Ensemble(parts, merge_iou, min_face_px, {})


def test_what_any_detector_finds_is_found():
    a, b = detections("a", [0, 0, 10, 10]), detections("b", [50, 50, 70, 70], [1, 0, 11, 10], score=0.9)
    both = ensemble(Fixed("a", a), Fixed("b", b)).detect([IMAGE])[0]
    assert both.detectors == ("a", "b")
    assert both.boxes.tolist() == [[0, 0, 10, 10], [50, 50, 70, 70]]


def test_a_box_without_landmarks_takes_those_of_the_one_that_fell_to_it():
    a, b = detections("a", [0, 0, 10, 10]), detections("b", [1, 0, 11, 10], marks=MARKS)
    np.testing.assert_array_equal(merge_across([a, b], 0.4).landmarks, [MARKS])


def test_a_detectors_own_boxes_never_fall_to_each_other():
    a = detections("manifest", [0, 0, 10, 10], [1, 0, 11, 10], [1, 1, 11, 11])
    assert len(merge_across([a, detections("b", [0, 1, 10, 11], score=0.9)], 0.4)) == 3
    assert merge_across([a], 0.4) is a


box = st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(1, 30), st.integers(1, 30)).map(
    lambda v: [v[0], v[1], v[0] + v[2], v[1] + v[3]]
)


@given(st.lists(st.lists(box, max_size=5), min_size=1, max_size=3), st.sampled_from([0.2, 0.4, 0.7]))
def test_adding_a_detector_takes_nothing_away_and_leaves_nothing_out(boxes, iou):
    parts = [detections(f"d{i}", *own) for i, own in enumerate(boxes)]
    merged, fewer = merge_across(parts, iou), merge_across(parts[:-1] or parts, iou)
    assert merged.boxes.tolist()[: len(fewer)] == fewer.boxes.tolist()
    for part in parts:
        if len(part):
            assert ((pairwise_iou(part.boxes, merged.boxes) >= iou).any(axis=1)).all()


def test_small_faces_are_left_out_by_their_longer_side_and_only_when_asked():
    found = detections("a", [0, 0, 4, 4], [0, 20, 5, 40], [50, 50, 60, 50 + 9.5])
    assert len(ensemble(Fixed("a", found)).detect([IMAGE])[0]) == 3
    kept = ensemble(Fixed("a", found), min_face_px=10).detect([IMAGE])[0]
    assert kept.boxes.tolist() == [[0, 20, 5, 40], [50, 50, 60, 59.5]]
    assert len(ensemble(Fixed("a", Detections.empty()), min_face_px=10).detect([IMAGE])[0]) == 0


def test_scores_that_are_not_finite_and_missing_results_withhold():
    bad = detections("a", [0, 0, 4, 4], score=np.nan)
    with pytest.raises(WithheldError, match="not finite"):
        ensemble(Fixed("a", bad)).detect([IMAGE])

    class Short(Fixed):
        def detect(self, images):
            return []

    with pytest.raises(WithheldError, match="0 results for 1"):
        ensemble(Fixed("b", Detections.empty()), Short("a", None)).detect([IMAGE])


def test_a_failing_part_fails_the_call():
    parts = [Fixed("a", detections("a", [0, 0, 4, 4])), Fixed("b", WithheldError("detect", "broken"))]
    with pytest.raises(WithheldError, match="broken"):
        ensemble(*parts).detect([IMAGE])


@pytest.fixture
def models(tmp_path):
    return ModelStore(Storage(), ModelsConfig(cache=str(tmp_path)))


def test_the_manifests_boxes_go_before_all_networks(models):
    config = DetectConfig(detectors=["centerface", "manifest"])
    detector = build_detector(config, models)
    assert detector.name == "manifest+centerface"
    assert detector.model_names == ("centerface_int8",)
    assert set(detector.model_digests) == {"centerface_int8"}
    from skimage.data import astronaut

    boxes = np.asarray([[178, 62, 270, 177], [180, 62, 270, 177]], np.float32)
    truth = GroundTruth(boxes, np.zeros(2, np.bool_))
    found = detector.detect([DecodedImage("astronaut", astronaut(), given=truth)])[0]
    assert found.detectors == ("manifest", "manifest")
    assert np.isfinite(found.landmarks).all(), "they come from CenterFace"


def test_one_unknown_picture_does_not_cost_its_neighbours_when_asked_one_by_one(models):
    detector = build_detector(DetectConfig(detectors="manifest"), models)
    known = DecodedImage("known", IMAGE.pixels, given=GroundTruth.empty())
    with pytest.raises(WithheldError):
        detector.detect([known, IMAGE])
    assert len(detector.detect([known])[0]) == 0


def test_the_same_detector_twice_with_its_own_scale_and_threshold(models):
    strict, half = {"name": "centerface", "threshold": 0.99}, {"name": "centerface", "scale": 0.5}
    config = DetectConfig(detectors=[strict, half])
    from skimage.data import astronaut

    detector = build_detector(config, models)
    assert detector.model_names == ("centerface_int8",)
    assert len(detector.detect([DecodedImage("astronaut", astronaut())])[0]) == 1


def test_an_unknown_detector_stops_before_anything_is_loaded(models):
    with pytest.raises(UnknownNameError, match="centerface"):
        build_detector(DetectConfig(detectors=["centrface"]), models)


class Seeing(Fixed):
    """Notes the pictures that it is shown."""

    def detect(self, images):
        self.shown = list(images)
        return super().detect(images)


def test_parts_see_the_reduced_picture_and_their_boxes_come_back_in_the_whole_one():
    part = Seeing("a", detections("a", [10, 20, 30, 25], marks=MARKS))
    image = DecodedImage("wide", np.zeros((100, 400, 3), np.uint8))
    found = Ensemble([part], 0.4, 0, {}, max_side_px=80).detect([image])[0]
    assert (part.shown[0].width, part.shown[0].height) == (80, 20)
    assert part.shown[0].whole_size == (400, 100)
    np.testing.assert_allclose(found.boxes, [[50, 100, 150, 125]])
    np.testing.assert_allclose(found.landmarks[0], MARKS * 5)
    again = Ensemble([part], 0.4, 0, {}, max_side_px=80).detect([part.shown[0]])[0]
    assert part.shown[0].width == 80, "not reduced twice"
    np.testing.assert_array_equal(again.boxes, found.boxes)


def test_small_pictures_are_shown_as_they_are():
    part = Seeing("a", Detections.empty())
    Ensemble([part], 0.4, 0, {}, max_side_px=100).detect([IMAGE])
    assert part.shown[0] is IMAGE


def test_the_smallest_face_counts_px_of_the_whole_picture():
    part = Fixed("a", detections("a", [0, 0, 3, 3], [10, 10, 12, 12]))
    found = Ensemble([part], 0.4, 25, {}, max_side_px=10).detect([IMAGE])[0]
    np.testing.assert_allclose(found.boxes, [[0, 0, 30, 30]])


def test_given_boxes_stay_to_the_bit_beside_a_detector_that_sees_less(models):
    boxes = np.asarray([[3.3, 7.1, 11.7, 19.9]], np.float32)
    image = DecodedImage("a", np.zeros((301, 403, 3), np.uint8), given=GroundTruth(boxes, np.zeros(1, np.bool_)))
    found = build_detector(DetectConfig(detectors=["manifest", "centerface"], max_side_px=64), models).detect([image])[
        0
    ]
    np.testing.assert_array_equal(found.boxes, boxes)
