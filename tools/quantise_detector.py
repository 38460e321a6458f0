"""Quantise the published CenterFace to 8 bits.

    python -m tools.quantise_detector --faces FOLDER ... --scenes FILE ... --output centerface_int8.onnx

Activations are calibrated on canvases: crops of synthetic faces, 14 px and up, pasted into images without people. Each
FOLDER of faces holds crops/ and meta.jsonl as `anon-batch train` reads them. At the end both networks are compared on
other canvases with other crops. No photograph of the accuracy tests is read here.

Weights are quantised per channel, activations per tensor, from their extremes. The first three convolutions stay in float32,
because they have few channels and are as fast there, and so do the heads, which are merged into one convolution.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import helper, numpy_helper, version_converter
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from anon_batch.config import ModelsConfig
from anon_batch.detect.centerface import DEFAULT_THRESHOLD, CenterFace
from anon_batch.models.backends import OnnxRuntimeNetwork
from anon_batch.models.onnx_graph import prepare_image_network
from anon_batch.models.store import ModelStore
from anon_batch.records import GroundTruth, PixelArray
from anon_batch.stats.detection import DetectionStats
from anon_batch.storage import Storage

OPSET = 13  # the first version with a quantisation step for each channel
CANVAS = 416  # px, both sides
CALIBRATED, COMPARED = 120, 120  # canvases
HEADS = ("537", "538", "539", "540")  # the outputs: heatmap, size, offset, landmarks
IN_FLOAT = ("Conv_363", "Relu_365", "Conv_366", "Relu_368", "Conv_369", "Conv_heads")
MOST_PADDING = 0.05  # of a crop's side


class Crop(NamedTuple):
    """File of a face crop, and the face's box in it: x, y, width, height, px."""

    path: Path
    box: tuple[float, float, float, float]


class Canvas(NamedTuple):
    """A composed image, (H, W, 3) uint8 RGB, and the boxes of its faces, (N, 4) xyxy px."""

    pixels: PixelArray
    boxes: npt.NDArray[np.float32]


def read_crops(folders: Sequence[Path]) -> list[Crop]:
    """Return the crops of some folders, without those that are mostly padding."""
    crops = []
    for folder in folders:
        for line in (folder / "meta.jsonl").read_text(encoding="utf-8").splitlines():
            meta = json.loads(line)
            if meta.get("pad", 0) <= MOST_PADDING:
                crops.append(Crop(folder / "crops" / meta["file"], tuple(meta["box"])))
    return crops


def read_scenes(files: Sequence[Path]) -> list[PixelArray]:
    """Return the pixels of image files, RGB."""
    return [np.asarray(cv2.imread(str(path))[:, :, ::-1], np.uint8) for path in files]


def canvases(
    rng: np.random.Generator, crops: Sequence[Crop], scenes: Sequence[PixelArray], count: int
) -> Iterator[Canvas]:
    """Yield scenes at random zoom with one to eight faces of random size and brightness, JPEG-compressed."""
    for _ in range(count):
        pixels = _cut(rng, scenes[rng.integers(len(scenes))])
        taken = np.zeros(pixels.shape[:2], np.bool_)
        boxes = []
        for _ in range(rng.integers(1, 9)):
            box = _paste(rng, pixels, taken, crops[rng.integers(len(crops))])
            boxes += [box] if box else []
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 96))]
        coded = cv2.imencode(".jpg", pixels[:, :, ::-1], quality)[1]
        compressed = np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[:, :, ::-1])
        yield Canvas(compressed, np.asarray(boxes, np.float32).reshape(-1, 4))


def _cut(rng: np.random.Generator, scene: PixelArray) -> PixelArray:
    zoom = CANVAS / min(scene.shape[:2]) * rng.uniform(1, 1.5)
    sides = [max(CANVAS, round(side * zoom)) for side in scene.shape[:2]]
    whole = cv2.resize(scene, (sides[1], sides[0]), interpolation=cv2.INTER_AREA)
    y, x = (rng.integers(side - CANVAS + 1) for side in sides)
    return np.asarray(whole[y : y + CANVAS, x : x + CANVAS], np.uint8).copy()


def _paste(
    rng: np.random.Generator, canvas: PixelArray, taken: npt.NDArray[np.bool_], crop: Crop
) -> tuple[float, float, float, float] | None:
    pixels = cv2.imread(str(crop.path))[:, :, ::-1]
    x, y, width, height = crop.box
    zoom = np.exp(rng.uniform(np.log(14), np.log(0.6 * CANVAS))) / max(width, height)
    side = round(pixels.shape[0] * zoom)
    if side > CANVAS:
        return None
    at_y, at_x = rng.integers(CANVAS - side + 1, size=2)
    place = np.s_[at_y : at_y + side, at_x : at_x + side]
    if taken[place].any():
        return None
    zoom = side / pixels.shape[0]
    small = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
    canvas[place] = np.clip(small * rng.uniform(0.5, 1.4), 0, 255).astype(np.uint8)
    taken[place] = True
    return (at_x + x * zoom, at_y + y * zoom, at_x + (x + width) * zoom, at_y + (y + height) * zoom)


