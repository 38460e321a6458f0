from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from anon_batch.records import Detections, GroundTruth


def _detections(*labels: str) -> Detections:
    n = len(labels)
    boxes = np.arange(4 * n, dtype=np.float32).reshape(n, 4)
    return Detections(boxes, np.ones(n, np.float32), np.zeros((n, 5, 2), np.float32), ("d",) * n, labels)


def test_detections_without_labels_are_faces() -> None:
    found = Detections(
        np.zeros((2, 4), np.float32), np.ones(2, np.float32), np.zeros((2, 5, 2), np.float32), ("d", "d")
    )
    assert found.labels == ("face", "face")
    assert Detections.empty().labels == ()


def test_merge_and_take_carry_the_labels() -> None:
    merged = Detections.merge([_detections("face"), _detections("licence_plate", "person")])
    assert merged.labels == ("face", "licence_plate", "person")
    assert merged.take(np.array([2, 0])).labels == ("person", "face")
    assert merged.take(np.array([False, True, False])).labels == ("licence_plate",)


def test_a_wrong_number_of_labels_is_refused() -> None:
    one = _detections("face")
    with pytest.raises(ValueError, match="labels: 2, expected 1"):
        Detections(one.boxes, one.scores, one.landmarks, one.detectors, ("face", "face"))
    with pytest.raises(ValueError, match="labels: 0, expected 1"):
        GroundTruth(one.boxes, np.zeros(1, np.bool_), ())


def test_labels_are_text() -> None:
    with pytest.raises(ValueError, match="expected text"):
        Detections(
            np.zeros((1, 4), np.float32),
            np.zeros(1, np.float32),
            np.zeros((1, 5, 2), np.float32),
            ("d",),
            (1,),  # type: ignore[arg-type]
        )


def test_ground_truth_defaults_to_faces_of_which_none_is_kept() -> None:
    truth = GroundTruth(np.zeros((2, 4), np.float32), np.array([True, False]))
    assert truth.labels == ("face", "face")
    assert truth.keep.tolist() == [False, False]


def test_take_of_ground_truth_carries_every_column() -> None:
    boxes = np.arange(8, dtype=np.float32).reshape(2, 4)
    truth = GroundTruth(boxes, np.array([True, False]), ("face", "person"), np.array([False, True]))
    second = truth.take(np.array([False, True]))
    assert second.boxes.tolist() == [[4, 5, 6, 7]]
    assert (second.ignore.tolist(), second.labels, second.keep.tolist()) == ([False], ("person",), [True])


def _witnessed(*counts: int) -> Detections:
    """Detections whose witnesses are numbered, each with as many as its count says."""
    marks = np.full((len(counts), max(counts), 5, 2), np.nan, np.float32)
    for row, count in enumerate(counts):
        marks[row, :count] = np.arange(count)[:, None, None] + 10 * row
    return replace(_detections(*["face"] * len(counts)), witnesses=marks)


def test_detections_without_witnesses_have_none() -> None:
    assert _detections("face", "face").witnesses.shape == (2, 0, 5, 2)
    assert Detections.empty().witnesses.shape == (0, 0, 5, 2)
    assert Detections.merge([]).witnesses.shape == (0, 0, 5, 2)


def test_merge_and_take_carry_the_witnesses() -> None:
    merged = Detections.merge([_witnessed(1), _detections("plate"), _witnessed(0, 2)])
    assert merged.witnesses.shape == (4, 2, 5, 2)
    assert [int(np.isfinite(own).all(axis=(1, 2)).sum()) for own in merged.witnesses] == [1, 0, 0, 2]
    assert merged.take(np.array([3])).witnesses[0, :, 0, 0].tolist() == [10, 11]


def test_witnesses_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"witnesses: \(2, 1, 5, 2\), expected \(1, K, 5, 2\)"):
        replace(_detections("face"), witnesses=np.zeros((2, 1, 5, 2), np.float32))
    with pytest.raises(ValueError, match="witnesses"):
        replace(_detections("face"), witnesses=np.zeros((1, 5, 2), np.float32))
