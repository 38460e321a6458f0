from __future__ import annotations

import numpy as np
import pytest

from anon_batch.detect.yunet import YuNet
from anon_batch.errors import ModelError, WithheldError


class FakeNetwork:
    """FaceDetectorYN with given rows."""

    def __init__(self, rows):
        self.rows, self.sizes, self.seen = rows, [], []

    def setInputSize(self, size):  # noqa: N802 - OpenCV's name
        self.sizes.append(size)

    def detect(self, bgr):
        self.seen.append(bgr)
        return 1, self.rows


@pytest.fixture
def yunet():
    def _make(rows):
        finder = YuNet.__new__(YuNet)
        import threading

        finder.name, finder.model_names = "yunet", ("yunet",)
        finder._network, finder._lock = FakeNetwork(rows), threading.Lock()
        return finder

    return _make


ROW = np.asarray([[10, 20, 30, 40, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0.7]], np.float32)


def test_rows_become_boxes_in_the_frame_of_the_piece(yunet):
    finder = yunet(ROW)
    found = finder.find([np.zeros((50, 100, 3), np.uint8)], [2.0])[0]
    assert finder._network.sizes == [(200, 100)]
    np.testing.assert_allclose(found.boxes, [[5, 10, 20, 30]])
    np.testing.assert_allclose(found.landmarks[0], np.arange(1, 11).reshape(5, 2) / 2)
    assert found.scores.tolist() == pytest.approx([0.7])


def test_the_network_sees_bgr(yunet):
    finder = yunet(None)
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :, 0] = 255
    assert len(finder.find([pixels], [1.0])[0]) == 0
    assert finder._network.seen[0][0, 0].tolist() == [0, 0, 255]


def test_rows_that_are_not_finite_withhold(yunet):
    with pytest.raises(WithheldError, match="not finite"):
        yunet(ROW * np.nan).find([np.zeros((8, 8, 3), np.uint8)], [1.0])


def test_weights_that_are_no_network_are_a_model_error():
    with pytest.raises(ModelError, match="cannot load the model 'yunet'"):
        YuNet("yunet", b"no onnx at all", 0.5, 1)
