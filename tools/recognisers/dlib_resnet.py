"""dlib's face recognition network as ONNX: its own file format, read layer by layer (dlib/serialize.h, dlib/dnn/layers.h).

The network is the ResNet of 29 convolutions of dlib's example dnn_face_recognition_ex.cpp. The file has its layers from the input
to the output; each begins with its name and holds its weights as float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE_PX = 150
# Landmarks of the mean face of dlib's face chips (get_face_chip_details, padding 0.25), px of the chip: centres of the eyes, tip
# of the nose, corners of the mouth.
TEMPLATE = ((47.6, 46.6), (100.5, 46.6), (74.0, 79.0), (50.4, 103.0), (97.6, 103.0))
_BLOCKS = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))


def convert_resnet(data: bytes) -> onnx.ModelProto:
    """Return the network, (1, 3, 150, 150) -> (1, 128).

    Raises:
        ValueError: the file is not that of this network.
    """
    builder = _Builder(_Reader(data))
    value = builder.affine(builder.convolve("image", 7, 32, 2))
    value = builder.node("Relu", [value])
    value = builder.node("MaxPool", [value], kernel_shape=[3, 3], strides=[2, 2])
    side, channels = 35, 32
    for width, count, down in _BLOCKS:
        for position in range(count):
            value, side, channels = builder.block(value, side, channels, width, down=down and position == 0)
    value = builder.node("GlobalAveragePool", [value])
    value = builder.node("Flatten", [value])
    return builder.model(builder.multiply(value, 256, 128))


class _Reader:
    """Reads numbers and tensors at places that names mark."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def find(self, name: bytes) -> None:
        """Go behind the next layer of this name."""
        marked = bytes([1, len(name)]) + name
        at = self._data.find(marked, self._at)
        if at < 0:
            raise ValueError(f"no layer {name.decode()} after byte {self._at:,}")
        self._at = at + len(marked)

    def integer(self) -> int:
        """Read a number: a byte with the count of bytes and the sign, then the bytes, the lowest first."""
        head = self._data[self._at]
        count = head & 0x0F
        value = int.from_bytes(self._data[self._at + 1 : self._at + 1 + count], "little")
        self._at += 1 + count
        return -value if head & 0x80 else value

    def tensor(self, *shape: int) -> np.ndarray:
        """Read a tensor of a shape with as many numbers as it has."""
        version, *sizes = (self.integer() for _ in range(5))
        count = int(np.prod(shape))
        if version != 2 or int(np.prod(sizes)) != count:
            raise ValueError(
                f"byte {self._at:,}: a tensor of {sizes} in version {version}, expected {shape} in version 2"
            )
        if self._at + 4 * count > len(self._data):
            raise ValueError(f"byte {self._at:,}: the file ends inside a tensor")
        values = np.frombuffer(self._data, "<f4", count, self._at).reshape(shape)
        self._at += 4 * count
        return values.astype(np.float32)


class _Builder:
    def __init__(self, reader: _Reader) -> None:
        self._reader = reader
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._channels = 3

    def node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        output = f"value_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, value: np.ndarray) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def convolve(self, value: str, side: int, filters: int, stride: int) -> str:
        """Add a convolution; those with a stride have no padding (dlib's `con_`)."""
        self._reader.find(b"con_4")
        count = filters * self._channels * side * side
        numbers = self._reader.tensor(count + filters)
        sizes = [self._reader.integer() for _ in range(7)]
        pad = 0 if stride > 1 else side // 2
        if sizes != [filters, side, side, stride, stride, pad, pad]:
            raise ValueError(
                f"a convolution of {sizes}, expected {filters} filters of {side} x {side}, stride {stride}"
            )
        weights = self.constant(numbers[:count].reshape(filters, self._channels, side, side))
        self._channels = filters
        inputs = [value, weights, self.constant(numbers[count:])]
        return self.node("Conv", inputs, kernel_shape=[side, side], strides=[stride] * 2, pads=[pad] * 4)

    def affine(self, value: str) -> str:
        """Add the scale and shift of each channel."""
        self._reader.find(b"affine_")
        scale, shift = self._reader.tensor(2, 1, self._channels, 1, 1)
        return self.node("Add", [self.node("Mul", [value, self.constant(scale)]), self.constant(shift)])

    def block(self, value: str, side: int, channels: int, width: int, *, down: bool) -> tuple[str, int, int]:
        """Add a residual block; return its output, side and channels.

        One that goes down averages its input over 2 x 2 px, and missing rows, columns and channels count as zeros.
        """
        stride = 2 if down else 1
        inner = self.node("Relu", [self.affine(self.convolve(value, 3, width, stride))])
        inner = self.affine(self.convolve(inner, 3, width, 1))
        if not down:
            return self.node("Relu", [self.node("Add", [inner, value])]), side, width
        past = self.node("AveragePool", [value], kernel_shape=[2, 2], strides=[2, 2])
        inner_side, past_side = (side - 3) // 2 + 1, (side - 2) // 2 + 1
        after = max(inner_side, past_side)
        inner = self._padded(inner, after - inner_side, 0)
        past = self._padded(past, after - past_side, width - channels)
        return self.node("Relu", [self.node("Add", [inner, past])]), after, width

    def _padded(self, value: str, pixels: int, channels: int) -> str:
        if not pixels and not channels:
            return value
        return self.node("Pad", [value, self.constant(np.array([0, 0, 0, 0, 0, channels, pixels, pixels], np.int64))])

    def multiply(self, value: str, inside: int, outside: int) -> str:
        """Add the last, fully connected layer."""
        self._reader.find(b"fc_2")
        sizes = [self._reader.integer(), self._reader.integer()]
        if sizes != [outside, inside]:
            raise ValueError(f"the last layer has {sizes} outputs and inputs, expected {outside} and {inside}")
        return self.node("MatMul", [value, self.constant(self._reader.tensor(inside, outside))])

    def model(self, output: str) -> onnx.ModelProto:
        """Return the network."""
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE_PX, SIDE_PX])
        features = helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, 128])
        graph = helper.make_graph(self._nodes, "resnet", [image], [features], self._constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
