"""Small ONNX networks with the inputs and outputs of published YuNet files."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
CHANNELS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
SIDE = 64  # px of the published, fixed size
COLOUR_BOX = (0.25, 0.5, np.log(3), np.log(4))  # centre from the cell's corner, log sides, in strides
COLOUR_MARKS = tuple(step / 4 for step in range(10))


class _Graph:
    def __init__(self):
        self.nodes, self.weights = [], []

    def add(self, operator, source, *arrays, output=None, **attributes):
        output = output or f"value_{len(self.nodes)}"
        names = [f"{output}_{position}" for position in range(len(arrays))]
        self.weights += [numpy_helper.from_array(np.asarray(a), name) for a, name in zip(arrays, names, strict=True)]
        sources = [source] if isinstance(source, str) else source
        self.nodes.append(helper.make_node(operator, [*sources, *names], [output], **attributes))
        return output

    def upsample(self, source):
        factors = np.float32([1, 1, 2, 2])
        kind = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.add("Resize", source, np.zeros(0, np.float32), factors, **kind)

    def head(self, source, name, pointwise, depthwise):
        channels = len(pointwise[1])
        value = self.add("Conv", source, *pointwise, kernel_shape=[1, 1])
        value = self.add("Conv", value, *depthwise, kernel_shape=[3, 3], pads=[1] * 4, group=channels)
        value = self.add("Transpose", value, perm=[0, 2, 3, 1])
        scored = name.startswith(("cls", "obj"))
        value = self.add("Reshape", value, np.int64([1, -1, channels]), output=None if scored else name)
        if scored:
            self.add("Sigmoid", value, output=name)

    def serialised(self):
        image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
        outputs = [
            helper.make_tensor_value_info(f"{name}_{stride}", TensorProto.FLOAT, [1, (SIDE // stride) ** 2, channels])
            for name, channels in CHANNELS.items()
            for stride in STRIDES
        ]
        graph = helper.make_graph(self.nodes, "small", [image], outputs, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
        return model.SerializeToString()


def random_network(seed=0, features=6):
    """Random weights; a neck that adds upsampled values, as the real networks have."""
    rng = np.random.default_rng(seed)

    def conv(*shape, spread=1.0):
        fan_in = np.prod(shape[1:])
        return [
            rng.normal(0, spread / np.sqrt(fan_in), shape).astype(np.float32),
            rng.normal(0, 0.3, shape[0]).astype(np.float32),
        ]

    graph = _Graph()
    value = graph.add(
        "Conv", "input", *conv(features, 3, 3, 3, spread=0.004), kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2]
    )
    value = graph.add("Relu", value)
    maps = []
    for _ in range(4):
        value = graph.add("MaxPool", value, kernel_shape=[2, 2], strides=[2, 2])
        maps.append(value)
    coarse = maps[3]
    middle = graph.add("Add", [maps[2], graph.upsample(coarse)])
    fine = graph.add("Add", [maps[1], graph.upsample(middle)])
    for stride, source in zip(STRIDES, (fine, middle, coarse), strict=True):
        for name, channels in CHANNELS.items():
            pair = conv(channels, features, 1, 1), conv(channels, 1, 3, 3)
            graph.head(source, f"{name}_{stride}", *pair)
    return graph.serialised()


def colour_network():
    """Red is a face at stride 8, green at 16, blue at 32; COLOUR_BOX and COLOUR_MARKS say where in its cell.

    The score of 255 is that of the logits 5.5 and 3.5, of 0 that of -20 and -22.
    """
    graph = _Graph()
    centre = np.zeros((3, 3, 3, 3), np.float32)
    centre[range(3), range(3), 1, 1] = 1
    nothing = np.zeros(3, np.float32)
    value = graph.add("Conv", "input", centre, nothing, kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2])
    value = graph.add("MaxPool", value, kernel_shape=[2, 2], strides=[2, 2])
    constants = {"cls": [-20], "obj": [-22], "bbox": COLOUR_BOX, "kps": COLOUR_MARKS}
    for stride, plane in zip(STRIDES, (2, 1, 0), strict=True):  # of blue, green, red
        value = graph.add("MaxPool", value, kernel_shape=[2, 2], strides=[2, 2])
        for name, channels in CHANNELS.items():
            look = np.zeros((channels, 3, 1, 1), np.float32)
            look[:, plane] = 0.1 if name in ("cls", "obj") else 0
            here = np.zeros((channels, 1, 3, 3), np.float32)
            here[:, :, 1, 1] = 1
            pointwise = [look, np.float32(constants[name])]
            graph.head(value, f"{name}_{stride}", pointwise, [here, np.zeros(channels, np.float32)])
    return graph.serialised()
