"""Plant a synthetic face in an image: what a check or a reviewer must find, so that their attention can be measured.

The face is a donor of the bank, so that no real person is shown. It lies at a free place, in the light, sharpness and grain of
the image, and fades into it, so that a detector or a person finds a face, not the border of a sticker. Images with a planted face
are for measuring alone; they are never published.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from anon_batch import keys
from anon_batch.anonymize.faces import landmarks
from anon_batch.anonymize.faces.align import Crop, warp_affine
from anon_batch.anonymize.faces.colour import colour_share, lab_to_rgb, rgb_to_lab, smoothstep
from anon_batch.anonymize.faces.donors import Donor, DonorBank
from anon_batch.anonymize.faces.texture import add_grain, match_sharpness
from anon_batch.records import BoolArray, FloatArray, PixelArray

Box = tuple[float, float, float, float]

MIN_SIZE_PX = 8
_HEAD = np.array([0.56, 0.64])  # radii of the head that is shown, in units of the face's longer side
_LIFT = 0.07  # by which its centre lies above the face's, in the same units
_FADE = (0.72, 1.08)  # of these radii, where the head begins to fade, and where it is gone
_REACH = 0.8  # half the side of the window that is changed, in units of the face's longer side
_CLEAR = 0.35  # distance to what is taken, in the same units
_TRIES = 256
_MOST_ROLL = 0.2  # radians
_TOWARDS = 0.3  # share of the way to the lightness around it that a face takes, and the most of L
_MOST_SHIFT = 14.0
_DARK = 176.0  # brightest level of an image, below which it is dark
_SAMPLES = 1 << 16


@dataclass(frozen=True, slots=True, eq=False)
class Planted:
    """An image with a planted face.

    Args:
        pixels: (H, W, 3) uint8 RGB, new.
        box: xyxy of the face, px: from the hairline to the chin.
    """

    pixels: PixelArray
    box: Box


def plant_face(
    pixels: PixelArray, seed: int, size_px: float, taken: Iterable[Box] = (), *, bank: DonorBank
) -> Planted | None:
    """Return a copy of an image with one synthetic face in it; None where no place is free.

    Args:
        pixels: (H, W, 3) uint8 RGB; not changed.
        seed: 0 .. 2**64 - 1, decides donor, place and roll: equal arguments give equal images.
        size_px: longer side of the face's box, at least MIN_SIZE_PX.
        taken: xyxy boxes, px, that the face must not touch: those of regions, faces and whatever else must stay as it is.
        bank: the donors: `DonorBank(store.load(donors.MODEL_NAME))`.

    Raises:
        ValueError: the size is too small.
    """
    if size_px < MIN_SIZE_PX:
        raise ValueError(f"a planted face of {size_px:g} px, expected at least {MIN_SIZE_PX}")
    rng = keys.generator(seed)
    donor = bank.donor(int(rng.integers(len(bank))))
    roll = float(rng.uniform(-_MOST_ROLL, _MOST_ROLL))
    place = _free_place(rng, (pixels.shape[1], pixels.shape[0]), size_px, list(taken))
    if place is None:
        return None
    x1, y1, side = place
    window = pixels[y1 : y1 + side, x1 : x1 + side]
    out = pixels.copy()
    out[y1 : y1 + side, x1 : x1 + side], box = _blend(window, donor, size_px, roll, seed, _brightest(pixels))
    return Planted(out, (box[0] + x1, box[1] + y1, box[2] + x1, box[3] + y1))


def _free_place(
    rng: np.random.Generator, size: tuple[int, int], size_px: float, taken: list[Box]
) -> tuple[int, int, int] | None:
    """Return left, top and side of a window that lies in the image and whose head is clear of what is taken, px."""
    side = math.ceil(2 * _REACH * size_px)
    width, height = size
    if side > min(width, height):
        return None
    boxes = np.array(taken, np.float64).reshape(-1, 4)
    reach = (float(_HEAD.max()) + _CLEAR) * size_px
    for _ in range(_TRIES):
        x, y = int(rng.integers(width - side + 1)), int(rng.integers(height - side + 1))
        low, high = np.array([x, y]) + side / 2 - reach, np.array([x, y]) + side / 2 + reach
        if not bool(((boxes[:, :2] < high) & (boxes[:, 2:] > low)).all(axis=1).any()):
            return x, y, side
    return None


def _blend(
    window: PixelArray, donor: Donor, size_px: float, roll: float, seed: int, brightest: float
) -> tuple[PixelArray, Box]:
    """Return the window with the donor's head in its middle, and the box of the face in it."""
    side = len(window)
    to_window, box = _fit(donor, side, size_px, roll)
    face = rgb_to_lab(warp_affine(donor.pixels, to_window, side, cv2.BORDER_REPLICATE).clip(0, 255))
    own = window.astype(np.float32)
    lab = rgb_to_lab(own)
    radius = _radius(side, size_px, roll)
    alpha = 1 - smoothstep(np.asarray((radius - _FADE[0]) / (_FADE[1] - _FADE[0]), np.float32))
    distance = np.asarray((radius - 1) * float(_HEAD.mean()) * size_px, np.float32)
    crop = Crop(own, lab, np.asarray(radius < 1, np.bool_), distance, donor.points, None, 1.0)
    face = match_sharpness(face, alpha, crop)
    face = _match_light(face, crop, brightest)
    mixed = lab_to_rgb(add_grain(face, crop, seed)).clip(0, 255) * alpha[:, :, None] + own * (1 - alpha)[:, :, None]
    return np.rint(mixed).clip(0, 255).astype(np.uint8), box


