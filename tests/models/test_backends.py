from __future__ import annotations

import builtins

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from anon_batch.config import ModelsConfig
from anon_batch.errors import ConfigError, ModelError
from anon_batch.models.backends import choose_backend, open_network
from anon_batch.models.onnx_graph import prepare_image_network
from anon_batch.models.store import ModelStore
from anon_batch.storage import Storage

TOLERANCE = {"torch": 1e-3, "openvino": 0.5}  # openvino: bfloat16 has 8 bits; log sizes reach 5


@pytest.fixture(scope="module")
def centerface():
    return ModelStore(Storage(), ModelsConfig()).load("centerface")


@pytest.fixture(scope="module")
def batch():
    return np.random.default_rng(7).integers(0, 255, (1, 3, 96, 160)).astype(np.float32)


def run(backend, data, batch, device="cpu"):
    return open_network(backend, data, threads=1, device=device).run(batch)


def toy(operator, **attributes):
    """Return an ONNX file input -> operator -> output, with its weight also listed as an input, and fixed sizes."""
    weight = numpy_helper.from_array(np.ones((2, 3, 1, 1), np.float32), "w")
    node = helper.make_node(operator, ["x", "w"] if operator == "Conv" else ["x"], ["y"], **attributes)
    x, w, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 3, 8, 8]), ("w", [2, 3, 1, 1]), ("y", [1, 2, 8, 8]))
    )
    graph = helper.make_graph([node], "toy", [x, w], [y], [weight])
    opset = helper.make_opsetid("", 11)
    return helper.make_model(graph, opset_imports=[opset], ir_version=6).SerializeToString()


def test_preparing_frees_the_sizes_and_takes_weights_out_of_the_inputs(centerface):
    before = onnx.load_model_from_string(centerface).graph
    after = onnx.load_model_from_string(prepare_image_network(centerface)).graph
    assert len(before.input) > 100
    assert [value.name for value in after.input] == ["input.1"]
    assert len(after.initializer) == len(before.initializer)
    dims = after.input[0].type.tensor_type.shape.dim
    assert [bool(dim.dim_param) for dim in dims] == [True, False, True, True]
    assert dims[1].dim_value == 3


def test_preparing_refuses_other_networks():
    with pytest.raises(ModelError, match="not an ONNX file"):
        prepare_image_network(b"\xff\xfe not a model")
    empty = helper.make_model(helper.make_graph([], "none", [], [])).SerializeToString()
    with pytest.raises(ModelError, match="one input"):
        prepare_image_network(empty)


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_backends_agree_with_onnxruntime(centerface, batch, backend):
    if backend == "openvino":
        pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    expected, actual = run("onnxruntime", centerface, batch), run(backend, centerface, batch)
    assert [out.shape for out in actual] == [out.shape for out in expected]
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, atol=TOLERANCE[backend])


@pytest.mark.parametrize("backend", ["onnxruntime", "torch", "openvino"])
def test_results_repeat_to_the_bit_after_other_sizes(centerface, batch, backend):
    if backend == "openvino":
        pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    network = open_network(backend, centerface, threads=1, device="cpu")
    assert network.batch_size == 1
    first = [out.copy() for out in network.run(batch)]
    network.run(np.zeros((1, 3, 32, 64), np.float32))
    for again, before in zip(network.run(batch), first, strict=True):
        np.testing.assert_array_equal(again, before)


def test_torch_refuses_unsupported_operators_and_padding():
    with pytest.raises(ModelError, match="operator Tanh"):
        run("torch", toy("Tanh"), None)
    with pytest.raises(ModelError, match="uneven padding"):
        run("torch", toy("Conv", auto_pad="SAME_LOWER"), None)
    with pytest.raises(ModelError, match="uneven padding"):
        run("torch", toy("MaxPool", kernel_shape=[2, 2], pads=[0, 0, 1, 1]), None)
    with pytest.raises(ModelError, match="ceil_mode and padding"):
        run("torch", toy("MaxPool", kernel_shape=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1), None)
    with pytest.raises(ModelError, match="MaxPool with dilations"):
        run("torch", toy("MaxPool", kernel_shape=[2, 2], dilations=[2, 2]), None)
    with pytest.raises(ModelError, match="only a Pad with zeros"):
        run("torch", toy("Pad", mode="reflect"), None)
    with pytest.raises(ModelError, match="only a Resize that repeats"):
        run("torch", toy("Resize", mode="nearest"), None)


