"""Whether this CPU's 8-bit kernels are exact.

x86-64 without VNNI multiplies 8-bit values by adding pairs of products in 16 bits, which clips large ones. Onnxruntime can
do without that instruction when it is told to, at about twice the time.
"""

from __future__ import annotations

import functools

import numpy as np

_LARGEST, _CHANNELS, _PIXELS = (255, 127), 64, 64


@functools.cache
def clips_products() -> bool:
    """Convolves the largest values there are and compares with the sum that they must give. Asked once a process."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(_probe(), options, providers=["CPUExecutionProvider"])
    batch = np.full((1, _CHANNELS, 1, _PIXELS), _LARGEST[0], np.uint8)
    [out] = session.run(None, {"x": batch})
    return bool((out != _LARGEST[0] - 1).any())


def _probe() -> bytes:
    """uint8 (1, C, 1, P) to the sum over C of x * 127, scaled to give 254 where x is 255."""
    from onnx import TensorProto, helper, numpy_helper

    value, weight = _LARGEST
    held = {
        "one": np.float32(1),
        "zero": np.uint8(0),
        "zero_weight": np.int8(0),
        "step": np.float32(_CHANNELS * value * weight / (value - 1)),
        "w": np.full((_CHANNELS, _CHANNELS, 1, 1), weight, np.int8),
    }
    inputs = ["x", "one", "zero", "w", "one", "zero_weight", "step", "zero"]
    node = helper.make_node("QLinearConv", inputs, ["y"])
    x, y = (helper.make_tensor_value_info(n, TensorProto.UINT8, [1, _CHANNELS, 1, _PIXELS]) for n in ("x", "y"))
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in held.items()]
    graph = helper.make_graph([node], "probe", [x], [y], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())
