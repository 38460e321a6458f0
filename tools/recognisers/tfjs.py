"""A MobileNet in the graph format of TensorFlow.js as ONNX: a JSON file with nodes, and weights in half precision."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FEATURES = "global_pooling/Mean"
SIDE_PX = 224
_BINARY = {"Add": "Add", "Mul": "Mul", "Minimum": "Min", "Maximum": "Max"}
_TYPES = {"float16": np.float16, "float32": np.float32, "int32": np.int32}


def convert_mobilenet(topology: bytes, weights: bytes) -> onnx.ModelProto:
    """Return the network up to its pooled features, (1, 3, 224, 224) -> (1, 1024).

    Args:
        topology: model.json.
        weights: its only file of weights.

    Raises:
        ValueError: the graph has an operator that is not of a MobileNet.
    """
    model = json.loads(topology)
    graph = _Graph(_read_weights(model, weights))
    for node in model["modelTopology"]["node"]:
        graph.add(node)
        if node["name"] == FEATURES:
            return graph.model()
    raise ValueError(f"no node {FEATURES}")


def _read_weights(model: dict[str, Any], data: bytes) -> dict[str, np.ndarray]:
    found, at = {}, 0
    for spec in model["weightsManifest"][0]["weights"]:
        stored = np.dtype(_TYPES[spec.get("quantization", {}).get("dtype", spec["dtype"])])
        count = int(np.prod(spec["shape"]))
        values = np.frombuffer(data, stored, count, at).reshape(spec["shape"])
        found[spec["name"]] = values.astype(_TYPES[spec["dtype"]])
        at += count * stored.itemsize
    return found


class _Graph:
    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def add(self, node: dict[str, Any]) -> None:
        """Add a node; outputs keep their names, channels come first."""
        kind, name, inputs = node["op"], node["name"], node.get("input", [])
        if kind == "Const":
            return
        if kind == "Placeholder":
            self._input = name
        elif kind in {"Conv2D", "DepthwiseConv2dNative"}:
            self._convolve(name, inputs, node["attr"]["strides"]["list"]["i"][1:3], depthwise=kind != "Conv2D")
        elif kind in _BINARY:
            value = self._weights[inputs[1]]
            shape = (1, -1, 1, 1) if value.ndim else (1,)
            self._node(_BINARY[kind], [inputs[0], self._constant(f"{name}/value", value.reshape(shape))], name)
        elif kind == "Relu":
            self._node("Relu", inputs[:1], name)
        elif kind == "Mean":
            axes = self._constant(f"{name}/axes", np.array([2, 3], np.int64))
            self._node("ReduceMean", [inputs[0], axes], name, keepdims=0)
        else:
            raise ValueError(f"node {name}: operator {kind} is not of a MobileNet")

    def _convolve(self, name: str, inputs: Sequence[str], strides: Sequence[str], *, depthwise: bool) -> None:
        kernel = self._weights[inputs[1]]  # height, width, inputs, outputs
        order, groups = ((2, 3, 0, 1), kernel.shape[2]) if depthwise else ((3, 2, 0, 1), 1)
        weights = self._constant(f"{name}/kernel", kernel.transpose(order))
        steps = [int(step) for step in strides]
        self._node("Conv", [inputs[0], weights], name, strides=steps, auto_pad="SAME_UPPER", group=groups)

    def _constant(self, name: str, value: np.ndarray) -> str:
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def _node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> None:
        self._nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))

    def model(self) -> onnx.ModelProto:
        """Return the network so far."""
        image = helper.make_tensor_value_info(self._input, TensorProto.FLOAT, [1, 3, SIDE_PX, SIDE_PX])
        features = helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, [1, None])
        graph = helper.make_graph(self._nodes, "mobilenet", [image], [features], list(self._constants.values()))
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
