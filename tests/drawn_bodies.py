"""Bodies for tests: keypoints of somebody who stands and faces the camera, and images to put them in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anon_batch.detect.pose import KEYPOINTS
from anon_batch.records import FloatArray, PixelArray

# x of the person's left side and y, in units of the body's height, from the top of the head; depth of the left side.
_STANDING = {
    "nose": (0.0, 0.085, -0.06),
    "eye inner": (0.01, 0.07, -0.05),
    "eye": (0.018, 0.07, -0.05),
    "eye outer": (0.026, 0.07, -0.045),
    "ear": (0.042, 0.075, 0.0),
    "mouth": (0.012, 0.105, -0.05),
    "shoulder": (0.1, 0.185, 0.0),
    "elbow": (0.14, 0.35, 0.0),
    "wrist": (0.15, 0.49, -0.03),
    "pinky": (0.152, 0.535, -0.03),
    "index": (0.142, 0.54, -0.04),
    "thumb": (0.135, 0.52, -0.05),
    "hip": (0.055, 0.475, 0.0),
    "knee": (0.06, 0.715, -0.02),
    "ankle": (0.06, 0.945, 0.0),
    "heel": (0.06, 0.965, 0.02),
    "foot index": (0.075, 0.985, -0.08),
}


def standing(box: Sequence[float], confidence: float = 0.95) -> FloatArray:
    """Return the keypoints (33, 4) of somebody who stands in a box from its top to its bottom, in its middle."""
    x1, y1, x2, y2 = box
    height = float(y2) - float(y1)
    points = np.empty((len(KEYPOINTS), 4), np.float32)
    for at, name in enumerate(KEYPOINTS):
        sign = -1.0 if "right" in name.split() else 1.0
        x, y, depth = _STANDING[name.replace("left", "").replace("right", "").strip()]
        points[at] = (x1 + x2) / 2 + sign * x * height, y1 + y * height, depth * height, confidence
    return points


def street(height: int, width: int, seed: int = 0) -> PixelArray:
    """Return an image with a bright upper and a darker lower half, and some texture."""
    rng = np.random.default_rng(seed)
    pixels = np.empty((height, width, 3), np.float32)
    pixels[: height // 2] = (170, 185, 205)
    pixels[height // 2 :] = (110, 105, 98)
    coarse = rng.normal(0, 12, (height // 4 + 1, width // 4 + 1, 1)).repeat(4, axis=0).repeat(4, axis=1)
    return np.clip(pixels + coarse[:height, :width], 0, 255).astype(np.uint8)
