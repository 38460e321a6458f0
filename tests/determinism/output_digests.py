"""Digests of what each method renders on the sample with boxes from ground truth, so that no detector matters.

Every second face has landmarks, which are turned a little, and so a mask of the shape `face` where the method asks for it.

    python tests/determinism/output_digests.py    write tests/data/output_digests.json

Run it only for a change that is meant to change pixels, and say so in the changelog: releases made before and after
differ.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).parents[2]
FILE = ROOT / "tests/data/output_digests.json"
SAMPLE = ROOT / "manifests/sample"
METHODS = ("solid", "pixelate", "blur", "inpaint", "swap", "gan")
CANONICAL = np.array([[0.264, 0.383], [0.736, 0.383], [0.5, 0.594], [0.297, 0.744], [0.703, 0.744]])
GRID = 12  # sides of the coarse copy of a region


def libraries() -> dict[str, str]:
    """Return what the bits of results depend on: versions, and the CPU features that libraries choose code by."""
    import scipy

    return {
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "opencv": cv2.__version__,
        "opencv_cpu": cv2.getCPUFeaturesLine(),
        "torch": torch.__version__,
        "torch_cpu": torch.backends.cpu.get_cpu_capability(),
    }


def render(method: str) -> dict[str, tuple[np.ndarray[Any, Any], list[Any]]]:
    """Return pixels and regions of each labelled sample image: name -> ((H, W, 3) uint8, regions)."""
    from anon_batch import Anonymizer
    from anon_batch.imaging.source import SourceImage

    anonymizer = Anonymizer("manifest", policy=method, key=b"k" * 32)
    out = {}
    for name, boxes in labelled().items():
        source = SourceImage.from_array(name, np.asarray(Image.open(SAMPLE / "photos" / name).convert("RGB")))
        [outcome] = anonymizer.process([source], detections=[detections(boxes)])
        assert outcome.status == "anonymized", outcome
        assert set(outcome.result.methods.values()) == {method}
        out[name] = (outcome.pixels, list(outcome.regions))
    return out


def labelled() -> dict[str, list[list[float]]]:
    """Return the boxes of the sample images that have faces."""
    truth = json.loads((SAMPLE / "faces.json").read_text(encoding="utf-8"))
    return {name: boxes for name, boxes in truth.items() if boxes}


def detections(boxes: list[list[float]]) -> Any:
    """Return boxes as detections, those with an even index with landmarks."""
    from anon_batch.records import Detections

    landmarks = np.full((len(boxes), 5, 2), np.nan)
    for row, (x1, y1, x2, y2) in enumerate(boxes[::2]):
        across, down = (CANONICAL - 0.5).T * [[x2 - x1], [y2 - y1]]
        turn = 0.02 * (row + 1) * np.array([down, -across])
        landmarks[2 * row] = np.add((np.array([across, down]) - turn).T, ((x1 + x2) / 2, (y1 + y2) / 2))
    scores = np.ones(len(boxes), np.float32)
    return Detections(np.array(boxes, np.float32), scores, landmarks.astype(np.float32), ("d",) * len(boxes))


def summary(method: str) -> dict[str, dict[str, str]]:
    """Return digest and coarse copy of each image of a method."""
    return {
        name: {"sha256": hashlib.sha256(pixels.tobytes()).hexdigest(), "coarse": coarse(pixels, regions)}
        for name, (pixels, regions) in render(method).items()
    }


def coarse(pixels: np.ndarray[Any, Any], regions: list[Any]) -> str:
    """Return the means over a grid of each region, base64 of (regions, 12, 12, 3) uint8."""
    cells = []
    for region in regions:
        x1, y1, x2, y2 = region.mask_extent
        cells.append(cv2.resize(pixels[y1:y2, x1:x2], (GRID, GRID), interpolation=cv2.INTER_AREA))
    return base64.b64encode(np.stack(cells).tobytes()).decode()


if __name__ == "__main__":
    whole = {"libraries": libraries(), "methods": {method: summary(method) for method in METHODS}}
    FILE.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
