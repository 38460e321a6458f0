"""What a plate looks like before any light falls on it: ground, ink, text, a band or a caption, screws and a frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from anon_batch.anonymize.plates.glyphs import draw_text
from anon_batch.anonymize.plates.texts import LETTERS, Characters, draw_characters
from anon_batch.records import FloatArray, PixelArray

HEIGHT_PX = 128  # at which every design is drawn

Colour = tuple[float, float, float]
_Box = tuple[float, float, float, float]
_Ink = npt.NDArray[np.float64]

_WHITE, _YELLOW, _GREY = (0.93, 0.93, 0.92), (0.93, 0.76, 0.16), (0.66, 0.67, 0.68)
_BLACK, _NAVY, _GREEN, _RED = (0.06, 0.06, 0.07), (0.08, 0.12, 0.36), (0.05, 0.25, 0.15), (0.5, 0.06, 0.08)
_BAND = (0.04, 0.18, 0.52)
_TINTS = (_WHITE, (0.78, 0.86, 0.93), (0.93, 0.89, 0.74), (0.85, 0.9, 0.8), (0.92, 0.82, 0.78))


class Format(NamedTuple):
    """A kind of plate.

    Args:
        aspect: width by height.
        patterns: of texts; one for each line.
        grounds: colours of the plate; repeated ones are more frequent.
        inks: colours of the text.
        text: box of all lines, shares of width and height.
        caption: share of those that have a small caption above the text, and one below.
        band: share of those that have a blue band at the left.
        fades: whether some fade to white, and have a red caption.
    """

    aspect: float
    patterns: Sequence[tuple[str, ...]]
    grounds: Sequence[Colour]
    inks: Sequence[Colour]
    text: _Box
    caption: float = 0.0
    band: float = 0.0
    fades: bool = False


FORMATS = (
    Format(
        4.2,
        (("LL LL 999",), ("L LL 9999",), ("LL 999 LL",), ("LL99 LLL",), ("LLL 9999",)),
        (_WHITE, _WHITE, _WHITE, _WHITE, _YELLOW),
        (_BLACK,),
        (0.05, 0.17, 0.95, 0.83),
        band=0.55,
    ),
    Format(
        3.1,
        (("LLL 9999",), ("LLL 9L99",), ("LL 9999",)),
        (_GREY, _GREY, _WHITE),
        (_BLACK,),
        (0.06, 0.29, 0.94, 0.88),
        caption=0.8,
    ),
    Format(
        2.0,
        (("LLL 999",), ("LLL 9999",), ("9LLL999",), ("999 LLL",)),
        _TINTS,
        (_NAVY, _NAVY, _BLACK, _GREEN, _RED),
        (0.07, 0.27, 0.93, 0.78),
        caption=0.9,
        fades=True,
    ),
    Format(
        1.3,
        (("LLL", "9999"), ("LL", "9999"), ("LL 99", "LLL")),
        (_WHITE, _WHITE, _YELLOW),
        (_BLACK,),
        (0.12, 0.12, 0.88, 0.88),
    ),
)


def draw_plate(rng: np.random.Generator, aspect: float, characters: Characters) -> tuple[FloatArray, FloatArray]:
    """Return a plate and how much of each pixel it fills, with the aspect of the format that is nearest.

    Args:
        rng: the only source of randomness.
        aspect: width by height of the place where the plate is to be.
        characters: see `texts.draw_characters`.

    Returns:
        Reflectance (HEIGHT_PX, W, 3) float32 in 0..1, and opacity (HEIGHT_PX, W) float32.
    """
    form = min(FORMATS, key=lambda own: abs(np.log(own.aspect / aspect)))
    size = HEIGHT_PX, round(HEIGHT_PX * form.aspect)
    ground, ink = (np.array(own[int(rng.integers(len(own)))]) for own in (form.grounds, form.inks))
    plate = np.empty((*size, 3), np.float32)
    plate[...] = ground
    if form.fades and rng.random() < 0.4:  # a ground that fades to white
        plate += (np.array(_WHITE) - ground) * np.linspace(0, 1, size[0])[:, None, None]
    left = _draw_band(plate, rng) if rng.random() < form.band else 0.0
    _paint(plate, _lines(rng, form, size, left, characters), ink)
    if rng.random() < form.caption:
        _draw_captions(plate, rng, form, ink)
    if rng.random() < 0.6:
        _draw_rim(plate, ink * 0.8 + 0.1)
    _draw_screws(plate, rng)
    framed = _framed(plate, rng) if rng.random() < 0.45 else plate
    return framed, _rounded(framed.shape[:2])


def _lines(
    rng: np.random.Generator, form: Format, size: tuple[int, int], left: float, characters: Characters
) -> PixelArray:
    """Return where the ink of the text is, (H, W) uint8 0 or 255."""
    height, width = size
    mask = np.zeros(size, np.uint8)
    x1, y1, x2, y2 = form.text
    lines = form.patterns[int(rng.integers(len(form.patterns)))]
    odd = int(rng.integers(sum("L" in line for line in lines)))  # the line that gets the letter that no plate has
    step = (y2 - y1) / len(lines)
    gap = 0.06 if len(lines) > 1 else 0.0
    x1 = max(x1, left + 0.03)
    for row, pattern in enumerate(lines):
        own = characters if "L" in pattern and odd == 0 else "latin"
        odd -= "L" in pattern
        text = draw_characters(rng, pattern, own) if "L" in pattern else _digits(rng, pattern)
        top, bottom = y1 + row * step + gap / 2, y1 + (row + 1) * step - gap / 2
        draw_text(mask, text, (x1 * width, top * height, x2 * width, bottom * height))
    return mask


def _digits(rng: np.random.Generator, pattern: str) -> str:
    return "".join(str(rng.integers(10)) if kind == "9" else kind for kind in pattern)


def _draw_band(plate: FloatArray, rng: np.random.Generator) -> float:
    """Paint a blue band at the left with a ring of dots; return where it ends, as a share of the width."""
    height, width = plate.shape[:2]
    stop = round(0.36 * height)
    plate[:, :stop] = _BAND
    ring = np.zeros((height, width), np.uint8)
    for angle in np.arange(12) * np.pi / 6:
        x, y = stop / 2 + 0.3 * stop * np.cos(angle), 0.33 * height + 0.3 * stop * np.sin(angle)
        cv2.circle(ring, (round(x), round(y)), max(1, round(0.045 * stop)), 255, -1)
    draw_text(ring, str(rng.choice(list(LETTERS))), (0.25 * stop, 0.64 * height, 0.75 * stop, 0.9 * height))
    _paint(plate, ring, np.array((0.93, 0.85, 0.35)))
    return float(stop / width)


def _draw_captions(plate: FloatArray, rng: np.random.Generator, form: Format, ink: _Ink) -> None:
    height, width = plate.shape[:2]
    _, top, _, bottom = form.text
    mask = np.zeros((height, width), np.uint8)
    places = [(0.1, top - 0.06)] + ([(bottom + 0.07, 0.92)] if bottom < 0.82 else [])
    for start, stop in places:
        word = "".join(rng.choice(list(LETTERS), size=int(rng.integers(6, 11))))
        half = rng.uniform(0.14, 0.24)
        draw_text(mask, word, ((0.5 - half) * width, start * height, (0.5 + half) * width, stop * height))
    _paint(plate, mask, np.array(_RED) if form.fades and rng.random() < 0.3 else ink)


def _draw_rim(plate: FloatArray, colour: _Ink) -> None:
    height, width = plate.shape[:2]
    inset, mask = round(0.035 * height), np.zeros((height, width), np.uint8)
    cv2.rectangle(mask, (inset, inset), (width - 1 - inset, height - 1 - inset), 255, max(2, round(0.022 * height)))
    _paint(plate, mask, colour)


def _draw_screws(plate: FloatArray, rng: np.random.Generator) -> None:
    height, width = plate.shape[:2]
    if (share := rng.random()) < 0.3:
        return
    heights = (0.5,) if width > 2.5 * height else (0.1, 0.9) if share < 0.7 else (0.1,)
    aside = 0.2 if width < 2.5 * height else 0.04
    mask = np.zeros((height, width), np.uint8)
    for down in heights:
        for across in (aside, 1 - aside):
            cv2.circle(mask, (round(across * width), round(down * height)), round(0.035 * height), 255, -1)
    _paint(plate, mask, np.full(3, rng.uniform(0.15, 0.6)))


def _framed(plate: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return the plate in a dark holder that is wider below."""
    height = len(plate)
    side, below = round(0.05 * height), round(rng.uniform(0.05, 0.16) * height)
    out = np.pad(plate, ((side, below), (side, side), (0, 0)), constant_values=rng.uniform(0.03, 0.12))
    return np.asarray(out, np.float32)


def _rounded(size: tuple[int, int]) -> FloatArray:
    """Return the opacity of a plate with rounded corners."""
    height, width = size
    radius = round(0.07 * height)
    mask = np.zeros(size, np.uint8)
    cv2.rectangle(mask, (radius, 0), (width - 1 - radius, height - 1), 255, -1)
    cv2.rectangle(mask, (0, radius), (width - 1, height - 1 - radius), 255, -1)
    for x in (radius, width - 1 - radius):
        for y in (radius, height - 1 - radius):
            cv2.circle(mask, (x, y), radius, 255, -1)
    return mask.astype(np.float32) / np.float32(255)


def _paint(plate: FloatArray, mask: PixelArray, colour: _Ink) -> None:
    plate[mask > 0] = colour
