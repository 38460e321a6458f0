"""Convert a published SSD face detector to the file that this package bundles.

    python -m tools.convert_ssd_detector vladmandic-face-api-1.7.15.tgz --output ssd.onnx

The source is `ssd_mobilenetv1_model.bin` of the npm package @vladmandic/face-api with its list of weights, both checked by their
digests: weights in 8 bits without a graph. The graph, an SSD with MobileNetV1 (Howard et al. 2017, arXiv 1704.04861), is built
here as that package builds it. Differences: sides are free (multiples of 32 px), the heads of each stride are one convolution
whose output stays a map, batch norms are part of the convolutions before them, and boxes are x, y, width, height. Large weights
stay in 8 bits. The same source gives the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from anon_batch.detect.ssd import CHANNELS, STRIDES_PX

FOLDER = "package/model"
WEIGHTS, LIST = "ssd_mobilenetv1_model.bin", "ssd_mobilenetv1_model-weights_manifest.json"
SHA256 = {
    WEIGHTS: "2835640602d53718aa6ae9a42896327eaa21beefed056c218d32ca7d79e1e2f8",
    LIST: "888f744dffbc84f5f060d1f8427d9742341943a2dfaaf9205d10029b7e7a2955",
}
OPSET = 13
BATCH_NORM_EPSILON = 0.0010000000474974513
HALF = 127.5  # the network sees -1..1
HALVING = (2, 4, 6, 12)  # depthwise convolutions with a stride of 2
FACE, CLASSES = 1, 3  # of a prior: background, face, and one that is not used

_Floats = npt.NDArray[np.float32]


class Weight(NamedTuple):
    """A weight of the source.

    Args:
        values: in the order of TensorFlow.
        stored: the same in 8 bits; None if they are kept as floats.
        scale, zero: of `stored`.
    """

    values: _Floats
    stored: npt.NDArray[np.uint8] | None = None
    scale: float = 1.0
    zero: int = 0


def read_source(path: Path) -> dict[str, bytes]:
    """Return weights and list from the package's tarball, by file name.

    Raises:
        SystemExit: another file.
    """
    with tarfile.open(path) as package:
        found = {name: package.extractfile(f"{FOLDER}/{name}") for name in SHA256}
        data = {name: file.read() for name, file in found.items() if file is not None}
    for name, digest in SHA256.items():
        if (actual := hashlib.sha256(data.get(name, b"")).hexdigest()) != digest:
            raise SystemExit(f"{path}: {name}: sha256 {actual}, expected {digest}")
    return data


def read_weights(source: Mapping[str, bytes]) -> dict[str, Weight]:
    """Return the weights by name. A weight in 8 bits is `scale * stored + min`."""
    [group] = json.loads(source[LIST])
    data, at, weights = source[WEIGHTS], 0, {}
    for entry in group["weights"]:
        count, shape = int(np.prod(entry["shape"])), entry["shape"]
        if (quantization := entry.get("quantization")) is None:
            weights[entry["name"]] = Weight(np.frombuffer(data, np.float32, count, at).reshape(shape))
            at += 4 * count
            continue
        stored = np.frombuffer(data, np.uint8, count, at).reshape(shape)
        scale, low = quantization["scale"], quantization["min"]
        zero = round(-low / scale)
        values = stored.astype(np.float32) * np.float32(scale) + np.float32(low)
        is_exact = abs(zero + low / scale) < 1e-4 and 0 <= zero <= 255
        weights[entry["name"]] = Weight(values, stored if is_exact else None, scale, zero)
        at += count
    if at != len(data):
        raise SystemExit(f"{WEIGHTS}: {len(data)} bytes, its list names {at}")
    return weights


class _Graph:
    """Nodes and initializers as they are added."""

    def __init__(self, weights: Mapping[str, Weight]) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.held: list[onnx.TensorProto] = []

    def floats(self, name: str, values: _Floats) -> str:
        self.held.append(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def small(self, name: str) -> _Floats:
        return self.weights[name].values

    def kernel(self, name: str) -> str:
        """Return a kernel in 8 bits, of a convolution with groups of 1."""
        own = self.weights[name]
        if own.stored is None:
            raise SystemExit(f"{name}: not in 8 bits with a whole zero")
        stored = np.ascontiguousarray(own.stored.transpose(3, 2, 0, 1))
        self.held += [
            numpy_helper.from_array(stored, f"{name}.stored"),
            numpy_helper.from_array(np.array(own.scale, np.float32), f"{name}.scale"),
            numpy_helper.from_array(np.array(own.zero, np.uint8), f"{name}.zero"),
        ]
        return self.node("DequantizeLinear", [f"{name}.{part}" for part in ("stored", "scale", "zero")], name)

    def convolve(self, value: str, kernel: str, bias: str, output: str, side: int, stride: int, groups: int = 1) -> str:
        """Add a convolution that keeps sides, or halves them and rounds up, and limits its values to 0..6."""
        # For even sides this is TensorFlow's `same`, which pads right and below alone.
        pads = [side // 2] * 4 if stride == 1 else [0, 0, side - 1, side - 1]
        attributes = {"kernel_shape": [side] * 2, "strides": [stride] * 2, "pads": pads, "group": groups}
        made = self.node("Conv", [value, kernel, bias], f"{output}.sums", **attributes)
        return self.node("Clip", [made, "lowest", "highest"], output)

    def pointwise(self, value: str, prefix: str, stride: int = 1) -> str:
        name = f"{prefix}/weights"
        bias = self.floats(f"{prefix}.bias", self.small(f"{prefix}/convolution_bn_offset"))
        return self.convolve(value, self.kernel(name), bias, prefix, self.weights[name].values.shape[0], stride)

    def depthwise(self, value: str, prefix: str, stride: int) -> str:
        gamma, beta, mean, variance = (
            self.small(f"{prefix}/BatchNorm/{part}") for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        factor = gamma / np.sqrt(variance + np.float32(BATCH_NORM_EPSILON))
        kernel = self.small(f"{prefix}/depthwise_weights").transpose(2, 3, 0, 1) * factor.reshape(-1, 1, 1, 1)
        names = self.floats(f"{prefix}.kernel", kernel), self.floats(f"{prefix}.bias", beta - mean * factor)
        return self.convolve(value, *names, prefix, 3, stride, len(gamma))

    def head(self, value: str, level: int, output: str) -> str:
        """Add one convolution in place of the heads of a stride: logit and box of each prior."""
        prefix = f"Prediction/BoxPredictor_{level}"
        parts = []
        for kind in ("weights", "biases"):
            scores = self.small(f"{prefix}/ClassPredictor/{kind}")
            boxes = self.small(f"{prefix}/BoxEncodingPredictor/{kind}")
            scores = scores.reshape(*scores.shape[:-1], -1, CLASSES)[..., FACE : FACE + 1]
            boxes = boxes.reshape(*boxes.shape[:-1], -1, 4)[..., [1, 0, 3, 2]]  # from y, x, height, width
            joined = np.concatenate([scores, boxes], axis=-1)
            parts.append(joined.reshape(*joined.shape[:-2], -1))
        kernel = self.floats(f"{output}.kernel", parts[0].transpose(3, 2, 0, 1))
        return self.node("Conv", [value, kernel, self.floats(f"{output}.bias", parts[1])], output, kernel_shape=[1, 1])


def convert(weights: Mapping[str, Weight]) -> bytes:
    """Return the ONNX file: input (B, 3, H, W) RGB 0..255, an output (B, CHANNELS * priors, H / s, W / s) a stride s."""
    graph = _Graph(weights)
    for name, limit in (("lowest", 0), ("highest", 6), ("middle", HALF)):
        graph.held.append(numpy_helper.from_array(np.array(limit, np.float32), name))
    first = "MobilenetV1/Conv2d_0_pointwise"
    value = graph.node("Sub", ["image", "middle"], "centred")
    kernel = graph.floats(f"{first}.kernel", graph.small(f"{first}/weights").transpose(3, 2, 0, 1) / np.float32(HALF))
    bias = graph.floats(f"{first}.bias", graph.small(f"{first}/convolution_bn_offset"))
    value, levels = graph.convolve(value, kernel, bias, first, 3, 2), []
    for index in range(1, 14):
        value = graph.depthwise(value, f"MobilenetV1/Conv2d_{index}_depthwise", 2 if index in HALVING else 1)
        value = graph.pointwise(value, f"MobilenetV1/Conv2d_{index}_pointwise")
        levels += [value] if index in (11, 13) else []
    for index in range(0, 8, 2):
        value = graph.pointwise(value, f"Prediction/Conv2d_{index}_pointwise")
        value = graph.pointwise(value, f"Prediction/Conv2d_{index + 1}_pointwise", stride=2)
        levels.append(value)
    outputs = [graph.head(own, level, f"at_{STRIDES_PX[level]}") for level, own in enumerate(levels)]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["B", 3, "H", "W"])
    priors = [3, 6, 6, 6, 6, 6]
    maps = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", CHANNELS * count, None, None])
        for name, count in zip(outputs, priors, strict=True)
    ]
    made = helper.make_graph(graph.nodes, "ssd", [image], maps, graph.held)
    model = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="anon-batch"
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def main() -> None:
    """Convert, write the file and print its digest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the package, a .tgz")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    data = convert(read_weights(read_source(args.source)))
    args.output.write_bytes(data)
    print(f"{args.output}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
