from __future__ import annotations

import hashlib

import numpy as np
import pytest
from drawn_plates import PLATE, car_with_plate

from anon_batch.config import DetectConfig, ModelsConfig
from anon_batch.detect.ensemble import build_detector
from anon_batch.detect.licence_plate import ANCHORS, CHANNELS, SIDES_PX, STRIDES_PX, LicencePlate
from anon_batch.detect.turn import turn_detections
from anon_batch.errors import WithheldError
from anon_batch.geometry import pairwise_iou
from anon_batch.imaging.orientation import inverse_of, turn_upright
from anon_batch.models.network import SynchronousNetwork
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.records import Preview
from anon_batch.storage import Storage
from tools.convert_plate_detector import MEMBER, _by_anchor, read_source

CORNERS = [
    1.0,
    0.5,
    -1.0,
    0.5,
    -1.0,
    -0.5,
    1.0,
    -0.5,
]  # from the bottom right, clockwise, in tenths of the anchor's side


class FakeNetwork(SynchronousNetwork):
    """Logits of -30 but at given anchors (map, row, column, anchor) -> 13 values; records the shapes of its batches."""

    def __init__(self, anchors, batch_size=1):
        self.anchors, self.batch_size, self.shapes = anchors, batch_size, []

    def run(self, batch):
        self.shapes.append(batch.shape)
        count, _, height, width = batch.shape
        maps = [np.full((count, ANCHORS * CHANNELS, height // s, width // s), -30, np.float32) for s in STRIDES_PX]
        for (level, row, column, anchor), values in self.anchors.items():
            maps[level][:, anchor * CHANNELS : (anchor + 1) * CHANNELS, row, column] = values
        return maps


def values(logit=2.0, box=(0, 0, 0, 0), corners=CORNERS):
    return np.float32([logit, *box, *corners])


@pytest.mark.parametrize("anchor", [0, 1])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_an_anchor_is_decoded_in_px_of_the_piece(level, anchor):
    box = (1.0, -2.0, 5 * np.log(0.5), 5 * np.log(0.25))
    network = FakeNetwork({(level, 1, 2, anchor): values(box=box, corners=[0] * 8)})
    [found] = LicencePlate(network, 0.5).find([np.zeros((48, 64, 3), np.uint8)], [1.5])  # sees 96 x 72 in 96 x 96
    assert network.shapes == [(1, 3, 96, 96)]
    side, stride = SIDES_PX[level][anchor], STRIDES_PX[level]
    middle = np.float64([2.5, 1.5]) * stride
    centre, half = middle + np.float64([0.1, -0.2]) * side, np.float64([0.25, 0.125]) * side
    low, high = np.minimum(centre - half, middle), np.maximum(centre + half, middle)
    np.testing.assert_allclose(found.boxes[0], np.concatenate([low, high]) / 1.5, rtol=1e-4)
    assert found.scores.tolist() == pytest.approx([1 / (1 + np.exp(-2.0))])
    assert (found.labels, found.detectors) == (("licence_plate",), ("licence_plate",))


def test_landmarks_are_the_corners_in_reading_direction_and_lie_in_the_box():
    corners = np.float32([3.0, 0.6, -3.0, 0.4, -3.1, -0.7, 3.2, -0.5])
    [found] = LicencePlate(FakeNetwork({(0, 4, 4, 1): values(corners=corners)}), 0.5).find(
        [np.zeros((64, 64, 3), np.uint8)], [1.0]
    )
    at = (36 + corners.reshape(4, 2) * 4.8).astype(np.float32)
    np.testing.assert_allclose(found.landmarks[0], [at[2], at[3], at.mean(axis=0), at[1], at[0]], rtol=1e-5)
    low, high = found.boxes[0, :2], found.boxes[0, 2:]
    assert ((found.landmarks[0] >= low) & (found.landmarks[0] <= high)).all()


def test_nms_keeps_the_best_and_the_threshold_applies():
    near = {(0, 2, 2, 1): values(1.0), (0, 2, 3, 1): values(3.0), (0, 8, 8, 0): values(-1.0)}
    piece = np.zeros((96, 96, 3), np.uint8)
    [found] = LicencePlate(FakeNetwork(near), 0.2).find([piece], [1.0])
    assert found.scores.tolist() == pytest.approx([1 / (1 + np.exp(-3.0)), 1 / (1 + np.exp(1.0))])
    assert len(LicencePlate(FakeNetwork(near), 0.3).find([piece], [1.0])[0]) == 1


@pytest.mark.parametrize(
    "spoilt",
    [
        values(np.nan),
        values(np.inf),
        values(box=(0, np.nan, 0, 0)),
        values(box=(0, 0, 1e4, 0)),
        values(corners=[np.nan] * 8),
    ],
)
def test_outputs_that_are_not_finite_withhold_the_image(spoilt):
    with pytest.raises(WithheldError, match="not finite") as caught:
        LicencePlate(FakeNetwork({(0, 1, 1, 0): spoilt}), 0.5).find([np.zeros((64, 64, 3), np.uint8)], [1.0])
    assert caught.value.reason == "detect"


def detector(**keys):
    return build_detector(DetectConfig(**keys), Runtime(ModelStore(Storage(), ModelsConfig())))


def test_a_plate_that_fills_the_image_is_found_by_the_smaller_look():
    x1, y1, x2, y2 = PLATE
    near = np.ascontiguousarray(
        car_with_plate()[y1 - 10 : y2 + 10, x1 - 20 : x2 + 20].repeat(8, axis=0).repeat(8, axis=1)
    )
    [found] = detector(detectors="licence_plate").detect([Preview("near", near)])
    there = np.float32([[160, 80, 160 + 8 * (x2 - x1), 80 + 8 * (y2 - y1)]])
    assert pairwise_iou(found.boxes, there).max() > 0.5


def test_a_plate_in_a_large_image_is_found_in_its_window():
    canvas = np.full((1700, 2600, 3), 120, np.uint8)
    canvas[900:1412, 1800:2312] = car_with_plate()
    [found] = detector(detectors="licence_plate").detect([Preview("large", canvas)])
    assert pairwise_iou(found.boxes, np.float32([PLATE]) + np.float32([1800, 900, 1800, 900])).max() > 0.6


@pytest.mark.parametrize("position", [3, 6, 8])
def test_a_plate_in_a_rotated_image_is_found_with_its_corners(position):
    view = Preview("turned", turn_upright(car_with_plate(), inverse_of(position)))
    [found] = detector(detectors="licence_plate").detect([view])
    [upright] = detector(detectors="licence_plate").detect([Preview("upright", car_with_plate())])
    turned = turn_detections(found, view.width, view.height, position)
    assert pairwise_iou(turned.boxes, np.float32([PLATE])).max() > 0.6
    corners, there = (
        turned.landmarks[0],
        upright.landmarks[0],
    )  # the network reads plates on their heads the wrong way round
    assert min(np.abs(corners - there).max(), np.abs(corners[::-1] - there).max()) < 12
    if position != 3:
        assert len(detector(detectors="licence_plate", rotated=False).detect([view])[0]) == 0


def test_beside_a_detector_of_faces_each_keeps_its_label_and_its_boxes():
    from skimage.data import astronaut

    image = Preview("both", np.concatenate([astronaut(), car_with_plate()], axis=1))
    [both] = detector(detectors=["centerface", "licence_plate"]).detect([image])
    [faces] = detector(detectors=["centerface"]).detect([image])
    assert both.labels == ("face", "licence_plate")
    np.testing.assert_array_equal(both.take(np.array([0])).boxes, faces.boxes)


def test_the_tool_refuses_another_file_and_joins_heads_by_anchor(tmp_path):
    other = tmp_path / "clp_det.onnx"
    other.write_bytes(b"other")
    with pytest.raises(SystemExit, match=hashlib.sha256(b"other").hexdigest()):
        read_source(other)
    assert MEMBER.endswith("clp_det.onnx")
    parts = [np.arange(ANCHORS * channels, dtype=np.float32) for channels in (2, 4, 8)]
    joined = _by_anchor(parts).reshape(ANCHORS, CHANNELS)
    assert joined[:, 0].tolist() == [1, 1]  # plate minus nothing
    np.testing.assert_array_equal(joined[:, 1:5], parts[1].reshape(ANCHORS, 4))
    np.testing.assert_array_equal(joined[:, 5:], parts[2].reshape(ANCHORS, 8))
