"""Convert MTCNN's three networks to the files that this package bundles.

    python -m tools.convert_mtcnn facenet_pytorch-2.6.0-py3-none-any.whl --output FOLDER

The sources are `pnet.pt`, `rnet.pt` and `onet.pt` of the package facenet-pytorch, each checked by its digest, and read without
running code that a pickle may hold. The converted graphs take RGB 0..255. Dense layers become convolutions and the outputs one
map, so that the first network runs at any size; the two class values become the logit of a face. Weights are kept in float16, but
for those of the first convolution, which are divided by the spread of the pixels. The same sources give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

OPSET = 13
CENTRE, SPREAD = 127.5, 128.0  # of the pixels that the sources take
_Array = npt.NDArray[Any]


class Layers(NamedTuple):
    """The layers of a network.

    Args:
        sha256: of its published file.
        convolutions: name of each, the side of the pool after it (0 for none), and the side of the map that it reads as a whole
            (0 for one that slides).
        heads: the last layers: class, box and, if any, points.
    """

    sha256: str
    convolutions: tuple[tuple[str, int, int], ...]
    heads: tuple[str, ...]


NETWORKS: Mapping[str, Layers] = {
    "pnet": Layers(
        "a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f",
        (("conv1", 2, 0), ("conv2", 0, 0), ("conv3", 0, 0)),
        ("conv4_1", "conv4_2"),
    ),
    "rnet": Layers(
        "bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86",
        (("conv1", 3, 0), ("conv2", 3, 0), ("conv3", 0, 0), ("dense4", 0, 3)),
        ("dense5_1", "dense5_2"),
    ),
    "onet": Layers(
        "165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d",
        (("conv1", 3, 0), ("conv2", 3, 0), ("conv3", 2, 0), ("conv4", 0, 0), ("dense5", 0, 3)),
        ("dense6_1", "dense6_2", "dense6_3"),
    ),
}


def read_source(path: Path, name: str) -> bytes:
    """Return a published file from the wheel, or from a folder of the three.

    Raises:
        SystemExit: another file.
    """
    if path.is_dir():
        data = (path / f"{name}.pt").read_bytes()
    else:
        with zipfile.ZipFile(path) as wheel:
            data = wheel.read(f"facenet_pytorch/data/{name}.pt")
    if (digest := hashlib.sha256(data).hexdigest()) != NETWORKS[name].sha256:
        raise SystemExit(f"{name}.pt of {path}: sha256 {digest}, expected {NETWORKS[name].sha256}")
    return data


def read_weights(source: bytes) -> dict[str, _Array]:
    """Return the arrays of a published file by name."""
    state = torch.load(io.BytesIO(source), map_location="cpu", weights_only=True)
    return {name: value.numpy() for name, value in state.items()}


def convert(name: str, weights: Mapping[str, _Array]) -> bytes:
    """Return the converted ONNX file of one of NETWORKS: input (B, 3, H, W) RGB 0..255, output (B, 5 or 15, h, w).

    The channels are the logit of a face, four offsets of the box and, of `onet`, five x and five y of points.
    """
    layers, nodes, held = NETWORKS[name], [], dict[str, _Array]()
    value = "centred"
    nodes.append(helper.make_node("Sub", ["image", "centre"], [value], name=value))
    held["centre"] = np.full((1, 1, 1, 1), CENTRE, np.float32)
    for layer, pool, whole in layers.convolutions:
        weight, bias = weights[f"{layer}.weight"], weights[f"{layer}.bias"]
        first = value == "centred"
        if first:
            weight = weight / np.float32(SPREAD)
        if whole:  # rows of a dense layer go by columns, rows and channels of the map
            weight = weight.reshape(len(weight), whole, whole, -1).transpose(0, 3, 2, 1)
        slope = weights[f"prelu{layer.removeprefix('conv').removeprefix('dense')}.weight"].reshape(-1, 1, 1)
        nodes += _convolution(held, layer, value, weight, bias, half=not first)
        held[f"{layer}.slope"] = slope.astype(np.float32)
        nodes.append(helper.make_node("PRelu", [layer, f"{layer}.slope"], [f"{layer}.active"], name=f"{layer}.active"))
        value = f"{layer}.active"
        if pool:
            how = {"kernel_shape": [pool, pool], "strides": [2, 2], "ceil_mode": 1}
            nodes.append(helper.make_node("MaxPool", [value], [f"{layer}.pooled"], name=f"{layer}.pooled", **how))
            value = f"{layer}.pooled"
    nodes += _convolution(held, "found", value, *_joined_heads(layers, weights), half=True)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["B", 3, "H", "W"])
    found = helper.make_tensor_value_info("found", TensorProto.FLOAT, ["B", len(held["found.bias"]), None, None])
    tensors = [numpy_helper.from_array(array, own) for own, array in held.items()]
    graph = helper.make_graph(nodes, f"mtcnn_{name}", [image], [found], tensors)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="anon-batch"
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _joined_heads(layers: Layers, weights: Mapping[str, _Array]) -> tuple[_Array, _Array]:
    """Return weight and bias of one convolution in place of the last layers."""
    parts = [(weights[f"{head}.weight"], weights[f"{head}.bias"]) for head in layers.heads]
    parts[0] = tuple(part[1:] - part[:1] for part in parts[0])  # softmax of two values: sigmoid of their difference
    weight = np.concatenate([part.reshape(*part.shape[:2], 1, 1) for part, _ in parts])
    return weight, np.concatenate([bias for _, bias in parts])


def _convolution(
    held: dict[str, _Array], name: str, value: str, weight: _Array, bias: _Array, half: bool
) -> list[onnx.NodeProto]:
    nodes = []
    held[f"{name}.bias"] = np.ascontiguousarray(bias, np.float32)
    if half:
        held[f"{name}.half"] = np.ascontiguousarray(weight, np.float16)
        nodes.append(helper.make_node("Cast", [f"{name}.half"], [f"{name}.weight"], to=TensorProto.FLOAT))
    else:
        held[f"{name}.weight"] = np.ascontiguousarray(weight, np.float32)
    inputs = [value, f"{name}.weight", f"{name}.bias"]
    return [*nodes, helper.make_node("Conv", inputs, [name], name=name, kernel_shape=list(weight.shape[2:]))]


def main() -> None:
    """Convert, write the files and print their digests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the wheel, or a folder with pnet.pt, rnet.pt and onet.pt")
    parser.add_argument("--output", type=Path, required=True, help="folder")
    args = parser.parse_args()
    for name in NETWORKS:
        data = convert(name, read_weights(read_source(args.source, name)))
        path = args.output / f"mtcnn_{name}.onnx"
        path.write_bytes(data)
        print(f"{path}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
