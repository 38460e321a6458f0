from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anon_batch.detect.merge import merge_detectors, merge_tiles, same_label
from anon_batch.geometry import pairwise_iou
from anon_batch.records import Detections

MARKS = np.arange(10, dtype=np.float32).reshape(5, 2)


def detections(name, *boxes, score=0.5, marks=None, labels=None):
    landmarks = np.full((len(boxes), 5, 2), np.nan, np.float32)
    if marks is not None:
        landmarks[:] = marks
    return Detections(
        np.asarray(boxes, np.float32).reshape(-1, 4),
        np.broadcast_to(np.float32(score), len(boxes)).copy(),
        landmarks,
        (name,) * len(boxes),
        labels,
    )


def test_tiles_keep_the_best_score_and_landmarks_of_the_suppressed():
    without = detections("a", [0, 0, 10, 10], [50, 50, 60, 60], score=[0.9, 0.8])
    merged = merge_tiles([without, detections("b", [1, 0, 11, 10], score=0.6, marks=MARKS)], 0.4)
    assert merged.detectors == ("a", "a")
    np.testing.assert_array_equal(merged.landmarks[0], MARKS)
    assert np.isnan(merged.landmarks[1]).all()
    assert len(merge_tiles([], 0.4)) == 0


def test_tiles_return_all_labels_by_falling_score():
    faces = detections("a", [0, 0, 10, 10], [50, 0, 60, 10], [1, 0, 11, 10], score=[0.3, 0.9, 0.2])
    plates = detections("a", [0, 1, 10, 11], [80, 0, 90, 10], score=[0.5, 0.1], labels=("plate", "plate"))
    merged = merge_tiles([faces, plates], 0.4)
    assert merged.scores.tolist() == pytest.approx([0.9, 0.5, 0.3, 0.1])
    assert merged.labels == ("face", "plate", "face", "plate")


def test_landmarks_come_from_the_same_label_only():
    plate = detections("a", [0, 0, 10, 10], score=0.9, labels=("plate",))
    face = detections("a", [1, 0, 11, 10], score=0.8, marks=MARKS)
    merged = merge_tiles([plate, face], 0.4)
    assert merged.labels == ("plate", "face")
    assert np.isnan(merged.landmarks[0]).all()
    assert np.isnan(merge_detectors([plate, face], 0.4).landmarks[0]).all()


def test_a_box_of_one_detector_takes_the_landmarks_of_the_one_that_it_suppresses():
    a, b = detections("a", [0, 0, 10, 10]), detections("b", [1, 0, 11, 10], marks=MARKS)
    np.testing.assert_array_equal(merge_detectors([a, b], 0.4).landmarks, [MARKS])


def test_landmarks_of_suppressed_boxes_stay_as_witnesses_of_the_box_that_they_overlap_most():
    a = detections("a", [0, 0, 10, 10], [4, 0, 14, 10], [50, 0, 60, 10], marks=MARKS)
    b = detections("b", [5, 0, 15, 10], [90, 0, 99, 10], marks=MARKS + 1)
    c = detections("c", [4, 1, 14, 11], [50, 0, 60, 11], marks=MARKS + 2)
    merged = merge_detectors([a, b, c], 0.4)
    assert merged.detectors == ("a", "a", "a", "b")
    np.testing.assert_array_equal(merged.landmarks, np.stack([MARKS, MARKS, MARKS, MARKS + 1]))
    complete = np.isfinite(merged.witnesses).all(axis=(2, 3))
    assert complete.sum(axis=1).tolist() == [0, 2, 1, 0]
    np.testing.assert_array_equal(merged.witnesses[1][complete[1]], [MARKS + 1, MARKS + 2])
    np.testing.assert_array_equal(merged.witnesses[2][complete[2]], [MARKS + 2])


def test_tiles_keep_the_landmarks_of_suppressed_boxes_of_the_same_label_as_witnesses():
    a = detections("a", [0, 0, 10, 10], score=0.9, marks=MARKS)
    b = detections("a", [1, 0, 11, 10], score=0.6, marks=MARKS + 1)
    plate = detections("a", [0, 0, 10, 11], [0, 0, 10, 10], score=[0.8, 0.7], marks=MARKS + 2, labels=("plate",) * 2)
    merged = merge_tiles([a, plate, b], 0.4)
    assert merged.labels == ("face", "plate")
    np.testing.assert_array_equal(merged.witnesses, [[MARKS + 1], [MARKS + 2]])