def _fit(donor: Donor, side: int, size_px: float, roll: float) -> tuple[landmarks.Points, Box]:
    """Return the transform (2, 3) from px of the donor's image to the middle of a window, and the face's box there."""
    x1, y1, x2, y2 = donor.box.tolist()
    scale = size_px / max(x2 - x1, y2 - y1)
    cosine, sine = math.cos(roll) * scale, math.sin(roll) * scale
    linear = np.array([[cosine, -sine], [sine, cosine]])
    shift = side / 2 - linear @ np.array([(x1 + x2) / 2, (y1 + y2) / 2])
    half = np.array([x2 - x1, y2 - y1]) * scale / 2
    left, top = (side / 2 - half).tolist()
    return np.concatenate([linear, shift[:, None]], axis=1), (left, top, side - left, side - top)


def _radius(side: int, size_px: float, roll: float) -> FloatArray:
    """Return the distance from the middle of the head, in units of its radii, (side, side) float32."""
    grid = (np.arange(side, dtype=np.float32) + np.float32(0.5 - side / 2)) / np.float32(size_px)
    x, y = grid[None, :], grid[:, None]
    across = x * np.float32(math.cos(roll)) + y * np.float32(math.sin(roll))
    down = y * np.float32(math.cos(roll)) - x * np.float32(math.sin(roll)) + np.float32(_LIFT)
    return np.asarray(np.hypot(across / np.float32(_HEAD[0]), down / np.float32(_HEAD[1])), np.float32)


def _match_light(face: FloatArray, crop: Crop, brightest: float) -> FloatArray:
    """Return the face's Lab as dark and as grey as its image, and a little towards the lightness around it."""
    out = face.copy()
    if brightest < _DARK:
        out[:, :, 0] *= np.float32(brightest / _DARK)
    known: BoolArray = ~crop.unknown
    gap = float(crop.lab[known][:, 0].mean()) - float(out[crop.unknown][:, 0].mean())
    out[:, :, 0] += np.float32(np.clip(gap * _TOWARDS, -_MOST_SHIFT, _MOST_SHIFT))
    out[:, :, 0] = out[:, :, 0].clip(0, 100)
    out[:, :, 1:] *= np.float32(colour_share(crop.lab[known]))
    return out


def _brightest(pixels: PixelArray) -> float:
    """Return the level below which nearly all of an image lies."""
    step = max(1, math.isqrt(pixels.shape[0] * pixels.shape[1] // _SAMPLES))
    return float(np.quantile(pixels[::step, ::step], 0.999))
