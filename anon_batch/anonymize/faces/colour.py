"""Lab colours: conversions, how well a colour fits skin, and how much colour an image has.

L is 0 .. 100, a and b about -128 .. 127, for the sRGB primaries and D65.
"""

from __future__ import annotations

import cv2
import numpy as np

from anon_batch.records import FloatArray

_GREY_CHROMA = 10.0  # chroma of the most colourful surroundings below which an image counts as partly grey


def rgb_to_lab(rgb: FloatArray) -> FloatArray:
    """Return Lab (h, w, 3) float32 of RGB (h, w, 3) float32, 0 .. 255."""
    return np.asarray(cv2.cvtColor(rgb * np.float32(1 / 255), cv2.COLOR_RGB2LAB), np.float32)


def lab_to_rgb(lab: FloatArray) -> FloatArray:
    """Return RGB (h, w, 3) float32, 0 .. 255, of Lab (h, w, 3) float32."""
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB) * np.float32(255), np.float32)


def skin_likeness(lab: FloatArray) -> FloatArray:
    """Return 0 .. 1, how well colours (..., 3) fit skin of any people in usual light, by hue, chroma and lightness."""
    lightness, a, b = lab[..., 0], lab[..., 1], lab[..., 2]
    chroma, hue = np.hypot(a, b), np.degrees(np.arctan2(b, a))
    likeness = _within(chroma, 6, 60, 6) * _within(hue, 12, 82, 14) * _within(lightness, 13, 108, 10)
    return np.asarray(likeness, np.float32)


def dark_skin_likeness(lab: FloatArray) -> FloatArray:
    """Return 0 .. 1, how well colours (..., 3) fit dark skin, whose chroma is as low as that of hair."""
    lightness, a, b = lab[..., 0], lab[..., 1], lab[..., 2]
    chroma, hue = np.hypot(a, b), np.degrees(np.arctan2(b, a))
    likeness = _within(chroma, 2.5, 30, 3) * _within(hue, 12, 82, 14) * _within(lightness, 12, 45, 8)
    return np.asarray(likeness, np.float32)


def _within(values: FloatArray, low: float, high: float, soft: float) -> FloatArray:
    return np.asarray(np.clip(np.minimum(values - low, high - values) / soft, 0, 1), np.float32)


def colour_share(lab: FloatArray) -> float:
    """Return the share of its colour that a face keeps among known colours (n, 3): 0 in a grey image, 1 in most others."""
    if not len(lab):
        return 1.0
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    high = np.partition(chroma, int(0.95 * (len(chroma) - 1)))[int(0.95 * (len(chroma) - 1))]
    return float(np.clip(high / _GREY_CHROMA, 0, 1))


def smoothstep(values: FloatArray) -> FloatArray:
    """Return the smoothstep 3 t^2 - 2 t^3 of values clipped to 0 .. 1."""
    clipped = np.clip(values, 0, 1)
    return np.asarray(clipped * clipped * (3 - 2 * clipped), np.float32)
