"""A recogniser that is drawn, not trained: SFace's input and output, with features that tell apart what looks different."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

FEATURES = 128


def drawn_recogniser(path: Path, seed: int = 0) -> Path:
    """Write a graph (1, 3, 112, 112) -> (1, 128): random projections of the crop's contrasts of 4 px. Return its path."""
    cells = np.random.default_rng(seed).normal(size=(FEATURES, 3, 14, 2, 14, 2))
    cells -= cells.mean(axis=(3, 5), keepdims=True)  # because what all faces share is coarser
    weights = np.asarray(np.kron(cells.reshape(FEATURES, 3, 28, 28), np.ones((4, 4))) / 1e4, np.float32)
    nodes = [helper.make_node("Conv", ["data", "w"], ["c"]), helper.make_node("Flatten", ["c"], ["fc1"])]
    graph = helper.make_graph(
        nodes,
        "drawn",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, 112, 112])],
        [helper.make_tensor_value_info("fc1", TensorProto.FLOAT, [1, FEATURES])],
        [helper.make_tensor("w", TensorProto.FLOAT, weights.shape, weights.tobytes(), raw=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path
