from __future__ import annotations

import json

import cv2
import numpy as np
import onnx
import pytest

from anon_batch.config import ModelsConfig
from anon_batch.models.backends import OnnxRuntimeNetwork
from anon_batch.models.onnx_graph import prepare_image_network
from anon_batch.models.store import ModelStore
from anon_batch.storage import Storage
from tools.quantise_detector import CANVAS, HEADS, accuracy, batch_of, canvases, quantise, read_crops, read_scenes

FACE = (28, 22, 92, 115)  # x, y, width, height in the crop of the astronaut


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    from skimage.data import astronaut, coffee

    folder = tmp_path_factory.mktemp("faces")
    (folder / "crops").mkdir()
    cv2.imwrite(str(folder / "crops/a.jpg"), astronaut()[40:190, 150:300, ::-1])
    lines = [{"file": "a.jpg", "box": FACE}, {"file": "none.jpg", "box": FACE, "pad": 0.2}]
    (folder / "meta.jsonl").write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    cv2.imwrite(str(folder / "scene.png"), coffee())
    crops, scenes = read_crops([folder]), read_scenes([folder / "scene.png"])
    return list(canvases(np.random.default_rng(4), crops, scenes, 6))


@pytest.fixture(scope="module")
def networks(made):
    published = ModelStore(Storage(), ModelsConfig()).load("centerface")
    return prepare_image_network(published), prepare_image_network(quantise(published, [batch_of(c) for c in made[:3]]))


def test_canvases_say_where_their_faces_are(made):
    assert sum(len(canvas.boxes) for canvas in made) > len(made)
    for canvas in made:
        assert canvas.pixels.shape == (CANVAS, CANVAS, 3)
        assert (canvas.boxes[:, :2] >= 0).all()
        assert (canvas.boxes[:, 2:] <= CANVAS).all()


def test_the_weights_have_8_bits_and_the_outputs_their_order(networks):
    graph = onnx.load_model_from_string(networks[1]).graph
    assert [value.name for value in graph.output] == list(HEADS)
    bits8 = sum(np.prod(t.dims) for t in graph.initializer if t.data_type == onnx.TensorProto.INT8)
    floats = sum(np.prod(t.dims) for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT)
    assert bits8 > 10 * floats


def test_both_networks_see_the_same(made, networks):
    exact, coarse = (OnnxRuntimeNetwork(data, 1).run(batch_of(made[4])) for data in networks)
    assert [out.shape for out in coarse] == [out.shape for out in exact]
    assert np.corrcoef(exact[0].ravel(), coarse[0].ravel())[0, 1] > 0.98
    found = [accuracy(data, made) for data in networks]
    assert found[0]["recall"] > 0.5
    assert abs(found[0]["recall"] - found[1]["recall"]) <= 0.1
