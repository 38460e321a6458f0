"""Prepare an ONNX file in memory, before a runtime loads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from anon_batch.errors import ModelError

if TYPE_CHECKING:
    import onnx

_BATCH, _HEIGHT, _WIDTH = 0, 2, 3


def read_graph(data: bytes) -> onnx.ModelProto:
    """Parse an ONNX file.

    Raises:
        ModelError: the bytes are not an ONNX model.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return onnx.load_model_from_string(data)
    except DecodeError as exc:
        raise ModelError(f"not an ONNX file: {exc}") from None


def prepare_image_network(data: bytes) -> bytes:
    """Make a network with one image input (B, 3, H, W) run at any size, and faster.

    Remove initializers from the inputs, because a runtime must not fold an input, which a caller may override, into
    other operators (batch norms into convolutions double the speed of CenterFace). Make batch, height and width of the
    input and of 4-D outputs variable. Widen weights that the file keeps in float16.

    Args:
        data: an ONNX file.

    Returns:
        The changed ONNX file; weights and operators are the same.

    Raises:
        ModelError: not an ONNX file, or not exactly one input of four dimensions.
    """
    model = read_graph(data)
    graph = model.graph
    initializers = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in initializers]
    if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != 4:
        raise ModelError(f"expected one input (B, 3, H, W), found {[value.name for value in inputs]}")
    del graph.input[:]
    graph.input.extend(inputs)
    for value in (*graph.input, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if len(dims) != 4:
            continue
        for axis in (_BATCH, _HEIGHT, _WIDTH):
            dims[axis].dim_param = f"{value.name}_{axis}"
    del graph.value_info[:]  # because intermediate shapes are those of the fixed size
    _widen_weights(graph)
    return bytes(model.SerializeToString())


def _widen_weights(graph: onnx.GraphProto) -> None:
    """Replace weights in float16, and the casts that read them, by weights in float32."""
    import onnx

    held = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16}
    casts = [node for node in graph.node if node.op_type == "Cast" and node.input[0] in held]
    for node in casts:
        array = onnx.numpy_helper.to_array(held[node.input[0]]).astype(np.float32)
        graph.initializer.append(onnx.numpy_helper.from_array(array, node.output[0]))
        graph.node.remove(node)
    read = {name for node in graph.node for name in node.input}
    for tensor in held.values():
        if tensor.name not in read:
            graph.initializer.remove(tensor)


def put_channels_first(data: bytes) -> bytes:
    """Make a network with one image input (B, H, W, 3) take (B, 3, H, W).

    Args:
        data: an ONNX file.

    Returns:
        The changed ONNX file, which transposes its input.

    Raises:
        ModelError: not an ONNX file, or not exactly one input of four dimensions.
    """
    import onnx

    model = read_graph(data)
    graph = model.graph
    initializers = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in initializers]
    if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != 4:
        raise ModelError(f"expected one input (B, H, W, 3), found {[value.name for value in inputs]}")
    last = inputs[0].name
    first = f"{last}_channels_first"
    value = onnx.helper.make_tensor_value_info(first, inputs[0].type.tensor_type.elem_type, ["B", 3, "H", "W"])
    graph.input.remove(inputs[0])
    graph.input.append(value)
    graph.node.insert(0, onnx.helper.make_node("Transpose", [first], [last], perm=[0, 2, 3, 1]))
    return bytes(model.SerializeToString())


def expand_weights(data: bytes) -> bytes:
    """Return a network whose weights are 8-bit integers in its file with the weights in float32.

    Because runtimes would expand them at each call.

    Args:
        data: an ONNX file in which DequantizeLinear reads initializers: weights, a scale for all or for each output channel, and
            perhaps a zero.

    Raises:
        ModelError: not an ONNX file.
    """
    from onnx import numpy_helper

    model = read_graph(data)
    graph = model.graph
    held = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in held]:
        whole, scale, *zero = (numpy_helper.to_array(held[name]) for name in node.input)
        whole = whole.astype(np.int32) - (zero[0].astype(np.int32) if zero else 0)
        weights = whole.astype(np.float32) * scale.reshape(-1, *(1,) * (whole.ndim - 1))
        graph.initializer.append(numpy_helper.from_array(weights, node.output[0]))
        graph.node.remove(node)
        for name in node.input:
            graph.initializer.remove(held[name])
    return bytes(model.SerializeToString())
