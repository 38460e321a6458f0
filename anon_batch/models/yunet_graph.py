"""Rewrite YuNet's graph: RGB input, one output for each stride.

The published file takes BGR and has twelve outputs, four at each of three strides. Each output has its own pointwise and
depthwise convolution over the same values, and is reshaped to a list of cells with a fixed batch size of one.
The rewritten graph joins the four pairs of a stride into one of sixteen channels, which suits vector kernels, and keeps
the cells as a map, so that images can share a batch. The sums are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from anon_batch.errors import ModelError
from anon_batch.models.onnx_graph import read_graph

if TYPE_CHECKING:
    import onnx

STRIDES_PX = (8, 16, 32)
HEADS: Mapping[str, int] = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}  # channels of each, in the outputs' order
_SCORES = ("cls", "obj")
_LAYOUT = ("Sigmoid", "Reshape", "Transpose")  # between convolutions and output; only scores have the first
_KERNELS = {"pointwise": 1, "depthwise": 3}

_Arrays = dict[str, npt.NDArray[Any]]


class _Pair(NamedTuple):
    pointwise: onnx.NodeProto
    depthwise: onnx.NodeProto


def prepare_yunet(data: bytes) -> bytes:
    """Join the heads of a network of the YuNet family and swap its input's channels.

    Args:
        data: the published ONNX file: input (1, 3, H, W) BGR 0..255, outputs `cls_8` ... `kps_32`.

    Returns:
        An ONNX file: input (1, 3, H, W) RGB 0..255; an output (1, 16, H / s, W / s) for each stride s of
        STRIDES_PX, whose channels are those of HEADS. Scores are logits, without the sigmoid.

    Raises:
        ModelError: not an ONNX file, or another network.
    """
    from onnx import numpy_helper

    model = read_graph(data)
    graph = model.graph
    arrays: _Arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    _swap_channels(graph, arrays)
    made = {output: node for node in graph.node for output in node.output}
    joined: list[onnx.NodeProto] = []
    for stride in STRIDES_PX:
        joined += _join(f"at_{stride}", [_head(made, arrays, head, stride) for head in HEADS], arrays)
    outputs = [node.output[0] for node in joined[1::2]]
    _replace(graph, _needed([*graph.node, *joined], outputs), arrays, outputs)
    return bytes(model.SerializeToString())


def _not_yunet(reason: str) -> ModelError:
    return ModelError(f"not a network of the YuNet family: {reason}")


def _swap_channels(graph: onnx.GraphProto, arrays: _Arrays) -> None:
    images = [value.name for value in graph.input if value.name not in arrays]
    readers = [node for node in graph.node if set(images).intersection(node.input)]
    first = readers[0].input[1] if len(readers) == 1 and readers[0].op_type == "Conv" else ""
    if first not in arrays or arrays[first].shape[1] != 3:
        raise _not_yunet("its input is not read by one convolution of three channels")
    arrays[first] = np.ascontiguousarray(arrays[first][:, ::-1])


def _head(made: Mapping[str, onnx.NodeProto], arrays: _Arrays, head: str, stride: int) -> _Pair:
    """Return the two convolutions of an output."""
    node, passed = made.get(f"{head}_{stride}"), []
    while node is not None and node.op_type in _LAYOUT:
        passed.append(node.op_type)
        node = made.get(node.input[0])
    before = None if node is None else made.get(node.input[0])
    if node is None or before is None or passed.count("Sigmoid") != (head in _SCORES):
        raise _not_yunet(f"no output {head}_{stride} of two convolutions" + ", then a sigmoid" * (head in _SCORES))
    channels = HEADS[head]
    _check_convolution(before, arrays, _KERNELS["pointwise"], channels, 1)
    _check_convolution(node, arrays, _KERNELS["depthwise"], channels, channels)
    return _Pair(before, node)


def _check_convolution(node: onnx.NodeProto, arrays: _Arrays, side: int, channels: int, groups: int) -> None:
    from onnx import helper

    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    plain = {"group": groups, "pads": [side // 2] * 4, "strides": [1, 1], "dilations": [1, 1]}
    default = {"group": 1, "pads": [0] * 4, "strides": [1, 1], "dilations": [1, 1]}
    shapes = [arrays[name].shape for name in node.input[1:] if name in arrays]
    fits = len(shapes) == 2 and shapes[0][::2] == (channels, side) and shapes[1] == (channels,)
    if node.op_type != "Conv" or not fits or any(given.get(key, default[key]) != plain[key] for key in plain):
        raise _not_yunet(f"{node.output[0]} is not a convolution of {side} x {side} px to {channels} channels")


def _join(name: str, pairs: list[_Pair], arrays: _Arrays) -> list[onnx.NodeProto]:
    """Join pairs of convolutions over one value into one pair; add its weights to `arrays`."""
    from onnx import helper

    sources = {pair.pointwise.input[0] for pair in pairs}
    if len(sources) != 1:
        raise _not_yunet(f"its heads read {sorted(sources)} instead of one value")
    value, nodes = sources.pop(), []
    for part, (kind, side) in enumerate(_KERNELS.items()):
        weight, bias, result = (f"{name}_{kind}_{what}" for what in ("weight", "bias", "value"))
        arrays[weight] = np.concatenate([arrays[pair[part].input[1]] for pair in pairs])
        arrays[bias] = np.concatenate([arrays[pair[part].input[2]] for pair in pairs])
        nodes.append(
            helper.make_node(
                "Conv",
                [value, weight, bias],
                [result],
                kernel_shape=[side, side],
                pads=[side // 2] * 4,
                strides=[1, 1],
                dilations=[1, 1],
                group=len(arrays[bias]) if kind == "depthwise" else 1,
            )
        )
        value = result
    return nodes


def _needed(nodes: list[onnx.NodeProto], outputs: list[str]) -> list[onnx.NodeProto]:
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def _replace(graph: onnx.GraphProto, nodes: list[onnx.NodeProto], arrays: _Arrays, outputs: list[str]) -> None:
    from onnx import TensorProto, helper, numpy_helper

    used = {name for node in nodes for name in node.input}
    held = [numpy_helper.from_array(array, name) for name, array in arrays.items() if name in used]
    shape = [1, sum(HEADS.values()), None, None]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in outputs]
    for field, content in ((graph.node, nodes), (graph.initializer, held), (graph.output, values)):
        del field[:]
        field.extend(content)
