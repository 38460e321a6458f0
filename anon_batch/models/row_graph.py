"""Prepare a user's network whose outputs are rows, one for each prior or cell: (B, N, k) or (N, k)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anon_batch.errors import ModelError
from anon_batch.models.onnx_graph import put_channels_first, read_graph

if TYPE_CHECKING:
    import onnx

_RANKS = (2, 3)


@dataclass(frozen=True, slots=True)
class ImageInput:
    """How a network takes its image.

    Args:
        order: of the channels, `rgb` or `bgr`.
        mean: subtracted from the channels 0..255, in that order.
        scale: then multiplied with.
    """

    order: str
    mean: tuple[float, float, float]
    scale: float


@dataclass(frozen=True, slots=True)
class RowNetwork:
    """A prepared network.

    Args:
        data: ONNX file; input (B, 3, H, W) RGB 0..255, outputs (B, N, k).
        size: height and width that its input is fixed to, px; None if both are free.
    """

    data: bytes
    size: tuple[int, int] | None


def prepare_rows(data: bytes, taken: ImageInput) -> RowNetwork:
    """Return a network with RGB 0..255 as its input and a batch as the first axis of every output.

    Args:
        data: the user's file: one float32 input (B, 3, H, W) or (B, H, W, 3).
        taken: what its input is.

    Raises:
        ModelError: not an ONNX file, or another input.
    """
    model = read_graph(data)
    image = _input(model.graph)
    dims = [dim.dim_value for dim in image.type.tensor_type.shape.dim]
    if dims[1] != 3 and dims[3] == 3:
        model = read_graph(put_channels_first(data))
        dims = [dims[0], 3, dims[1], dims[2]]
    elif dims[1] not in (0, 3):
        raise ModelError(f"expected an image of 3 channels, its input has {dims[1]}")
    if dims[0] > 1:
        raise ModelError(f"its input is fixed to batches of {dims[0]} images; export it with batches of 1")
    height, width = dims[2], dims[3]
    if (height > 0) != (width > 0):
        raise ModelError("one side of its input is fixed and the other free; export it with both fixed or both free")
    _normalise(model.graph, taken)
    _add_batch_axis(model.graph)
    return RowNetwork(bytes(model.SerializeToString()), (height, width) if height > 0 else None)


def _input(graph: onnx.GraphProto) -> onnx.ValueInfoProto:
    held = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in held]
    if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != 4:
        raise ModelError(f"expected one image as input, found {[value.name for value in inputs]}")
    from onnx import TensorProto

    if inputs[0].type.tensor_type.elem_type != TensorProto.FLOAT:
        kind = TensorProto.DataType.Name(inputs[0].type.tensor_type.elem_type)
        raise ModelError(f"expected an input of float32, found {kind.lower()}; export it in float32")
    return inputs[0]


def _normalise(graph: onnx.GraphProto, taken: ImageInput) -> None:
    from onnx import helper, numpy_helper

    image = _input(graph).name
    kernel = np.zeros((3, 3, 1, 1), np.float32)
    kernel[[0, 1, 2], [0, 1, 2] if taken.order == "rgb" else [2, 1, 0]] = taken.scale
    bias = -np.asarray(taken.mean, np.float32) * np.float32(taken.scale)
    graph.initializer.extend(
        [numpy_helper.from_array(kernel, "anon_batch_kernel"), numpy_helper.from_array(bias, "anon_batch_bias")]
    )
    for node in graph.node:
        node.input[:] = ["anon_batch_normalised" if name == image else name for name in node.input]
    inputs = [image, "anon_batch_kernel", "anon_batch_bias"]
    graph.node.insert(0, helper.make_node("Conv", inputs, ["anon_batch_normalised"], kernel_shape=[1, 1]))


def _add_batch_axis(graph: onnx.GraphProto) -> None:
    from onnx import helper, numpy_helper

    ranks = [len(value.type.tensor_type.shape.dim) for value in graph.output]
    if not set(ranks) <= set(_RANKS):
        found = [value.name for value, rank in zip(graph.output, ranks, strict=True) if rank not in _RANKS]
        raise ModelError(f"expected outputs of rows, (1, N, k) or (N, k); {', '.join(found)} are not")
    for position, value in enumerate(list(graph.output)):
        if ranks[position] == 2:
            name = f"{value.name}_batch"
            columns = value.type.tensor_type.shape.dim[1].dim_value
            if not columns:
                raise ModelError(f"the output {value.name} does not say how many columns it has")
            shape = f"{name}_shape"
            graph.initializer.append(numpy_helper.from_array(np.array([1, -1, columns], np.int64), shape))
            graph.node.append(helper.make_node("Reshape", [value.name, shape], [name]))
            made = helper.make_tensor_value_info(name, value.type.tensor_type.elem_type, [1, None, columns])
            graph.output[position].CopyFrom(made)
