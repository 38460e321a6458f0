"""Open an image network with onnxruntime, OpenVINO or torch."""

from __future__ import annotations

import functools
from typing import Any, cast

import numpy as np

from anon_batch.errors import ConfigError, ModelError
from anon_batch.models.int8_probe import int8_saturates
from anon_batch.models.network import Backend, Network, SynchronousNetwork
from anon_batch.models.onnx_graph import prepare_image_network
from anon_batch.models.onnx_import import import_onnxruntime
from anon_batch.records import FloatArray

# Images in a CUDA call. Small, because images come in many sizes and only images of one size share a call.
CUDA_BATCH_SIZE = 8


def choose_backend(configured: str, device: str) -> Backend:
    """Return the backend that `detect.backend` names for a device (`cpu`, `cuda`, `cuda:N`).

    `auto` is torch on CUDA and onnxruntime on the CPU.

    Raises:
        ConfigError: the backend does not run on the device.
    """
    on_cuda = device.startswith("cuda")
    if configured == "auto":
        return "torch" if on_cuda else "onnxruntime"
    if on_cuda and configured != "torch":
        raise ConfigError(
            f"detect.backend: {configured} runs on the CPU only, but engine.num_gpus reserves a GPU; use torch or "
            "auto, or set engine.num_gpus: 0"
        )
    return cast(Backend, configured)


def open_network(backend: Backend, data: bytes, *, threads: int, device: str) -> Network:
    """Load a network. The batch size is 1 on the CPU, where that is faster.

    Args:
        backend: the runtime.
        data: the published ONNX file.
        threads: CPU threads of one call.
        device: `cpu`, `cuda` or `cuda:N`; CUDA needs torch.

    Raises:
        ConfigError: the device or the extra `openvino` is missing.
        ModelError: the backend cannot run the file.
    """
    prepared = prepare_image_network(data)
    if backend == "torch":
        from anon_batch.models.torch_network import TorchNetwork

        return TorchNetwork(prepared, threads=threads, device=device, cuda_batch=CUDA_BATCH_SIZE)
    if backend == "openvino":
        return OpenVinoNetwork(prepared, threads)
    return OnnxRuntimeNetwork(prepared, threads)


class OnnxRuntimeNetwork(SynchronousNetwork):
    """onnxruntime on the CPU, in float32 or in the 8 bits of a quantized file, with equal sums on every CPU."""

    batch_size = 1

    def __init__(self, prepared: bytes, threads: int) -> None:
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        options.add_session_config_entry(
            "session.intra_op.allow_spinning", "0"
        )  # because idle threads would take cores from other workers
        if int8_saturates():
            options.add_session_config_entry("session.x64quantprecision", "1")
        providers = ["CPUExecutionProvider"]
        try:
            self._session = onnxruntime.InferenceSession(prepared, options, providers=providers)
        except Exception as exc:  # because its exceptions share no base class
            raise ModelError(f"onnxruntime cannot load the network: {exc}") from exc
        self._input = self._session.get_inputs()[0].name

    def run(self, batch: FloatArray) -> list[FloatArray]:
        """See Network.run."""
        return [np.asarray(out, np.float32) for out in self._session.run(None, {self._input: batch})]


class OpenVinoNetwork(SynchronousNetwork):
    """OpenVINO on the CPU, in bfloat16 if the CPU supports it (AVX-512 BF16, AMX), else in float32."""

    batch_size = 1

    def __init__(self, prepared: bytes, threads: int) -> None:
        openvino = _import_openvino()
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16",
            "INFERENCE_NUM_THREADS": str(threads),
            "NUM_STREAMS": "1",
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": "NO",  # because several processes would pin themselves to the same core
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
