"""Compare the bundled network of body keypoints with its source in LiteRT, number by number.

    pip install ai-edge-litert
    python -m tools.check_pose pose_landmark_full.tflite FOLDER_OF_IMAGES

Each image gives squares of three sizes from its middle, as the package cuts them. Differences are printed: of coordinates in
px of the 256 px square, of logits, and of the presence.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from anon_batch.config import ModelsConfig
from anon_batch.detect import pose
from anon_batch.models.backends import open_network
from anon_batch.models.store import ModelStore
from anon_batch.records import FloatArray
from anon_batch.storage import Storage
from tools.convert_pose import read_source

LARGEST = 0.25  # px, of any coordinate: float32 sums in another order


def squares(folder: Path) -> Iterator[FloatArray]:
    """Yield what the network sees, (1, 3, 256, 256) RGB 0..255."""
    for path in sorted(folder.iterdir()):
        image = cv2.imread(str(path))
        if image is None:
            continue
        pixels = np.ascontiguousarray(image[:, :, ::-1])
        height, width = pixels.shape[:2]
        for share in (0.5, 1.0, 1.4):
            yield pose.cut(pixels, pose.Square(np.array([width / 2, height / 2]), share * max(height, width), 0.0))


def main() -> None:
    """Compare; exit with 1 if a coordinate differs by more than LARGEST px."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the wheel of mediapipe, or its pose_landmark_full.tflite")
    parser.add_argument("images", type=Path)
    args = parser.parse_args()
    from ai_edge_litert.interpreter import Interpreter

    source = Interpreter(model_content=read_source(args.source), num_threads=1)
    source.allocate_tensors()
    places = {own["name"]: own["index"] for own in source.get_output_details()}
    store = ModelStore(Storage(), ModelsConfig())
    network = open_network("onnxruntime", store.load(pose.MODEL_NAME), threads=1, device="cpu")
    count, worst, all_px = 0, np.zeros(3), []
    for square in squares(args.images):
        source.set_tensor(source.get_input_details()[0]["index"], square.transpose(0, 2, 3, 1) / np.float32(255))
        source.invoke()
        values, presence = network.run(square)
        difference = np.abs(values - source.get_tensor(places["Identity"])).reshape(-1, 5)
        gone = np.abs(presence - source.get_tensor(places["Identity_1"])).max()
        worst = np.maximum(worst, [difference[:, :3].max(), difference[:, 3:].max(), gone])
        all_px.append(difference[:, :3].ravel())
        count += 1
    if not count:
        raise SystemExit(f"{args.images}: no image")
    most = np.percentile(np.concatenate(all_px), 99.9)
    print(f"{count} squares: largest difference {worst[0]:.4f} px (99.9 % of coordinates: {most:.4f} px),")
    print(f"{worst[1]:.4f} of a logit, {worst[2]:.6f} of the presence")
    raise SystemExit(int(worst[0] > LARGEST))


if __name__ == "__main__":
    main()