def quantise(published: bytes, batches: Sequence[npt.NDArray[np.float32]]) -> bytes:
    """Return the 8-bit network as an ONNX file.

    Args:
        published: ONNX file of CenterFace as its authors publish it.
        batches: (1, 3, H, W) float32 RGB 0 .. 255, all of one size, to calibrate activations on.
    """
    prepared = version_converter.convert_version(onnx.load_model_from_string(prepare_image_network(published)), OPSET)
    with tempfile.TemporaryDirectory() as folder:
        source, target = f"{folder}/float.onnx", f"{folder}/int8.onnx"
        onnx.save(_with_one_head(_folded(prepared, f"{folder}/folded.onnx")), source)
        quantize_static(
            source,
            target,
            _Batches(batches),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            op_types_to_quantize=["Conv", "Relu", "Add"],
            nodes_to_exclude=list(IN_FLOAT),
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return Path(target).read_bytes()


class _Batches(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, batches: Sequence[npt.NDArray[np.float32]]) -> None:
        self._left = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._left, None)
        return None if batch is None else {"input.1": batch}


def _folded(model: onnx.ModelProto, path: str) -> onnx.ModelProto:
    """Return the model with batch norms folded into convolutions, every node named after its output."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = path
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    folded = onnx.load(path)
    for node in folded.graph.node:
        node.name = f"{node.op_type}_{node.output[0]}"
    return folded


def _with_one_head(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with its four heads merged into one convolution and a split."""
    graph = model.graph
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    [sigmoid] = [node for node in graph.node if node.op_type == "Sigmoid"]
    results = (sigmoid.input[0], *HEADS[1:])
    heads = [next(node for node in graph.node if node.output[0] == name) for name in results]
    [source] = {node.input[0] for node in heads}
    weights, biases = ([held[node.input[at]] for node in heads] for at in (1, 2))
    conv = helper.make_node("Conv", [source, "head.weight", "head.bias"], ["heads"], name="Conv_heads")
    conv.attribute.extend(heads[0].attribute)
    split = helper.make_node("Split", ["heads", "head.sizes"], list(results), name="Split_heads", axis=1)
    kept = [node for node in graph.node if node not in heads and node != sigmoid]
    del graph.node[:]
    graph.node.extend([*kept, conv, split, sigmoid])
    made = {
        "head.weight": np.concatenate(weights),
        "head.bias": np.concatenate(biases),
        "head.sizes": np.asarray([len(part) for part in biases], np.int64),
    }
    used = {name for node in kept for name in node.input}
    initialisers = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend([*initialisers, *(numpy_helper.from_array(value, name) for name, value in made.items())])
    return model


def batch_of(canvas: Canvas) -> npt.NDArray[np.float32]:
    """Return the canvas as network input, (1, 3, H, W) float32."""
    return np.ascontiguousarray(canvas.pixels.transpose(2, 0, 1)[None], np.float32)


def accuracy(network: bytes, canvases: Sequence[Canvas]) -> dict[str, float]:
    """Return recall, precision and average precision at IoU 0.5 on canvases."""
    finder = CenterFace(OnnxRuntimeNetwork(network, 1), DEFAULT_THRESHOLD)
    stats = DetectionStats()
    for canvas in canvases:
        [found] = finder.find([canvas.pixels], [1.0])
        stats.add(found, GroundTruth(canvas.boxes, np.zeros(len(canvas.boxes), np.bool_)))
    figures = stats.summary()["bands"]["all"]
    return {name: round(figures[name], 4) for name in ("recall", "precision", "average_precision")}


def main() -> None:
    """Quantise, write the file, and print the accuracy of both networks on canvases with other crops."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, nargs="+", required=True, metavar="FOLDER")
    parser.add_argument("--scenes", type=Path, nargs="+", required=True, metavar="FILE", help="images without people")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)  # because the quantiser recommends steps that are taken already
    crops, scenes = read_crops(args.faces), read_scenes(args.scenes)
    published = ModelStore(Storage(), ModelsConfig()).load("centerface")
    measured = canvases(np.random.default_rng(1), crops[0::2], scenes, CALIBRATED)
    network = quantise(published, [batch_of(canvas) for canvas in measured])
    args.output.write_bytes(network)
    others = list(canvases(np.random.default_rng(2), crops[1::2], scenes, COMPARED))
    print("float32", accuracy(prepare_image_network(published), others))
    print("8 bits ", accuracy(prepare_image_network(network), others))


if __name__ == "__main__":
    main()
