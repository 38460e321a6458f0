"""Running a prepared picture network: one interface, a backend each for onnxruntime, OpenVINO and torch."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, Literal, Protocol, cast

import cv2
import numpy as np

from anon_batch.errors import ConfigError, ModelError
from anon_batch.models.int8_probe import clips_products
from anon_batch.models.onnx_graph import prepare_image_network
from anon_batch.records import FloatArray, PixelArray

Backend = Literal["onnxruntime", "openvino", "torch"]

# Pictures of a call on CUDA. Few, as pictures of any sizes come and each size has calls of its own; a batch takes several.
CUDA_CALL_PICTURES = 8


class Network(Protocol):
    """A picture network.

    Attributes:
        batch_size: how many pictures of one size `run` takes at once, no fewer and no more: results must not
            depend on which pictures share a batch, and kernels are chosen by the batch's size.
    """

    batch_size: int

    def run(self, batch: FloatArray) -> list[FloatArray]:
        """Runs the network.

        Args:
            batch: (batch_size, 3, H, W) float32, contiguous.

        Returns:
            The graph's outputs in the graph's order, float32.
        """

    def run_pictures(self, batches: Iterable[PixelArray]) -> Iterator[list[FloatArray]]:
        """Runs the network on one batch after the other; on CUDA a batch is made ready while the one before is computed.

        Args:
            batches: (batch_size, H, W, 3) uint8 RGB each, contiguous, of any H and W; the network sees them as (batch_size, 3,
                H, W) float32, 0 .. 255. They are taken ahead of the outputs.

        Yields:
            What `run` returns for each batch, in their order: arrays that hold until the next ones are asked for.
        """


def choose_backend(configured: str, device: str) -> Backend:
    """The backend for `detect.backend` on a device (`cpu`, `cuda`, `cuda:N`).

    `auto` is torch on CUDA, else onnxruntime.

    Raises:
        ConfigError: CUDA was asked for and the backend has none.
    """
    on_cuda = device.startswith("cuda")
    if configured == "auto":
        return "torch" if on_cuda else "onnxruntime"
    if on_cuda and configured != "torch":
        raise ConfigError(
            f"detect.backend: {configured} runs on the CPU, but engine.num_gpus asks for a GPU; use torch or "
            "auto, or set engine.num_gpus: 0"
        )
    return cast(Backend, configured)


def open_network(backend: Backend, data: bytes, *, threads: int, device: str) -> Network:
    """Loads a network. CPUs take pictures one by one, which is faster there.

    Args:
        backend: what runs it.
        data: the ONNX file as it was published.
        threads: CPU threads of one call.
        device: `cpu`, `cuda` or `cuda:N`; anything but `cpu` needs torch.

    Raises:
        ConfigError: the device or the extra `openvino` is missing.
        ModelError: the file is not a network that the backend can run.
    """
    prepared = prepare_image_network(data)
    if backend == "torch":
        from anon_batch.models.torch_network import TorchNetwork

        return TorchNetwork(prepared, threads=threads, device=device, cuda_batch=CUDA_CALL_PICTURES)
    if backend == "openvino":
        return OpenVinoNetwork(prepared, threads)
    return OnnxRuntimeNetwork(prepared, threads)


def planes(pictures: PixelArray) -> FloatArray:
    """(B, H, W, 3) uint8 as (B, 3, H, W) float32."""
    count, height, width, channels = pictures.shape
    batch = np.empty((count, channels, height, width), np.float32)
    for slot, picture in zip(batch, pictures, strict=True):
        for plane, channel in zip(slot, cv2.split(picture), strict=True):  # faster than a transposed copy
            plane[...] = channel
    return batch


class OneByOne(ABC):
    """Of a network without a queue: each batch when its outputs are asked for."""

    @abstractmethod
    def run(self, batch: FloatArray) -> list[FloatArray]:
        """See Network.run."""

    def run_pictures(self, batches: Iterable[PixelArray]) -> Iterator[list[FloatArray]]:
        """See Network.run_pictures."""
        for batch in batches:
            yield self.run(planes(batch))


class OnnxRuntimeNetwork(OneByOne):
    """onnxruntime on the CPU, float32 or, where the file says so, 8 bits: the same sums on every CPU."""

    batch_size = 1

    def __init__(self, prepared: bytes, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others need the cores
        if clips_products():
            options.add_session_config_entry("session.x64quantprecision", "1")
        providers = ["CPUExecutionProvider"]
        try:
            self._session = onnxruntime.InferenceSession(prepared, options, providers=providers)
        except Exception as exc:  # its exceptions share no base class
            raise ModelError(f"onnxruntime cannot load the network: {exc}") from exc
        self._input = self._session.get_inputs()[0].name

    def run(self, batch: FloatArray) -> list[FloatArray]:
        """See Network.run."""
        return [np.asarray(out, np.float32) for out in self._session.run(None, {self._input: batch})]


class OpenVinoNetwork(OneByOne):
    """OpenVINO on the CPU, bfloat16 where the CPU has it (AVX-512 BF16, AMX), else float32."""

    batch_size = 1

    def __init__(self, prepared: bytes, threads: int) -> None:
        openvino = _import_openvino()
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16",
            "INFERENCE_NUM_THREADS": str(threads),
            "NUM_STREAMS": "1",
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": "NO",  # several processes would pin themselves to the same core
        }
        try:
            core = openvino.Core()
            self._model = core.compile_model(core.read_model(prepared), "CPU", settings)
        except RuntimeError as exc:
            raise ModelError(f"OpenVINO cannot load the network: {exc}") from exc
        self._request = functools.cache(self._model.create_infer_request)

    def run(self, batch: FloatArray) -> list[FloatArray]:
        """See Network.run."""
        result = self._request().infer([batch], share_inputs=True)
        return [np.array(result[port], np.float32) for port in self._model.outputs]


def _import_openvino() -> Any:
    try:
        import openvino
    except ImportError:
        raise ConfigError(
            "detect.backend: openvino is not installed; install it with `pip install "
            "'anon-batch[openvino]'`, or use onnxruntime"
        ) from None
    return openvino
