from __future__ import annotations

import numpy as np
import pytest

from anon_batch.detect.labels import CheckedDetector
from anon_batch.errors import ConfigError, WithheldError
from anon_batch.records import Detections, Preview

IMAGE = Preview("image", np.zeros((10, 10, 3), np.uint8))


class Fixed:
    name, models = "fixed", ()

    def __init__(self, found, labels=("face", "licence_plate")):
        self._found, self.labels = found, labels

    def detect(self, images):
        return self._found


def detections(*labels, score=0.5):
    n = len(labels)
    boxes = np.arange(4 * n, dtype=np.float32).reshape(n, 4)
    return Detections(
        boxes, np.full(n, score, np.float32), np.full((n, 5, 2), np.nan, np.float32), ("fixed",) * n, labels
    )


def test_all_labels_pass_by_default():
    found = detections("face", "licence_plate")
    [passed] = CheckedDetector(Fixed([found])).detect([IMAGE])
    assert passed.labels == ("face", "licence_plate")
    assert passed.boxes.tolist() == found.boxes.tolist()


def test_labels_that_the_job_does_not_use_are_dropped():
    detector = CheckedDetector(Fixed([detections("face", "licence_plate", "face")]), ["licence_plate"])
    [found] = detector.detect([IMAGE])
    assert found.labels == ("licence_plate",)
    assert found.boxes.tolist() == [[4, 5, 6, 7]]


def test_a_label_that_the_detector_does_not_find_is_refused():
    with pytest.raises(ConfigError, match="fixed does not find person; it finds face, licence_plate"):
        CheckedDetector(Fixed([]), ["person"])


def test_an_undeclared_label_withholds_instead_of_being_dropped():
    detector = CheckedDetector(Fixed([detections("face")], labels=("licence_plate",)), ["licence_plate"])
    with pytest.raises(WithheldError, match="does not declare: face"):
        detector.detect([IMAGE])


def test_missing_results_and_scores_that_are_not_finite_withhold():
    with pytest.raises(WithheldError, match="0 results for 1"):
        CheckedDetector(Fixed([])).detect([IMAGE])
    with pytest.raises(WithheldError, match="not finite"):
        CheckedDetector(Fixed([detections("face", score=np.nan)])).detect([IMAGE])