def test_witnesses_of_a_suppressed_box_are_passed_on():
    tiles = merge_tiles([detections("b", [0, 0, 10, 10], [0, 0, 10, 11], marks=MARKS + 1)], 0.4)
    merged = merge_detectors([detections("a", [0, 0, 10, 10], marks=MARKS), tiles], 0.4)
    np.testing.assert_array_equal(merged.witnesses, [[MARKS + 1, MARKS + 1]])


def test_suppressed_boxes_without_landmarks_leave_no_witness():
    merged = merge_detectors([detections("a", [0, 0, 10, 10], marks=MARKS), detections("b", [0, 0, 10, 10])], 0.4)
    assert merged.witnesses.shape == (1, 0, 5, 2)


def test_boxes_of_one_detector_do_not_suppress_each_other():
    a = detections("manifest", [0, 0, 10, 10], [1, 0, 11, 10], [1, 1, 11, 11])
    assert len(merge_detectors([a, detections("b", [0, 1, 10, 11], score=0.9)], 0.4)) == 3
    assert merge_detectors([a], 0.4) is a


def test_equal_boxes_of_different_labels_all_stay():
    face, plate = detections("a", [0, 0, 10, 10]), detections("b", [0, 0, 10, 10], labels=("plate",))
    assert merge_detectors([face, plate], 0.4).labels == ("face", "plate")
    assert merge_tiles([face, plate], 0.4).labels == ("face", "plate")


box = st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(1, 30), st.integers(1, 30)).map(
    lambda v: [v[0], v[1], v[0] + v[2], v[1] + v[3]]
)
labelled = st.lists(st.tuples(box, st.sampled_from(["face", "plate", "person"]), st.integers(1, 99)), max_size=6)


def part(name, items):
    return detections(
        name,
        *[box for box, _, _ in items],
        score=[score / 100 for _, _, score in items],
        labels=tuple(label for _, label, _ in items),
    )


@given(st.lists(labelled, min_size=1, max_size=3), st.sampled_from([0.2, 0.4, 0.7]))
def test_adding_a_detector_drops_nothing_and_every_box_is_covered(items, iou):
    parts = [part(f"d{i}", own) for i, own in enumerate(items)]
    merged, fewer = merge_detectors(parts, iou), merge_detectors(parts[:-1] or parts, iou)
    assert merged.boxes.tolist()[: len(fewer)] == fewer.boxes.tolist()
    for own in parts:
        if len(own):
            assert ((pairwise_iou(own.boxes, merged.boxes) >= iou) & same_label(own, merged)).any(axis=1).all()


@given(st.lists(labelled, min_size=1, max_size=3), st.sampled_from([0.2, 0.4, 0.7]))
def test_each_label_is_merged_as_if_it_were_alone(items, iou):
    parts = [part(f"d{i}", own) for i, own in enumerate(items)]
    for merge in (merge_detectors, merge_tiles):
        merged = merge(parts, iou)
        for label in set(merged.labels):
            alone = merge(
                [own.take(np.array([own_label == label for own_label in own.labels], bool)) for own in parts], iou
            )
            of_label = merged.take(np.array([own_label == label for own_label in merged.labels], bool))
            assert of_label.boxes.tolist() == alone.boxes.tolist()
            assert of_label.detectors == alone.detectors


def test_an_image_of_thousands_of_faces_is_merged_in_little_memory():
    grid = np.stack(np.meshgrid(np.arange(70), np.arange(70)), axis=-1).reshape(-1, 2).astype(np.float32) * 12
    boxes = np.concatenate([grid, grid + 10], axis=1)
    marks = np.repeat(grid[:, None], 5, axis=1) + 5
    scores = np.linspace(0.9, 0.2, len(boxes), dtype=np.float32)
    one = Detections(boxes, scores, marks, ("d",) * len(boxes))
    other = Detections(boxes + 1, scores / 2, marks + 1, ("d",) * len(boxes))
    tracemalloc.start()
    try:
        merged = merge_tiles([one, other], 0.4)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(merged) == len(boxes)
    np.testing.assert_array_equal(merged.witnesses[:, 0], merged.landmarks + 1)
    assert peak_bytes < 150e6, f"all {len(boxes)}^2 overlaps would take 600 MB"
