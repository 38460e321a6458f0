"""The converters of recognisers, on files of the same formats made for the test."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tools.recognisers import __main__ as recognisers
from tools.recognisers.dlib_resnet import _Reader, convert_resnet
from tools.recognisers.tfjs import FEATURES, SIDE_PX, convert_mobilenet

RNG = np.random.default_rng(0)


def _number(value: int) -> bytes:
    digits = value.to_bytes(max(1, (value.bit_length() + 7) // 8), "little")
    return bytes([len(digits)]) + digits


def _tensor(values: np.ndarray, sizes: tuple[int, ...]) -> bytes:
    return b"".join(map(_number, (2, *sizes))) + values.astype("<f4").tobytes()


def _layer(name: bytes, content: bytes) -> bytes:
    return b"\x01" + bytes([len(name)]) + name + content


def _resnet() -> bytes:
    """Write weights of dlib's network: each convolution gives means of its input, so that values stay small."""
    parts, channels = [b"\x01\x01header"], 3

    def convolution(filters: int, side: int, stride: int) -> None:
        nonlocal channels
        weights = RNG.normal(size=filters * channels * side * side) / np.sqrt(channels * side * side)
        pad = 0 if stride > 1 else side // 2
        numbers = (filters, side, side, stride, stride, pad, pad)
        count = len(weights) + filters
        content = _tensor(np.append(weights, np.zeros(filters)), (count, 1, 1, 1))
        parts.append(_layer(b"con_4", content + b"".join(map(_number, numbers))))
        scale = np.append(np.ones(filters), np.zeros(filters))
        parts.append(_layer(b"affine_", _tensor(scale, (2 * filters, 1, 1, 1))))
        channels = filters

    convolution(32, 7, 2)
    for width, count, down in ((32, 3, 1), (64, 4, 2), (128, 3, 2), (256, 3, 2), (256, 1, 2)):
        for position in range(count):
            convolution(width, 3, down if position == 0 else 1)
            convolution(width, 3, 1)
    last = _tensor(np.eye(256, 128), (256, 128, 1, 1))
    return b"".join([*parts, _layer(b"fc_2", _number(128) + _number(256) + last)])


def test_numbers_of_dlibs_format() -> None:
    data = b"\x01\x05\x02\x00\x01\x82\x01\x01"
    reader = _Reader(data)
    assert [reader.integer() for _ in range(3)] == [5, 256, -257]


def test_dlibs_network_is_read_layer_by_layer() -> None:
    data = _resnet()
    session = onnxruntime.InferenceSession(convert_resnet(data).SerializeToString())
    images = RNG.normal(size=(2, 1, 3, 150, 150)).astype(np.float32)
    [one], [other] = (session.run(None, {"image": image}) for image in images)
    assert one.shape == (1, 128)
    assert np.isfinite(one).all()
    assert not np.allclose(one, other)
    with pytest.raises(ValueError, match="the file ends inside a tensor"):
        convert_resnet(data[: len(data) // 2])
    with pytest.raises(ValueError, match="a convolution of"):
        convert_resnet(data.replace(_number(7) + _number(7), _number(5) + _number(5), 1))


def _mobilenet() -> tuple[bytes, bytes, np.ndarray]:
    kernel, factor = RNG.normal(size=(3, 3, 3, 4)).astype(np.float16), np.float16(RNG.normal(size=4))
    weights = [("k", kernel), ("f", factor)]
    specs = [
        {"name": n, "shape": list(w.shape), "dtype": "float32", "quantization": {"dtype": "float16"}}
        for n, w in weights
    ]
    strides = {"list": {"i": ["1", "2", "2", "1"]}}
    nodes = [
        {"op": "Placeholder", "name": "in"},
        {"op": "Const", "name": "k"},
        {"op": "Conv2D", "name": "c", "input": ["in", "k"], "attr": {"strides": strides}},
        {"op": "Mul", "name": "m", "input": ["c", "f"]},
        {"op": "Relu", "name": "r", "input": ["m"]},
        {"op": "Mean", "name": FEATURES, "input": ["r", "axes"]},
    ]
    model = {"modelTopology": {"node": nodes}, "weightsManifest": [{"weights": specs}]}
    return json.dumps(model).encode(), b"".join(w.tobytes() for _, w in weights), kernel * factor


def test_a_graph_of_tensorflow_js_becomes_a_network() -> None:
    topology, weights, kernel = _mobilenet()
    session = onnxruntime.InferenceSession(convert_mobilenet(topology, weights).SerializeToString())
    [features] = session.run(None, {"in": np.ones((1, 3, SIDE_PX, SIDE_PX), np.float32)})
    # Inside, each output is the sum of the kernel; at the border, where TensorFlow pads right and below, a little less.
    expected = np.maximum(kernel.astype(np.float32).sum(axis=(0, 1, 2)), 0)
    assert features[0] == pytest.approx(expected, abs=0.1)
    odd = json.loads(topology)
    odd["modelTopology"]["node"][4]["op"] = "Elu"
    with pytest.raises(ValueError, match="operator Elu"):
        convert_mobilenet(json.dumps(odd).encode(), weights)


def test_a_file_with_another_digest_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "package.tgz"
    with tarfile.open(archive, "w:gz") as opened:
        for name in recognisers.RECOGNISERS["faceres"].files:
            info = tarfile.TarInfo(name)
            info.size = 3
            opened.addfile(info, io.BytesIO(b"abc"))
    with pytest.raises(SystemExit, match="sha256 is"):
        recognisers.write("faceres", archive, tmp_path)
    with pytest.raises(SystemExit, match="another version of the package"):
        recognisers.write("dlib", archive, tmp_path)
    assert not os.path.exists(tmp_path / "faceres.onnx")
