from __future__ import annotations

import numpy as np
import pytest

from anon_batch.detect.text import UNCLIP, TextFinder
from anon_batch.errors import ModelError, WithheldError
from anon_batch.models.backends import open_network
from anon_batch.models.network import SynchronousNetwork
from anon_batch.models.text_graph import prepare_text_network


class FakeNetwork(SynchronousNetwork):
    """Gives areas (x1, y1, x2, y2) -> how likely they are text, 0 elsewhere."""

    batch_size = 1

    def __init__(self, areas):
        self.areas = areas

    def run(self, batch):
        count, _, height, width = batch.shape
        likely = np.zeros((count, 1, height, width), np.float32)
        for (x1, y1, x2, y2), value in self.areas.items():
            likely[:, :, y1:y2, x1:x2] = value
        return [likely]


def found_in(areas, threshold=0.5, size=(96, 128), scale=1.0):
    [found] = TextFinder(FakeNetwork(areas), threshold).find([np.zeros((*size, 3), np.uint8)], [scale])
    return found


def test_a_line_grows_by_its_area_and_counts_in_px_of_the_piece():
    found = found_in({(20, 40, 60, 50): 0.8}, size=(48, 64), scale=2.0)
    grow = UNCLIP * 40 * 10 / (2 * (40 + 10))
    np.testing.assert_allclose(found.boxes, [np.array([20 - grow, 40 - grow, 60 + grow, 50 + grow]) / 2], rtol=1e-5)
    assert found.scores.tolist() == pytest.approx([0.8])
    assert (found.labels, found.detectors) == (("text",), ("text",))
    assert np.isnan(found.landmarks).all()


def test_areas_that_touch_are_one_line_and_others_are_not():
    found = found_in({(10, 10, 30, 20): 0.9, (30, 15, 50, 20): 0.7, (60, 10, 90, 20): 0.6})
    assert len(found) == 2
    assert sorted(found.scores.tolist()) == pytest.approx([0.6, (200 * 0.9 + 100 * 0.7) / 300])


def test_faint_areas_and_specks_are_no_text():
    areas = {(10, 10, 30, 20): 0.29, (40, 40, 42, 60): 0.9, (60, 10, 90, 20): 0.45}
    assert len(found_in(areas)) == 0
    assert len(found_in(areas, threshold=0.4)) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_withhold_the_image(value):
    with pytest.raises(WithheldError, match="not finite") as caught:
        found_in({(0, 0, 1, 1): value})
    assert caught.value.reason == "detect"


def small_network():
    """Return an ONNX file whose output is the first channel of its input, BGR -1..1."""
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.float32([1, 0, 0]).reshape(1, 3, 1, 1), "w")
    node = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[1, 1])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 3, "H", "W"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", 1, "H", "W"])
    graph = helper.make_graph([node], "g", [x], [y], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()


def test_the_prepared_network_takes_rgb_as_it_is():
    network = open_network("onnxruntime", prepare_text_network(small_network()), threads=1, device="cpu")
    batch = np.zeros((1, 3, 2, 2), np.float32)
    batch[:, 2] = 255  # blue, the first channel of BGR
    np.testing.assert_allclose(network.run(batch)[0], 1, atol=1e-6)
    np.testing.assert_allclose(network.run(batch * 0)[0], -1, atol=1e-6)


def test_another_file_is_refused():
    with pytest.raises(ModelError):
        prepare_text_network(b"rotten")
