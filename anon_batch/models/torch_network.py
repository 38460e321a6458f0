"""Run an ONNX image network in torch, which supports CUDA without a second runtime.

Interprets the operators that the detectors' networks consist of; the weights are the file's initializers.
Not measured on a GPU: the CUDA path has never run on CUDA; the tests compare the CPU path with onnxruntime.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor

from anon_batch.errors import ConfigError, ModelError
from anon_batch.models.cuda_calls import CudaCalls, half_on_cuda
from anon_batch.models.network import SynchronousNetwork
from anon_batch.models.onnx_graph import read_graph
from anon_batch.records import FloatArray, PixelArray

_OPERATORS = frozenset(
    (
        "Conv",
        "ConvTranspose",
        "BatchNormalization",
        "Clip",
        "Relu",
        "LeakyRelu",
        "PRelu",
        "Sigmoid",
        "Add",
        "Sub",
        "Concat",
        "MaxPool",
        "Pad",
        "Resize",
    )
)


# mode, coordinates and rounding of a Resize -> torch's name
_ENLARGE: Mapping[tuple[Any, ...], str] = {
    (b"nearest", b"asymmetric", b"floor"): "nearest",
    (b"linear", b"half_pixel", None): "bilinear",
}


class _Step(NamedTuple):
    operator: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any]
    last_reads: tuple[str, ...]  # values that no later step reads


class OnnxModule(torch.nn.Module):
    """The graph of a prepared ONNX file.

    Args:
        prepared: ONNX file whose only input is the image batch.
        outputs: names of the values to return instead of the graph's outputs; nodes that they do not need are not run.

    Raises:
        ModelError: an operator or attribute is not supported, or a value does not exist.
    """

    def __init__(self, prepared: bytes, outputs: Sequence[str] | None = None) -> None:
        from onnx import numpy_helper

        super().__init__()
        graph = read_graph(prepared).graph
        self._input = graph.input[0].name
        self._outputs = tuple(outputs or (value.name for value in graph.output))
        self._weights: dict[str, str] = {}
        for position, tensor in enumerate(graph.initializer):
            array = numpy_helper.to_array(tensor)
            if array.dtype == np.float32:
                self._weights[tensor.name] = f"weight_{position}"
                self.register_buffer(f"weight_{position}", torch.from_numpy(array.copy()))
        steps = _steps(graph, keep=self._outputs)
        made = [step.output for step in steps]
        if missing := set(self._outputs) - set(made):
            raise ModelError(f"the network has no values named {sorted(missing)}")
        self._steps = steps[: 1 + max(made.index(name) for name in self._outputs)]

    def forward(self, batch: Tensor) -> tuple[Tensor, ...]:
        """Map (B, 3, H, W) to the graph's outputs, in its order."""
        values: dict[str, Tensor] = {self._input: batch}
        for step in self._steps:
            arguments = [values[name] if name in values else self._weight(name) for name in step.inputs]
            values[step.output] = _apply(step, arguments)
            for name in step.last_reads:
                values.pop(name, None)
        return tuple(values[name] for name in self._outputs)

    def _weight(self, name: str) -> Tensor:
        return cast(Tensor, getattr(self, self._weights[name]))


def _steps(graph: Any, keep: tuple[str, ...]) -> tuple[_Step, ...]:
    from onnx import helper

    last_use = {name: position for position, node in enumerate(graph.node) for name in node.input}
    steps = []
    for position, node in enumerate(graph.node):
        if node.op_type not in _OPERATORS:
            raise ModelError(f"the torch backend does not support the operator {node.op_type}; use onnxruntime")
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        inputs = tuple(node.input)
        if node.op_type == "Clip" and (len(inputs) != 3 or not all(inputs)):
            raise ModelError("the torch backend supports only a Clip with both limits; use onnxruntime")
        if node.op_type == "Resize":
            attributes["factor"], attributes["how"] = _enlargement(node, attributes, graph)
            inputs = inputs[:1]
        if node.op_type == "Pad":
            attributes["pads"] = _zeros_around(node, attributes, graph)
            inputs = inputs[:1]
        _check_attributes(node.op_type, attributes)
        read_last = (name for name in dict.fromkeys(node.input) if last_use[name] == position)
        last_reads = tuple(name for name in read_last if name not in keep)
        steps.append(_Step(node.op_type, inputs, node.output[0], attributes, last_reads))
    return tuple(steps)


