"""Let a text detector of the PP-OCR family take RGB images as they are.

The published files take BGR, each channel from -1 to 1.
"""

from __future__ import annotations

import numpy as np

from anon_batch.errors import ModelError
from anon_batch.models.onnx_graph import read_graph

HALF = 127.5


def prepare_text_network(data: bytes) -> bytes:
    """Return the network with RGB 0..255 as its input.

    Args:
        data: the published ONNX file: input (B, 3, H, W) BGR -1..1, output (B, 1, H, W), how likely each pixel is text.

    Raises:
        ModelError: not an ONNX file, or another network.
    """
    from onnx import helper, numpy_helper

    model = read_graph(data)
    graph = model.graph
    held = {tensor.name for tensor in graph.initializer}
    names = [value.name for value in graph.input if value.name not in held]
    if len(names) != 1 or len(graph.output) != 1:
        raise ModelError("not a text detector: expected one input and one output")
    [image] = names
    order = np.zeros((3, 3, 1, 1), np.float32)
    order[[0, 1, 2], [2, 1, 0]] = 1 / HALF
    graph.initializer.extend(
        [numpy_helper.from_array(order, "to_bgr"), numpy_helper.from_array(-np.ones(3, np.float32), "to_centre")]
    )
    readers = [node for node in graph.node if image in node.input]
    for node in readers:
        node.input[:] = ["bgr" if name == image else name for name in node.input]
    graph.node.insert(0, helper.make_node("Conv", [image, "to_bgr", "to_centre"], ["bgr"], kernel_shape=[1, 1]))
    return bytes(model.SerializeToString())