@pytest.mark.parametrize("side", [8, 9])
def test_torch_pads_to_the_size_by_the_stride_as_onnxruntime_does(side):
    weight = np.random.default_rng(0).normal(size=(2, 3, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], auto_pad="SAME_UPPER", strides=[2, 2])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, None, None, None]) for name in "xy")
    graph = helper.make_graph([node], "toy", [x], [y], [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    batch = np.random.default_rng(1).normal(size=(1, 3, side, side + 3)).astype(np.float32)
    [ours], [theirs] = run("torch", model, batch), run("onnxruntime", model, batch)
    assert ours.shape == theirs.shape == (1, 2, -(-side // 2), -(-(side + 3) // 2))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_torch_pads_unevenly_as_onnxruntime_does():
    batch = np.random.default_rng(1).normal(size=(1, 3, 8, 9)).astype(np.float32)
    model = toy("Conv", pads=[0, 1, 2, 0], strides=[2, 2])
    [ours], [theirs] = run("torch", model, batch), run("onnxruntime", model, batch)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def chain_of_operators():
    """Return an ONNX file of the operators of converted networks, with a weight in float16."""
    held = {
        "w": np.random.default_rng(1).normal(size=(2, 3, 3, 3)).astype(np.float16),
        "slope": np.float32([0.25, -0.5]).reshape(2, 1, 1),
        "pads": np.array([0, 0, 1, 0, 0, 1, 0, 2], np.int64),
        "double": np.float32([1, 1, 2, 2]),
    }
    nodes = [
        helper.make_node("Cast", ["w"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["x", "wide"], ["a"], kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]),
        helper.make_node("PRelu", ["a", "slope"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
        helper.make_node("Pad", ["c", "pads"], ["d"]),
        helper.make_node(
            "Resize", ["d", "", "double"], ["y"], mode="linear", coordinate_transformation_mode="half_pixel"
        ),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, None, None]) for name in "xy")
    tensors = [numpy_helper.from_array(array, name) for name, array in held.items()]
    graph = helper.make_graph(nodes, "chain", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_operators_of_converted_networks_agree_with_onnxruntime(backend):
    if backend == "openvino":
        pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    batch = np.random.default_rng(2).normal(size=(1, 3, 20, 28)).astype(np.float32)
    [expected], [actual] = (run(own, chain_of_operators(), batch) for own in ("onnxruntime", backend))
    assert expected.shape == (1, 3, 12, 18)
    np.testing.assert_allclose(actual, expected, atol={"torch": 1e-5, "openvino": 0.2}[backend])


def test_preparing_widens_weights_in_float16():
    before = onnx.load_model_from_string(chain_of_operators()).graph
    after = onnx.load_model_from_string(prepare_image_network(chain_of_operators())).graph
    assert [node.op_type for node in after.node] == [node.op_type for node in before.node if node.op_type != "Cast"]
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in after.initializer}
    assert "w" not in weights
    assert weights["wide"].dtype == np.float32
    np.testing.assert_array_equal(weights["wide"], numpy_helper.to_array(before.initializer[0]))


def test_torch_runs_a_convolution_without_bias():
    out = run("torch", toy("Conv"), np.ones((1, 3, 8, 8), np.float32))
    np.testing.assert_array_equal(out[0], np.full((1, 2, 8, 8), 3, np.float32))


def test_onnxruntime_reports_a_file_that_it_cannot_load():
    with pytest.raises(ModelError, match="onnxruntime cannot load"):
        run("onnxruntime", toy("NoSuchOperator"), None)


@pytest.mark.parametrize(
    ("configured", "device", "chosen"),
    [
        ("auto", "cpu", "onnxruntime"),
        ("auto", "cuda", "torch"),
        ("auto", "cuda:1", "torch"),
        ("openvino", "cpu", "openvino"),
        ("torch", "cpu", "torch"),
        ("torch", "cuda", "torch"),
    ],
)
def test_the_backend_follows_the_device(configured, device, chosen):
    assert choose_backend(configured, device) == chosen


def test_a_backend_without_cuda_is_refused_on_cuda():
    with pytest.raises(ConfigError, match=r"detect\.backend: openvino.*num_gpus: 0"):
        choose_backend("openvino", "cuda")


def test_a_missing_extra_is_named(centerface, monkeypatch):
    real_import = builtins.__import__

    def without_openvino(name, *args, **kwargs):
        if name.split(".")[0] == "openvino":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_openvino)
    with pytest.raises(ConfigError, match=r"anon-batch\[openvino\]"):
        run("openvino", centerface, None)


def test_a_missing_device_is_a_config_error(centerface, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="no CUDA device"):
        run("torch", centerface, None, device="cuda")
    with pytest.raises(ConfigError, match="expected cpu, cuda"):
        run("torch", centerface, None, device="gpu0")


@pytest.mark.gpu
def test_cuda_agrees_with_onnxruntime_and_does_not_depend_on_neighbours(centerface, batch):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    network = open_network("torch", centerface, threads=1, device="cuda")
    assert network.batch_size == 8
    alone, together = np.zeros((8, *batch.shape[1:]), np.float32), np.repeat(batch, 8, axis=0)
    alone[0] = batch[0]
    for one, many, exact in zip(
        network.run(alone), network.run(together), run("onnxruntime", centerface, batch), strict=True
    ):
        np.testing.assert_array_equal(one[0], many[7])
        np.testing.assert_allclose(one[0], exact[0], atol=0.1)