def _enlargement(node: Any, attributes: Mapping[str, Any], graph: Any) -> tuple[int, str]:
    """Return the factor by which a Resize enlarges rows and columns, and torch's name of how."""
    constants = _constants(node, graph)
    scales = constants[node.input[2]].tolist() if len(node.input) == 3 and node.input[2] in constants else []
    kind = tuple(attributes.get(name) for name in ("mode", "coordinate_transformation_mode", "nearest_mode"))
    how = _ENLARGE.get(kind)
    if how is None or len(scales) != 4 or scales != [1, 1, int(scales[2]), int(scales[2])]:
        raise ModelError(
            "the torch backend supports only a Resize that repeats rows and columns, or goes between them linearly, a whole "
            "number of times; use onnxruntime"
        )
    return int(scales[2]), how


def _zeros_around(node: Any, attributes: Mapping[str, Any], graph: Any) -> tuple[int, ...]:
    """Return how much a Pad adds, as torch counts it: before and after, the last dimension first."""
    constants = _constants(node, graph)
    pads = constants[node.input[1]].tolist() if len(node.input) == 2 and node.input[1] in constants else []
    if attributes.get("mode", b"constant") != b"constant" or len(pads) != 8:
        raise ModelError("the torch backend supports only a Pad with zeros of four dimensions; use onnxruntime")
    return tuple(int(pads[at]) for axis in (3, 2, 1, 0) for at in (axis, axis + 4))


def _constants(node: Any, graph: Any) -> dict[str, Any]:
    from onnx import numpy_helper

    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.name in node.input}


def _check_attributes(operator: str, attributes: Mapping[str, Any]) -> None:
    if operator not in ("Conv", "ConvTranspose", "MaxPool"):
        return
    pads = attributes.get("pads", [0, 0, 0, 0])
    if operator == "MaxPool" and (
        (attributes.get("ceil_mode") and any(pads)) or any(side != 1 for side in attributes.get("dilations", ()))
    ):
        raise ModelError(
            "the torch backend does not support MaxPool with dilations, or with ceil_mode and padding; use onnxruntime"
        )
    known = (b"NOTSET", b"SAME_UPPER") if operator == "Conv" else (b"NOTSET",)
    uneven = operator != "Conv" and list(pads[:2]) != list(pads[2:])
    if uneven or attributes.get("auto_pad", b"NOTSET") not in known:
        raise ModelError(f"the torch backend does not support {operator} with uneven padding; use onnxruntime")
    if any(attributes.get("output_padding", ())) or "output_shape" in attributes:
        raise ModelError(f"the torch backend does not support {operator} with an output shape; use onnxruntime")


def _apply(step: _Step, arguments: list[Tensor]) -> Tensor:
    values, attributes = arguments[0], step.attributes
    match step.operator:
        case "Add":
            return values + arguments[1]
        case "Sub":
            return values - arguments[1]
        case "Concat":
            return torch.cat(arguments, dim=attributes["axis"])
        case "Pad":
            return F.pad(values, attributes["pads"])
        case "MaxPool":
            strides, pads = attributes.get("strides", (1, 1)), attributes.get("pads", (0, 0, 0, 0))
            sides, ceil = tuple(attributes["kernel_shape"]), bool(attributes.get("ceil_mode"))
            return F.max_pool2d(values, sides, stride=tuple(strides), padding=tuple(pads[:2]), ceil_mode=ceil)
        case "Resize":
            return F.interpolate(values, scale_factor=float(attributes["factor"]), mode=attributes["how"])
        case "BatchNormalization":
            _, weight, bias, mean, variance = arguments
            return F.batch_norm(values, mean, variance, weight, bias, eps=attributes.get("epsilon", 1e-5))
        case "Conv" | "ConvTranspose":
            return _convolve(step, arguments)
    return _activate(step, arguments)


