from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from yunet_networks import CHANNELS, STRIDES, random_network

from anon_batch.config import ModelsConfig
from anon_batch.errors import ModelError
from anon_batch.models.backends import open_network
from anon_batch.models.onnx_graph import prepare_image_network
from anon_batch.models.store import ModelStore
from anon_batch.models.torch_network import OnnxModule
from anon_batch.models.yunet_graph import prepare_yunet
from anon_batch.storage import Storage


@pytest.fixture(scope="module")
def published():
    return random_network()


def expected_maps(published, rgb):
    """The published outputs of one image (3, H, W), as maps (16, H / stride, W / stride) with logits."""
    session = onnxruntime.InferenceSession(published, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"input": np.ascontiguousarray(rgb[None, ::-1])}), strict=True))
    scores = {name: value for name, value in found.items() if name.startswith(("cls", "obj"))}
    found |= {name: np.log(value / (1 - value)) for name, value in scores.items()}
    height, width = rgb.shape[1:]
    return [
        np.concatenate(
            [found[f"{name}_{stride}"][0].T.reshape(-1, height // stride, width // stride) for name in CHANNELS]
        )
        for stride in STRIDES
    ]


def image(height, width, seed=1):
    return np.random.default_rng(seed).integers(0, 255, (3, height, width)).astype(np.float32)


@pytest.mark.parametrize("backend", ["onnxruntime", "torch", "openvino"])
def test_the_prepared_network_gives_what_the_published_one_gives(published, backend):
    if backend == "openvino":
        pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    rgb = image(64, 64)
    network = open_network(backend, prepare_yunet(published), threads=1, device="cpu")
    atol = 0.2 if backend == "openvino" else 1e-4  # openvino: bfloat16 has 8 bits
    for ours, theirs in zip(network.run(rgb[None]), expected_maps(published, rgb), strict=True):
        assert ours.shape == (1, *theirs.shape)
        assert theirs.std() > 0.5
        np.testing.assert_allclose(ours[0], theirs, atol=atol)


def test_it_takes_other_sizes_and_batches(published):
    prepared = prepare_image_network(prepare_yunet(published))
    batch = np.stack([image(96, 160, seed) for seed in (1, 2, 3)])
    module = OnnxModule(prepared)
    session = onnxruntime.InferenceSession(prepared, providers=["CPUExecutionProvider"])
    together = session.run(None, {"input": batch})
    assert [out.shape for out in together] == [(3, 16, 12, 20), (3, 16, 6, 10), (3, 16, 3, 5)]
    for ours, theirs in zip(module(torch.from_numpy(batch)), together, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-4)
    alone = session.run(None, {"input": batch[1:2]})
    for one, many in zip(alone, together, strict=True):
        np.testing.assert_allclose(one[0], many[1], atol=1e-5)


@pytest.mark.gpu
def test_cuda_agrees_and_does_not_depend_on_neighbours(published):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    batch = np.stack([image(96, 160, seed) for seed in (1, 2)])
    network = open_network("torch", prepare_yunet(published), threads=1, device="cuda")
    exact = open_network("onnxruntime", prepare_yunet(published), threads=1, device="cpu")
    swapped = network.run(np.ascontiguousarray(batch[::-1]))
    for here, there, ours in zip(network.run(batch), swapped, exact.run(batch[:1]), strict=True):
        np.testing.assert_array_equal(here[0], there[1])
        np.testing.assert_allclose(here[0], ours[0], atol=0.2)  # float16


def test_unused_nodes_are_removed(published):
    graph = onnx.load_model_from_string(prepare_yunet(published)).graph
    assert not {"Transpose", "Reshape", "Sigmoid"} & {node.op_type for node in graph.node}
    read = {name for node in graph.node for name in node.input}
    assert {tensor.name for tensor in graph.initializer} <= read
    assert len(graph.output) == 3


def edited(published, change):
    model = onnx.load_model_from_string(published)
    change(model.graph)
    return model.SerializeToString()


def maker_of(graph, output):
    return next(node for node in graph.node if output in node.output)


def without_a_head(graph):
    graph.node.remove(maker_of(graph, "kps_16"))


def without_a_sigmoid(graph):
    sigmoid = maker_of(graph, "cls_8")
    maker_of(graph, sigmoid.input[0]).output[0] = "cls_8"
    graph.node.remove(sigmoid)


def of_other_strides(graph):
    reshape = maker_of(graph, "bbox_32")
    convolution = maker_of(graph, maker_of(graph, reshape.input[0]).input[0])
    convolution.attribute.append(onnx.helper.make_attribute("strides", [2, 2]))


def of_another_source(graph):
    sources = [node for node in graph.node if node.op_type == "Add"]
    convolution = next(node for node in graph.node if node.op_type == "Conv" and node.input[0] == sources[0].output[0])
    convolution.input[0] = sources[1].output[0]


def of_one_channel(graph):
    weight = next(tensor for tensor in graph.initializer if tensor.name == graph.node[0].input[1])
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight)[:, :1], weight.name))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_a_head, "no output kps_16"),
        (without_a_sigmoid, "no output cls_8 .*then a sigmoid"),
        (of_other_strides, "is not a convolution of 3 x 3 px to 4 channels"),
        (of_another_source, "instead of one value"),
        (of_one_channel, "three channels"),
    ],
)
def test_another_network_is_refused(published, change, message):
    with pytest.raises(ModelError, match=f"not a network of the YuNet family: .*{message}"):
        prepare_yunet(edited(published, change))


def test_other_files_are_refused():
    with pytest.raises(ModelError, match="not an ONNX file"):
        prepare_yunet(b"\xff\xfe not a model")
    with pytest.raises(ModelError, match="not a network of the YuNet family: no output cls_8"):
        prepare_yunet(ModelStore(Storage(), ModelsConfig()).load("centerface"))
