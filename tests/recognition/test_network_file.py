"""The declaration of a user's network, and features that follow it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from anon_batch.errors import ConfigError, ModelError
from anon_batch.recognition.network_file import NetworkFile, load_feature_network, read_network_file
from anon_batch.storage import Storage


def _mean_colour(path: Path, size: int = 8) -> bytes:
    """A network whose outputs are the input's mean colour, and twice that."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["once"]),
        helper.make_node("Add", ["once", "once"], ["twice"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, size, size])]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in ("once", "twice")]
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path.read_bytes()


def test_a_declaration_says_how_images_become_features(tmp_path: Path) -> None:
    data = _mean_colour(tmp_path / "net.onnx")
    digest = hashlib.sha256(data).hexdigest()
    text = f"path: net.onnx\nsha256: {digest}\nsize: 8\norder: bgr\nmean: [1, 2, 3]\nscale: 2\noutput: 1\n"
    (tmp_path / "net.yaml").write_text(text)
    network = load_feature_network(Storage(), str(tmp_path / "net.yaml"), 1)
    assert (network.name, network.dimensions, network.sha256) == ("net", 3, digest)
    image = np.full((20, 30, 3), (10, 20, 40), np.uint8)
    # bgr, less the mean, halved, and twice that, because output 1 is declared
    np.testing.assert_allclose(network.of([image, image]), [[39, 18, 7]] * 2, rtol=1e-6)
    assert network.of([]).shape == (0, 3)


def test_an_onnx_file_alone_stands_for_the_defaults(tmp_path: Path) -> None:
    file = read_network_file(Storage(), str(tmp_path / "some.net.onnx"), NetworkFile)
    assert (file.title, file.size, file.order, file.licence) == ("some.net", (112, 112), "rgb", "not stated")


def test_another_file_than_the_declared_one_is_refused(tmp_path: Path) -> None:
    _mean_colour(tmp_path / "net.onnx")
    (tmp_path / "net.yaml").write_text(f"path: net.onnx\nsize: 8\nsha256: {'a' * 64}\n")
    with pytest.raises(ModelError, match=r"net\.onnx: sha256 is"):
        load_feature_network(Storage(), str(tmp_path / "net.yaml"), 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path: net.onnx\nsiez: 8\n", "unknown key `siez`"),
        ("size: 8\n", "`path` is required"),
        ("- net.onnx\n", "expected keys and values"),
        ("path: [\n", "not YAML"),
        ("path: net.onnx\nscale: 0\n", "scale"),
        ("path: net.onnx\nmean: [1, 2]\n", "mean"),
    ],
)
def test_a_wrong_declaration_names_the_fault(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "net.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_network_file(Storage(), str(tmp_path / "net.yaml"), NetworkFile)


def test_a_network_that_does_not_fit_its_declaration_is_refused(tmp_path: Path) -> None:
    _mean_colour(tmp_path / "net.onnx")
    (tmp_path / "net.yaml").write_text("path: net.onnx\nsize: 8\noutput: 2\n")
    with pytest.raises(ModelError, match="declare its `size`, `layout` and `output`"):
        load_feature_network(Storage(), str(tmp_path / "net.yaml"), 1)


def test_channels_may_be_the_last_axis(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Flatten", ["mean"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 6, 3])]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "net.yaml").write_text("path: net.onnx\nsize: [8, 6]\nlayout: nhwc\nmean: 0\nscale: 1\n")
    network = load_feature_network(Storage(), str(tmp_path / "net.yaml"), 1)
    np.testing.assert_allclose(network.of([np.full((20, 30, 3), (10, 20, 40), np.uint8)]), [[10, 20, 40]])
