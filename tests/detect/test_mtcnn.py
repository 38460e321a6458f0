from __future__ import annotations

import itertools
import json

import mtcnn_reference
import numpy as np
import pytest
from external_data import PHOTOS, needs_data

from anon_batch.config import DetectConfig, ModelsConfig
from anon_batch.detect.ensemble import build_detector
from anon_batch.detect.mtcnn import MODELS, MtcnnFinder, MtcnnOptions, cut_square
from anon_batch.errors import ConfigError, WithheldError
from anon_batch.geometry import pairwise_iou
from anon_batch.models.network import SynchronousNetwork
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.records import Preview
from anon_batch.storage import Storage
from tools.convert_mtcnn import NETWORKS, convert, read_source

RUNTIME = Runtime(ModelStore(Storage(), ModelsConfig()))
POINTS = [0.3, 0.7, 0.5, 0.35, 0.65, 0.4, 0.4, 0.6, 0.8, 0.8]  # five x, five y


class FakeMap(SynchronousNetwork):
    """Logits of -30 but at given cells (row, column) -> 5 values, at the first of the image's sizes."""

    def __init__(self, cells, batch_size=1):
        self.cells, self.batch_size, self.shapes = cells, batch_size, []

    def run(self, batch):
        count, _, height, width = batch.shape
        values = np.full((count, 5, (height - 10) // 2, (width - 10) // 2), -30, np.float32)
        if not self.shapes or self.shapes[0] == batch.shape[2:]:
            for (row, column), own in self.cells.items():
                values[:, :, row, column] = own
        self.shapes.append(batch.shape[2:])
        return [values]


class FakeLook(SynchronousNetwork):
    """Gives each window the same values, or a logit that tells how bright it is."""

    def __init__(self, values, batch_size=1, bright=False):
        self.values, self.batch_size, self.bright, self.calls = np.float32(values), batch_size, bright, []

    def run(self, batch):
        self.calls.append(batch)
        out = np.tile(self.values[None, :, None, None], (len(batch), 1, 1, 1))
        if self.bright:
            out[:, 0, 0, 0] = batch.mean(axis=(1, 2, 3)) / 25 - 2
        return [out]


def finder(cells, second=(5, 0, 0, 0, 0), third=(3, 0, 0, 0, 0, *POINTS), batch_size=1, **options):
    networks = [FakeMap(cells, batch_size), FakeLook(second, batch_size), FakeLook(third, batch_size)]
    return MtcnnFinder(networks, MtcnnOptions(**options), threshold=0.5), networks


def test_a_window_is_moved_by_each_network_and_points_count_from_the_last():
    found_by, networks = finder(
        {(4, 6): [4, 0.5, 0, 0.5, 0]}, second=(5, 0, 0.25, 0, 0.25), third=(2, -0.5, 0, 0.5, 0, *POINTS), min_face_px=24
    )
    [found] = found_by.find([np.zeros((96, 128, 3), np.uint8)], [1.0])
    assert networks[0].shapes[0] == (48, 64)
    # The cell's window of 12 px at (12, 8) is (24, 16) to (48, 40) in the piece; it moves right by half, down by a quarter.
    np.testing.assert_allclose(found.landmarks[0, 0], [36 + 0.3 * 24, 22 + 0.4 * 24], rtol=1e-5)
    np.testing.assert_allclose(found.boxes, [[24, 22, 72, 46]], rtol=1e-5)
    assert found.scores.tolist() == pytest.approx([1 / (1 + np.exp(-2.0))])
    assert (found.labels, found.detectors) == (("face",), ("mtcnn",))


def test_the_smallest_face_and_the_scale_set_the_sizes():
    found_by, networks = finder({}, min_face_px=24)
    found_by.find([np.zeros((96, 192, 3), np.uint8)], [0.5])
    assert networks[0].shapes == [(24, 48), (17, 34), (12, 24)]
    found_by.find([np.zeros((23, 4000, 3), np.uint8)], [0.5])
    assert len(networks[0].shapes) == 3, "no face of 24 px fits in there"


def test_each_threshold_applies():
    cells = {(4, 6): [0, 0, 0, 0, 0]}  # a score of 0.5
    piece = np.zeros((60, 60, 3), np.uint8)
    for options, count in (
        ({}, 1),
        ({"proposal_threshold": 0.6}, 0),
        ({"window_threshold": 0.999}, 0),
    ):
        [found] = finder(cells, **options)[0].find([piece], [1.0])
        assert len(found) == count, options
    assert len(finder(cells, third=(-0.1, 0, 0, 0, 0, *POINTS))[0].find([piece], [1.0])[0]) == 0


def test_windows_of_several_images_share_calls_and_keep_their_images():
    piece = np.zeros((3, 64, 64, 3), np.uint8)
    piece[1], piece[2] = 200, 90
    cells = {(2, 2): [4, 0, 0, 0, 0], (2, 14): [4, 0, 0, 0, 0]}
    results = []
    for batch_size in (1, 4):
        found_by, networks = finder(cells, batch_size=batch_size)
        networks[2] = FakeLook((0, 0, 0, 0, 0, *POINTS), batch_size, bright=True)
        results.append(found_by.find(list(piece), [1.0] * 3))
        assert {len(call) for call in networks[2].calls} == {batch_size}
    assert [len(own) for own in results[0]] == [0, 2, 2]
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.scores, other.scores)


def test_a_face_inside_a_surer_one_is_the_same_face():
    cells = {(2, 2): [4, 0, 0, 0, 0], (3, 4): [4, 0.25, 0.25, -0.25, -0.25]}
    [found] = finder(cells)[0].find([np.zeros((60, 60, 3), np.uint8)], [1.0])
    assert len(found) == 1


@pytest.mark.parametrize("network", [0, 1, 2])
@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_not_finite_withhold_the_image(network, at, value):
    values = [[4, 0, 0, 0, 0], [4, 0, 0, 0, 0], [4, 0, 0, 0, 0, *POINTS]]
    values[network][at] = value
    found_by, _ = finder({(2, 2): values[0]}, *values[1:])
    with pytest.raises(WithheldError, match="not finite") as caught:
        found_by.find([np.zeros((60, 60, 3), np.uint8)], [1.0])
    assert caught.value.reason == "detect"


def test_a_window_is_black_beyond_the_image():
    pixels = np.full((20, 20, 3), 200, np.uint8)
    cut = cut_square(pixels, np.float32([-10, 10, 10, 30]), 24)
    assert (cut[:12, 12:] == 200).all()
    assert not cut[:, :12].any()
    assert not cut[12:].any()
    assert not cut_square(pixels, np.float32([30, 30, 50, 50]), 24).any()
    assert cut_square(pixels, np.float32([5, 5, 5.2, 5.2]), 24).shape == (24, 24, 3)
    assert cut_square(pixels, np.float32([-1e9, -1e9, 1e9, 1e9]), 24).shape == (24, 24, 3)


def test_openvino_and_unknown_options_are_refused():
    with pytest.raises(ConfigError, match=r"mtcnn.*openvino"):
        build_detector(DetectConfig(detectors="mtcnn", backend="openvino"), RUNTIME)
    with pytest.raises(ConfigError, match=r"detect\.detectors\.mtcnn\.options\.min_face"):
        build_detector(DetectConfig(detectors=[{"name": "mtcnn", "options": {"min_face": 20}}]), RUNTIME)


def random_weights(name):
    rng = np.random.default_rng(5)
    sides = {"pnet": (3, 10, 16, 32), "rnet": (3, 28, 48, 64, 128), "onet": (3, 32, 64, 64, 128, 256)}[name]
    out = {}
    for (layer, _, whole), (before, after) in zip(NETWORKS[name].convolutions, itertools.pairwise(sides), strict=True):
        kernel = 2 if (name, layer) in (("rnet", "conv3"), ("onet", "conv4")) else 3
        shape = (after, before * whole * whole) if whole else (after, before, kernel, kernel)
        out[f"{layer}.weight"] = rng.normal(0, 0.1, shape).astype(np.float16).astype(np.float32)
        out[f"{layer}.bias"] = rng.normal(0, 0.1, after).astype(np.float32)
        out[f"prelu{layer[-1]}.weight"] = rng.normal(0, 0.5, after).astype(np.float32)
    for head, channels in zip(NETWORKS[name].heads, (2, 4, 10), strict=False):
        shape = (channels, sides[-1]) + ((1, 1) if name == "pnet" else ())
        out[f"{head}.weight"] = (rng.integers(-9, 10, shape) / 64).astype(
            np.float32
        )  # whose differences are exact in float16
        out[f"{head}.bias"] = rng.normal(0, 0.1, channels).astype(np.float32)
    return out


@pytest.mark.parametrize("name", NETWORKS)
def test_a_converted_network_gives_what_the_published_one_does(name):
    import torch

    from anon_batch.models.backends import open_network

    weights, side = random_weights(name), {"pnet": 31, "rnet": 24, "onet": 48}[name]
    batch = np.random.default_rng(6).integers(0, 256, (1, 3, side, side)).astype(np.float32)
    [out] = open_network("onnxruntime", convert(name, weights), threads=1, device="cpu").run(batch)
    state = {key: torch.from_numpy(value) for key, value in weights.items()}
    likely, *rest = mtcnn_reference.run(name, state, torch.from_numpy(batch))
    np.testing.assert_allclose(1 / (1 + np.exp(-out[:, 0])).ravel(), likely.numpy().ravel(), atol=1e-4)
    expected = np.concatenate([part.numpy().reshape(1, part.shape[1], -1) for part in rest], axis=1)
    np.testing.assert_allclose(out[:, 1:].reshape(expected.shape), expected, atol=2e-3, rtol=1e-3)


def test_the_tool_refuses_another_file(tmp_path):
    (tmp_path / "pnet.pt").write_bytes(b"other")
    with pytest.raises(SystemExit, match="expected a2a71925"):
        read_source(tmp_path, "pnet")


def bundled_weights():
    """Return the weights of the bundled files under the names of the published ones."""
    import onnx
    import torch
    from onnx import numpy_helper

    state = {}
    for name, model in zip(NETWORKS, MODELS, strict=True):
        graph = onnx.load_model_from_string(RUNTIME.store.load(model)).graph
        held = {tensor.name: numpy_helper.to_array(tensor).astype(np.float32) for tensor in graph.initializer}
        own = {}
        for layer, _, whole in NETWORKS[name].convolutions:
            weight = held[f"{layer}.half"] if f"{layer}.half" in held else held[f"{layer}.weight"] * 128
            own[f"{layer}.weight"] = weight.transpose(0, 3, 2, 1).reshape(len(weight), -1) if whole else weight
            own[f"{layer}.bias"], own[f"prelu{layer[-1]}.weight"] = (
                held[f"{layer}.bias"],
                held[f"{layer}.slope"].ravel(),
            )
        rows, biases = held["found.half"], held["found.bias"]
        if name != "pnet":
            rows = rows[:, :, 0, 0]
        ends = np.cumsum([1, 4, 10])
        for head, stop, first in zip(NETWORKS[name].heads, ends, (0, *ends), strict=False):
            own[f"{head}.weight"], own[f"{head}.bias"] = rows[first:stop], biases[first:stop]
        face = NETWORKS[name].heads[0]  # the logit of no face is 0
        own[f"{face}.weight"] = np.concatenate([own[f"{face}.weight"] * 0, own[f"{face}.weight"]])
        own[f"{face}.bias"] = np.concatenate([own[f"{face}.bias"] * 0, own[f"{face}.bias"]])
        state[name] = {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in own.items()}
    return state


@pytest.mark.accuracy
@needs_data(PHOTOS)
def test_on_photographs_it_finds_what_a_plain_implementation_finds():
    from PIL import Image

    config = DetectConfig(detectors=[{"name": "mtcnn", "threshold": 0.5}], rotated=False)
    detector, weights = build_detector(config, RUNTIME), bundled_weights()
    ours = theirs = both = 0
    apart, points = [], []
    for entry in json.loads((PHOTOS / "boxes.json").read_text())[:16]:
        with Image.open(PHOTOS / "images" / entry["file"]) as file:
            pixels = np.asarray(file.convert("RGB"))
        [found] = detector.detect([Preview(entry["file"], pixels)])
        boxes, scores, marks = mtcnn_reference.detect(weights, pixels, 12, (0.3, 0.2, 0.5))
        overlaps = pairwise_iou(found.boxes, boxes.astype(np.float32))
        ours, theirs, both = ours + len(found), theirs + len(boxes), both + int((overlaps >= 0.5).any(axis=1).sum())
        for row in np.flatnonzero((overlaps >= 0.5).any(axis=1)):
            at = int(overlaps[row].argmax())
            apart.append(abs(float(found.scores[row] - scores[at])))
            side = float((found.boxes[row, 2:] - found.boxes[row, :2]).max())
            points.append(float(np.abs(found.landmarks[row] - marks[at]).max()) / side)
    median, at = np.median(apart), np.median(points)
    print(
        f"{ours} faces, {theirs} by the plain one, {both} the same; median apart: score {median:.4f}, points {at:.4f}"
    )
    assert both >= 0.9 * max(ours, theirs)
    assert median < 0.02
    assert at < 0.03
