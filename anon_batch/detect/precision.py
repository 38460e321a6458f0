"""The numeric precision of a detector's network, and so which model file is used."""

from __future__ import annotations

from typing import Literal

from anon_batch.config import DetectConfig
from anon_batch.errors import ConfigError
from anon_batch.models.backends import choose_backend
from anon_batch.models.network import Backend


def precision_of(detect: DetectConfig, backend: Backend) -> Literal["fp32", "int8"]:
    """Return `detect.precision` on a backend; `auto` is int8 on onnxruntime, else fp32.

    It follows the job alone, never the CPU of a worker, so that one release has one model.

    Raises:
        ConfigError: int8 on a backend other than onnxruntime.
    """
    if detect.precision == "auto":
        return "int8" if backend == "onnxruntime" else "fp32"
    if detect.precision == "int8" and backend != "onnxruntime":
        raise ConfigError(
            f"detect.precision: int8 runs on onnxruntime, but the backend is {backend} (detect.backend: "
            f"{detect.backend}; `auto` is torch when engine.num_gpus is above 0); use fp32 or auto"
        )
    return detect.precision


def centerface_model(detect: DetectConfig, device: str = "cpu") -> str:
    """Return the model registry's name of CenterFace's file for a job on a device.

    Raises:
        ConfigError: as `precision_of` and `choose_backend`.
    """
    precision = precision_of(detect, choose_backend(detect.backend, device))
    return "centerface_int8" if precision == "int8" else "centerface"