def _activate(step: _Step, arguments: list[Tensor]) -> Tensor:
    match step.operator:
        case "Relu":
            return F.relu(arguments[0])
        case "Clip":
            return torch.clamp(arguments[0], arguments[1], arguments[2])
        case "LeakyRelu":
            return F.leaky_relu(arguments[0], step.attributes.get("alpha", 0.01))
        case "PRelu":
            return F.prelu(arguments[0], arguments[1].flatten())
    return torch.sigmoid(arguments[0].float())


def _convolve(step: _Step, arguments: list[Tensor]) -> Tensor:
    convolve = F.conv2d if step.operator == "Conv" else F.conv_transpose2d
    values, padding = _padded(arguments[0], arguments[1].shape[2:], step.attributes)
    return convolve(
        values,
        arguments[1],
        arguments[2] if len(arguments) > 2 else None,
        stride=tuple(step.attributes.get("strides", (1, 1))),
        padding=padding,
        dilation=tuple(step.attributes.get("dilations", (1, 1))),
        groups=step.attributes.get("group", 1),
    )


def _padded(values: Tensor, kernel: Sequence[int], attributes: Mapping[str, Any]) -> tuple[Tensor, tuple[int, int]]:
    """Return the input of a convolution and the padding that is left to it, which is the same on both sides.

    `auto_pad` SAME_UPPER gives an output whose size is that of the input by the stride, rounded up.
    """
    if attributes.get("auto_pad") != b"SAME_UPPER":
        top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
        even = (top, left) == (bottom, right)
        return (values, (top, left)) if even else (F.pad(values, (left, right, top, bottom)), (0, 0))
    pads: list[int] = []
    for axis in (1, 0):  # torch wants the last axis first
        side, stride = int(values.shape[2 + axis]), attributes.get("strides", (1, 1))[axis]
        reach = (int(kernel[axis]) - 1) * attributes.get("dilations", (1, 1))[axis] + 1
        missing = max((-(-side // stride) - 1) * stride + reach - side, 0)
        pads += [missing // 2, missing - missing // 2]
    return F.pad(values, pads), (0, 0)


class TorchNetwork(SynchronousNetwork):
    """torch: float32 on the CPU, float16 in channels-last order on CUDA.

    On CUDA every call has the same batch size and deterministic kernels, so that an image's result does not
    depend on the images beside it. On the CPU, `threads` sets torch's thread count of the whole process.
    """

    def __init__(self, prepared: bytes, *, threads: int, device: str, cuda_batch: int) -> None:
        try:
            self._device = torch.device(device)
        except RuntimeError:
            raise ConfigError(f"device {device!r}: expected cpu, cuda or cuda:N") from None
        self._cuda = self._device.type == "cuda"
        if self._cuda and not torch.cuda.is_available():
            raise ConfigError(
                "engine.num_gpus reserves a GPU, but torch finds no CUDA device; install torch with CUDA on "
                "the workers, or set engine.num_gpus: 0"
            )
        self.batch_size = cuda_batch if self._cuda else 1
        self._module = OnnxModule(prepared).eval().to(self._device)
        if self._cuda:
            self._module = self._module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            self._calls = CudaCalls(self._run_bytes, self._device)
        else:
            torch.set_num_threads(threads)

    @torch.inference_mode()
    def run(self, batch: FloatArray) -> list[FloatArray]:
        """See Network.run."""
        tensor = torch.from_numpy(batch).to(self._device)
        outputs = self._run_half(tensor) if self._cuda else self._module(tensor)
        return [out.cpu().numpy() for out in outputs]

    def run_images(self, batches: Iterable[PixelArray]) -> Iterator[list[FloatArray]]:
        """See Network.run_images. CUDA gets bytes, a quarter of the size of floats."""
        if not self._cuda:
            return super().run_images(batches)
        return self._calls((batch,) for batch in batches)

    def _run_bytes(self, images: Tensor) -> tuple[Tensor, ...]:
        return self._run_half(images.permute(0, 3, 1, 2).half())  # the bytes are in channels-last order already

    def _run_half(self, batch: Tensor) -> tuple[Tensor, ...]:
        with half_on_cuda():
            outputs = self._module(batch.contiguous(memory_format=torch.channels_last))
        return tuple(out.float() for out in outputs)
