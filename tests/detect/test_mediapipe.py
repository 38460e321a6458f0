from __future__ import annotations

import numpy as np
import pytest

from anon_batch.config import DetectConfig, ModelsConfig
from anon_batch.detect.ensemble import build_detector
from anon_batch.detect.mediapipe import CHANNELS, LOWERED, MARGIN_PX, MOUTH, TALLER, MediaPipe
from anon_batch.errors import WithheldError
from anon_batch.geometry import pairwise_iou
from anon_batch.models.backends import open_network
from anon_batch.models.network import SynchronousNetwork
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.records import Preview
from anon_batch.storage import Storage
from tools.convert_mediapipe import read_source

FACE = np.float32([178, 62, 270, 177])  # of the astronaut, drawn by hand
POINTS = [-10, -8, 10, -8, 0, 0, 1, 9, -30, 0, 30, 0]  # eyes, nose, mouth, ears: x and y from the anchor


class FakeNetwork(SynchronousNetwork):
    """Logits of -30 but at given cells (row, column) -> 17 values, at the first of an image's sizes; records the shapes."""

    def __init__(self, cells, batch_size=1):
        self.cells, self.batch_size, self.shapes = cells, batch_size, []

    def run(self, batch):
        count, _, height, width = batch.shape
        maps = np.full((count, CHANNELS, (height + 2 * MARGIN_PX) // 4, (width + 2 * MARGIN_PX) // 4), -30, np.float32)
        if not self.shapes or self.shapes[0] == (height, width):
            for (row, column), values in self.cells.items():
                maps[:, :, row, column] = values
        self.shapes.append((height, width))
        return [maps]


def values(logit=2.0, box=(0, 0, 20, 20), points=POINTS):
    return np.float32([logit, *box, *points])


def find(cells, threshold=0.5, size=(64, 96), scale=1.0):
    network = FakeNetwork(cells)
    [found] = MediaPipe(network, threshold).find([np.zeros((*size, 3), np.uint8)], [scale])
    return found, network.shapes


def test_a_cell_is_decoded_in_px_of_the_piece():
    found, shapes = find({(16, 20): values(box=(3, -2, 20, 30))}, size=(32, 48), scale=2.0)
    assert shapes == [(64, 96)]
    x, y = (20.5 * 4 - MARGIN_PX) + 3, (16.5 * 4 - MARGIN_PX) - 2 + LOWERED * 30
    half = 30 * TALLER / 2
    np.testing.assert_allclose(found.boxes, [np.array([x - 10, y - half, x + 10, y + half]) / 2], rtol=1e-5)
    assert found.scores.tolist() == pytest.approx([1 / (1 + np.exp(-2.0))])
    assert (found.labels, found.detectors) == (("face",), ("mediapipe",))


def test_the_corners_of_the_mouth_lie_along_the_eyes():
    found, _ = find({(16, 20): values()})
    at = np.array([20.5, 16.5]) * 4 - MARGIN_PX
    expected = [[-10, -8], [10, -8], [0, 0], [1 - 20 * MOUTH, 9], [1 + 20 * MOUTH, 9]]
    np.testing.assert_allclose(found.landmarks[0], at + expected, rtol=1e-5)


def test_large_images_are_seen_at_smaller_sizes_too():
    assert find({}, size=(640, 1024))[1] == [(640, 1024), (160, 256), (64, 64)]
    assert find({}, size=(100, 190))[1] == [(128, 192)]


def test_what_lies_in_the_margin_is_dropped_and_nms_keeps_the_best():
    cells = {(16, 20): values(1.0), (16, 21): values(3.0), (3, 20): values(4.0), (16, 33): values(4.0)}
    found, _ = find(cells)
    assert found.scores.tolist() == pytest.approx([1 / (1 + np.exp(-3.0))])
    assert len(find({(16, 20): values(-0.1)})[0]) == 0
    assert len(find({(16, 20): values(-0.1)}, threshold=0.4)[0]) == 1


@pytest.mark.parametrize(
    "spoilt", [values(np.nan), values(np.inf), values(box=(0, 0, np.nan, 1)), values(box=(np.inf, 0, 1, 1))]
)
def test_outputs_that_are_not_finite_withhold_the_image(spoilt):
    with pytest.raises(WithheldError, match="not finite") as caught:
        find({(16, 20): spoilt})
    assert caught.value.reason == "detect"


@pytest.fixture(scope="module")
def store():
    return ModelStore(Storage(), ModelsConfig())


def test_a_face_is_found_from_small_to_as_large_as_the_image(store):
    import cv2
    from skimage.data import astronaut

    detector = build_detector(DetectConfig(detectors="mediapipe", preset="fast"), Runtime(store))
    for factor in (0.15, 0.5, 2, 4):
        how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        pixels = cv2.resize(astronaut(), None, fx=factor, fy=factor, interpolation=how)
        [found] = detector.detect([Preview("sized", pixels)])
        assert pairwise_iou(found.boxes, FACE[None] * factor).max() > 0.6, factor


def test_the_bundled_network_adds_its_margin(store):
    network = open_network("onnxruntime", store.load("mediapipe"), threads=1, device="cpu")
    inner = np.random.default_rng(3).integers(0, 256, (1, 3, 64, 96)).astype(np.float32)
    [cells] = network.run(inner)
    assert cells.shape == (1, CHANNELS, 32, 40)


def test_the_tool_refuses_another_file(tmp_path):
    other = tmp_path / "other.tflite"
    other.write_bytes(b"other")
    with pytest.raises(SystemExit, match="expected 99bf9494"):
        read_source(other)
