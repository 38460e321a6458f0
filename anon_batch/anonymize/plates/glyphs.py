"""Characters as strokes, in the narrow and even style of licence plates; no font file is needed.

A glyph is drawn in a cell of 4 x 7 units, y down. Its strokes are points "x,y"; `~` marks the control point of a quadratic curve
between its neighbours, `/` begins another stroke.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from anon_batch.records import PixelArray

HEIGHT, WIDTH = 7.0, 4.0  # of a cell, units
STROKE = 0.95  # width of a stroke, units
ADVANCE = 5.6  # from a cell to the next, units
SPACE = 2.6
_CURVE_STEPS = 8
_SHIFT = 4  # bits after the point of the coordinates that OpenCV gets

_P = "0,7 0,0 2,0 ~4,0 4,1.9 ~4,3.8 2,3.8 0,3.8"
GLYPHS: Mapping[str, str] = {
    "A": "0,7 2,0 4,7/0.85,4.8 3.15,4.8",
    "B": "0,0 0,7 2.2,7 ~4,7 4,5.2 ~4,3.4 2.2,3.4 0,3.4/0,0 2,0 ~3.7,0 3.7,1.7 ~3.7,3.4 2,3.4",
    "C": "4,1.6 ~4,0 2,0 ~0,0 0,2 0,5 ~0,7 2,7 ~4,7 4,5.4",
    "D": "0,0 0,7 1.8,7 ~4,7 4,4.8 4,2.2 ~4,0 1.8,0 0,0",
    "E": "4,0 0,0 0,7 4,7/0,3.4 3.3,3.4",
    "F": "4,0 0,0 0,7/0,3.5 3.3,3.5",
    "G": "4,1.6 ~4,0 2,0 ~0,0 0,2 0,5 ~0,7 2,7 ~4,7 4,5 4,3.8 2.2,3.8",
    "H": "0,0 0,7/4,0 4,7/0,3.5 4,3.5",
    "J": "3.4,0 3.4,5 ~3.4,7 1.7,7 ~0,7 0,5.2",
    "K": "0,0 0,7/4,0 0,4.2/1.4,2.9 4,7",
    "L": "0,0 0,7 4,7",
    "M": "0,7 0,0 2,4 4,0 4,7",
    "N": "0,7 0,0 4,7 4,0",
    "P": _P,
    "R": f"{_P}/2,3.8 4,7",
    "S": "3.9,1.5 ~3.8,0 2,0 ~0.1,0 0.1,1.8 ~0.1,3.2 2,3.5 ~4,3.8 4,5.3 ~4,7 2,7 ~0.1,7 0,5.4",
    "T": "0,0 4,0/2,0 2,7",
    "U": "0,0 0,5 ~0,7 2,7 ~4,7 4,5 4,0",
    "V": "0,0 2,7 4,0",
    "W": "0,0 0.9,7 2,2.2 3.1,7 4,0",
    "X": "0,0 4,7/4,0 0,7",
    "Y": "0,0 2,3.5 4,0/2,3.5 2,7",
    "Z": "0,0 4,0 0,7 4,7",
    "0": "0,2 ~0,0 2,0 ~4,0 4,2 4,5 ~4,7 2,7 ~0,7 0,5 0,2",
    "1": "0.8,1.6 2.4,0 2.4,7",
    "2": "0.1,1.8 ~0.1,0 2,0 ~4,0 4,1.8 ~4,3 2.8,4.2 0,7 4,7",
    "3": "0.1,1.4 ~0.3,0 2,0 ~3.8,0 3.8,1.7 ~3.8,3.3 2,3.4 ~4,3.5 4,5.2 ~4,7 2,7 ~0.1,7 0,5.5",
    "4": "2.9,7 2.9,0 0,4.9 4,4.9",
    "5": "3.7,0 0.4,0 0.2,3.3 ~0.8,2.7 2,2.7 ~4,2.7 4,4.8 ~4,7 2,7 ~0.2,7 0,5.5",
    "6": "3.3,0 ~0,2.2 0,4.8 ~0,7 2,7 ~4,7 4,4.9 ~4,2.9 2,2.9 ~0.6,2.9 0.2,4",
    "7": "0,0 4,0 1.4,7",
    "8": "2,3.3 ~0.3,3.3 0.3,1.7 ~0.3,0 2,0 ~3.7,0 3.7,1.7 ~3.7,3.3 2,3.3 ~0,3.4 0,5.2 ~0,7 2,7 ~4,7 4,5.2 ~4,3.4 2,3.3",
    "9": "0.7,7 ~4,4.8 4,2.2 ~4,0 2,0 ~0,0 0,2.1 ~0,4.1 2,4.1 ~3.4,4.1 3.8,3",
    "Δ": "0,7 2,0 4,7 0,7",
    "Ξ": "0,0 4,0/0.6,3.5 3.4,3.5/0,7 4,7",
    "Σ": "4,0 0,0 2.2,3.5 0,7 4,7",
    "Φ": "2,1.2 ~0,1.2 0,3.5 ~0,5.8 2,5.8 ~4,5.8 4,3.5 ~4,1.2 2,1.2/2,0 2,7",
    "Ψ": "0,0 0,2.4 ~0,4.4 2,4.4 ~4,4.4 4,2.4 4,0/2,0 2,7",
}

_Stroke = npt.NDArray[np.float64]


def draw_text(mask: PixelArray, text: str, box: tuple[float, float, float, float]) -> None:
    """Draw one line of text into a mask (H, W) uint8 as 255, as large as fits into a box, in its middle.

    Args:
        mask: is changed.
        text: characters of GLYPHS, and spaces.
        box: xyxy, px.
    """
    x1, y1, x2, y2 = box
    units = sum(SPACE if character == " " else ADVANCE for character in text) - (ADVANCE - WIDTH) + STROKE
    tall = (y2 - y1) / (HEIGHT + STROKE)
    across = min(tall, (x2 - x1) / units)  # characters become narrower before they become lower
    down = min(tall, across * 1.35)
    at = (x1 + x2 - units * across) / 2 + STROKE * across / 2
    top = (y1 + y2 - HEIGHT * down) / 2
    thickness = max(1, round(STROKE * (across + down) / 2))
    for character in text:
        if character == " ":
            at += SPACE * across
            continue
        for stroke in _strokes(character):
            points = np.rint((stroke * [across, down] + [at, top]) * (1 << _SHIFT)).astype(np.int32)
            cv2.polylines(mask, [points], False, 255, thickness, cv2.LINE_8, _SHIFT)
        at += ADVANCE * across


@functools.cache
def _strokes(character: str) -> tuple[_Stroke, ...]:
    return tuple(_curve(stroke.split()) for stroke in GLYPHS[character].split("/"))


def _curve(words: Sequence[str]) -> _Stroke:
    """Return the points (N, 2) of one stroke, with curves as short lines."""
    out: list[_Stroke] = []
    control: _Stroke | None = None
    for word in words:
        point = np.array([float(number) for number in word.removeprefix("~").split(",")])
        if word.startswith("~"):
            control = point
        elif control is None:
            out.append(point)
        else:
            steps = np.linspace(0, 1, _CURVE_STEPS + 1)[1:, None]
            out += [*((1 - steps) ** 2 * out[-1] + 2 * steps * (1 - steps) * control + steps**2 * point)]
            control = None
    return np.array(out)
