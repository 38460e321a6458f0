"""Preparing an ONNX file in memory, before a runtime loads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anon_batch.errors import ModelError

if TYPE_CHECKING:
    import onnx

_BATCH, _HEIGHT, _WIDTH = 0, 2, 3


def read_graph(data: bytes) -> onnx.ModelProto:
    """Parses an ONNX file.

    Raises:
        ModelError: the bytes are no ONNX model.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        return onnx.load_model_from_string(data)
    except DecodeError as exc:
        raise ModelError(f"not an ONNX file: {exc}") from None


def prepare_image_network(data: bytes) -> bytes:
    """Makes a network of one picture input (B, 3, H, W) run at any size, and fast.

    Initialisers that the file also lists as inputs are removed from there: as inputs a caller may override
    them, so a runtime must not fold them into their neighbours (batch norms into convolutions: twice the
    speed for CenterFace). Batch, height and width of input and 4-D outputs become free.

    Args:
        data: an ONNX file.

    Returns:
        The changed ONNX file; weights and operators are the same.

    Raises:
        ModelError: no ONNX file, or not exactly one input of four dimensions.
    """
    model = read_graph(data)
    graph = model.graph
    held = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in held]
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
    del graph.value_info[:]  # intermediate shapes of the fixed size
    return bytes(model.SerializeToString())
