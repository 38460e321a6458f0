from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from external_data import MODELS as WEIGHTS
from external_data import skip_without_weights
from yunet_networks import COLOUR_BOX, COLOUR_MARKS, colour_network

from anon_batch.config import DetectConfig, ModelsConfig
from anon_batch.detect import yunet
from anon_batch.detect.ensemble import build_detector
from anon_batch.detect.yunet import YuNet
from anon_batch.errors import ConfigError, WithheldError
from anon_batch.geometry import pairwise_iou
from anon_batch.models.backends import open_network
from anon_batch.models.network import SynchronousNetwork
from anon_batch.models.registry import MODELS
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.models.yunet_graph import prepare_yunet
from anon_batch.records import Preview
from anon_batch.storage import Storage

PHOTOS = Path(__file__).parents[2] / "manifests/sample/photos"


class FakeNetwork(SynchronousNetwork):
    """Logits of -30 but at given cells (map, row, column) -> 16 values; records its batches."""

    def __init__(self, cells, batch_size=1):
        self.cells, self.batch_size, self.batches = cells, batch_size, []

    def run(self, batch):
        self.batches.append(batch.copy())
        count, _, height, width = batch.shape
        maps = [np.full((count, 16, height // stride, width // stride), -30, np.float32) for stride in (8, 16, 32)]
        for (level, row, column), values in self.cells.items():
            maps[level][:, :, row, column] = values
        return maps


LOG_2 = np.log(2)


def cell(cls=2.0, obj=1.0, box=(0.5, 0.25, 0.0, LOG_2), marks=range(10)):
    return np.float32([cls, obj, *box, *marks])


def sigmoid(logit):
    return 1 / (1 + np.exp(-logit))


@pytest.mark.parametrize(("level", "stride"), [(0, 8), (1, 16), (2, 32)])
def test_a_cell_is_decoded_in_px_of_the_piece(level, stride):
    network = FakeNetwork({(level, 1, 2): cell()})
    [found] = YuNet("yunet", network, 0.5).find([np.zeros((48, 64, 3), np.uint8)], [1.5])  # sees 96 x 72 in 96 x 96
    assert network.batches[0].shape == (1, 3, 96, 96)
    centre, sides = np.float64([2.5, 1.25]) * stride, np.float64([1, 2]) * stride
    np.testing.assert_allclose(
        found.boxes[0], np.concatenate([centre - sides / 2, centre + sides / 2]) / 1.5, rtol=1e-5
    )
    marks = (np.arange(10).reshape(5, 2) + np.asarray([2, 1])) * stride / 1.5
    np.testing.assert_allclose(found.landmarks[0], marks, rtol=1e-5)
    assert found.scores.tolist() == pytest.approx([np.sqrt(sigmoid(2.0) * sigmoid(1.0))])
    assert found.detectors == ("yunet",)


@pytest.mark.parametrize("backend", ["onnxruntime", "torch", "openvino"])
def test_a_small_network_finds_what_it_was_built_to_find(backend):
    if backend == "openvino":
        pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    network = open_network(backend, prepare_yunet(colour_network()), threads=1, device="cpu")
    pixels = np.zeros((96, 128, 3), np.uint8)
    places = {0: (8, 7, 2), 1: (16, 1, 4), 2: (32, 2, 0)}  # colour: side and stride, row, column of a cell
    for colour, (px, row, column) in places.items():
        pixels[row * px : (row + 1) * px, column * px : (column + 1) * px, colour] = 255
    [found] = YuNet("small", network, 0.5).find([pixels], [1.0])
    assert len(found) == 3
    dx, dy, log_width, log_height = COLOUR_BOX
    for px, row, column in places.values():
        cx, cy, half = (column + dx) * px, (row + dy) * px, np.exp([log_width, log_height]) * px / 2
        box = np.float32([[cx - half[0], cy - half[1], cx + half[0], cy + half[1]]])
        at = int(pairwise_iou(found.boxes, box)[:, 0].argmax())
        np.testing.assert_allclose(found.boxes[at], box[0], atol=0.01 * px if backend == "openvino" else 1e-3)
        marks = (np.reshape(COLOUR_MARKS, (5, 2)) + np.asarray([column, row])) * px
        np.testing.assert_allclose(found.landmarks[at], marks, atol=0.01 * px if backend == "openvino" else 1e-3)
    assert found.scores == pytest.approx(np.sqrt(sigmoid(5.5) * sigmoid(3.5)), abs=2e-3)


def test_nms_keeps_the_best_and_the_threshold_applies():
    near = {(0, 2, 2): cell(cls=1), (0, 2, 3): cell(cls=3, box=(-0.4, 0.25, 0, LOG_2)), (0, 8, 8): cell(cls=-4, obj=9)}
    weak = np.sqrt(sigmoid(-4) * sigmoid(9))
    piece = np.zeros((96, 96, 3), np.uint8)
    [found] = YuNet("yunet", FakeNetwork(near), weak - 0.001).find([piece], [1.0])
    assert found.scores.tolist() == pytest.approx([np.sqrt(sigmoid(3) * sigmoid(1)), weak])
    [found] = YuNet("yunet", FakeNetwork(near), weak + 0.001).find([piece], [1.0])
    assert len(found) == 1


def test_every_slot_of_a_batch_is_decoded_for_itself():
    class ByColour(FakeNetwork):
        def run(self, batch):
            maps = super().run(batch)
            for slot, image in enumerate(batch):
                maps[0][slot, :, 1, int(image.max())] = cell()
            return maps

    pieces = [np.full((64, 64, 3), value, np.uint8) for value in (1, 2, 3)]
    network = ByColour({}, batch_size=2)
    found = YuNet("yunet", network, 0.5).find(pieces, [1.0] * 3)
    assert len(network.batches) == 2
    assert [own.boxes[0].tolist() for own in found] == [[8 * n, 2, 8 * n + 8, 18] for n in (1, 2, 3)]


@pytest.mark.parametrize(
    "spoilt",
    [
        {(1, 0, 0): cell(cls=np.nan)},
        {(2, 0, 0): cell(obj=np.inf)},
        {(0, 1, 1): cell(box=(0, np.nan, 0, 0))},
        {(0, 1, 1): cell(box=(0, 0, 200, 0))},
    ],
)
def test_outputs_that_are_not_finite_withhold_the_image(spoilt):
    with pytest.raises(WithheldError, match="not finite") as caught:
        YuNet("yunet", FakeNetwork(spoilt), 0.5).find([np.zeros((64, 64, 3), np.uint8)], [1.0])
    assert caught.value.reason == "detect"


def test_landmarks_that_are_not_finite_become_nan():
    network = FakeNetwork({(0, 1, 1): cell(marks=[np.nan, *range(9)])})
    [found] = YuNet("yunet", network, 0.5).find([np.zeros((64, 64, 3), np.uint8)], [1.0])
    assert len(found) == 1
    assert np.isnan(found.landmarks).all()


@pytest.fixture(params=["yunet", "yunet_n"])
def real(request):
    filename = MODELS[request.param].filename
    skip_without_weights(filename)
    return request.param, (WEIGHTS / filename).read_bytes()


@pytest.fixture(scope="module")
def images():
    """Photographs whose sides are multiples of 32 px: nobody has to pad or resize them."""
    files = sorted(path for path in PHOTOS.rglob("*") if path.suffix.lower() in (".jpg", ".png"))
    images = [cv2.imread(str(path)) for path in files]
    assert len(images) > 5
    shown = []
    for bgr in images:
        zoom = min(1, 640 / max(bgr.shape))
        size = [max(32, int(side * zoom) // 32 * 32) for side in bgr.shape[1::-1]]
        shown.append(np.ascontiguousarray(cv2.resize(bgr, size, interpolation=cv2.INTER_AREA)[:, :, ::-1]))
    return shown


def rows_of_opencv(data, threshold, pixels):
    """What FaceDetectorYN finds, nothing suppressed: (N, 15) x, y, width, height, five landmarks, score."""
    nothing = np.zeros(0, np.uint8)
    size = pixels.shape[1::-1]
    theirs = cv2.FaceDetectorYN.create("onnx", np.frombuffer(data, np.uint8), nothing, size, threshold, 1.0, 100_000)
    rows = theirs.detect(np.ascontiguousarray(pixels[:, :, ::-1]))[1]
    return np.zeros((0, 15), np.float32) if rows is None else rows


def test_candidates_are_those_of_opencv(real, images, monkeypatch):
    name, data = real
    monkeypatch.setattr(yunet, "NMS_IOU", 1.1)
    network = open_network("onnxruntime", prepare_yunet(data), threads=1, device="cpu")
    compared = 0
    for pixels in images:
        [found] = YuNet(name, network, 0.1).find([pixels], [1.0])
        rows = rows_of_opencv(data, 0.1, pixels)
        rows, sure = rows[rows[:, 14] > 0.101], found.take(np.flatnonzero(found.scores > 0.1005))
        assert len(found) >= len(rows) >= len(sure) - np.sum(sure.scores < 0.1015)
        for row in rows:
            box = np.concatenate([row[:2], row[:2] + row[2:4]])
            at = int(np.abs(found.boxes - box).max(axis=1).argmin())
            np.testing.assert_allclose(found.boxes[at], box, atol=0.01)
            np.testing.assert_allclose(found.landmarks[at].ravel(), row[4:14], atol=0.01)
            assert found.scores[at] == pytest.approx(row[14], abs=1e-4)
        compared += len(rows)
    assert compared > 100


def test_a_device_without_the_backend_is_refused(real, tmp_path):
    store = ModelStore(Storage(), ModelsConfig(mirror=str(WEIGHTS), cache=str(tmp_path)))
    with pytest.raises(ConfigError, match="runs on the CPU"):
        build_detector(DetectConfig(detectors=real[0], backend="onnxruntime"), Runtime(store, device="cuda"))


def test_with_centerface_and_in_windows(real, tmp_path):
    from skimage.data import astronaut

    store = ModelStore(Storage(), ModelsConfig(mirror=str(WEIGHTS), cache=str(tmp_path)))
    face = np.float32([[178, 62, 270, 177]])
    canvas = np.zeros((700, 1100, 3), np.uint8)
    canvas[100:612, 500:1012] = astronaut()
    there = face + np.float32([500, 100, 500, 100])
    ours = {"name": real[0], "threshold": 0.5}
    for detectors in ([ours], [{"name": "centerface"}, ours], [ours, {"name": "centerface"}]):
        config = DetectConfig(detectors=detectors, tile={"size_px": 480, "overlap_px": 200})
        [found] = build_detector(config, Runtime(store)).detect([Preview("large", canvas)])
        assert len(found) == 1
        assert pairwise_iou(found.boxes, there)[0, 0] > 0.7
        assert found.detectors == (detectors[0]["name"],)
