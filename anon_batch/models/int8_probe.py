"""Probe whether this CPU's 8-bit kernels saturate.

x86-64 without VNNI adds pairs of 8-bit products in 16 bits, and large sums saturate. Onnxruntime has an option that avoids
that instruction, at about twice the time.
"""

from __future__ import annotations

import functools

import numpy as np

from anon_batch.models.onnx_import import import_onnxruntime

_LARGEST, _CHANNELS, _PIXELS = (255, 127), 64, 64


@functools.cache
def int8_saturates() -> bool:
    """Return whether a convolution of the largest 8-bit values gives a wrong sum. The result is cached for the process."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(_probe_model(), options, providers=["CPUExecutionProvider"])
    batch = np.full((1, _CHANNELS, 1, _PIXELS), _LARGEST[0], np.uint8)
    [out] = session.run(None, {"x": batch})
    return bool((out != _LARGEST[0] - 1).any())


def _probe_model() -> bytes:
    """Return an ONNX file that maps uint8 (1, C, 1, P) to the sum over C of x * 127, scaled to 254 where x is 255."""
    from onnx import TensorProto, helper, numpy_helper

    value, weight = _LARGEST
    constants = {
        "one": np.float32(1),
        "zero": np.uint8(0),
        "zero_weight": np.int8(0),
        "step": np.float32(_CHANNELS * value * weight / (value - 1)),
        "w": np.full((_CHANNELS, _CHANNELS, 1, 1), weight, np.int8),
    }
    inputs = ["x", "one", "zero", "w", "one", "zero_weight", "step", "zero"]
    node = helper.make_node("QLinearConv", inputs, ["y"])
    x, y = (helper.make_tensor_value_info(n, TensorProto.UINT8, [1, _CHANNELS, 1, _PIXELS]) for n in ("x", "y"))
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph([node], "probe", [x], [y], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())
