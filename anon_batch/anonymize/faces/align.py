"""Cut square, upright crops around faces out of the erased image, and put them back.

A crop's frame is the similarity that turns the face upright about the region's centre. In images and crops the centre of the
first pixel is at (0.5, 0.5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from anon_batch.anonymize.faces import landmarks
from anon_batch.anonymize.faces.colour import rgb_to_lab
from anon_batch.anonymize.methods.inpaint import fill_unknown
from anon_batch.face_outline import CHIN, TAPER
from anon_batch.face_shape import upright_sides
from anon_batch.records import BoolArray, FloatArray, PixelArray, Region

CONTEXT = 1.5  # side of a crop in the image, in units of the mask's longer side
SIDES = (48, 64, 96, 128, 192, 256)  # px of a crop: the first that is not smaller than the crop in the image
_RELAXATIONS = 4  # of rebuilt colours, at each level: a face covers most of them
_KNOWN_SHARE = 0.98  # a pixel of a crop is known when at least this share of its source pixels is


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Where a crop lies in its image.

    Args:
        to_crop: (2, 3) float64 affine, image px to px of the crop.
        angle: radians, direction of the crop's x axis in the image.
        side_px: side of the crop in the image, px.
        side: of the crop, px.
    """

    to_crop: landmarks.Points
    angle: float
    side_px: float
    side: int

    @property
    def scale(self) -> float:
        """Size of a pixel of the crop in the image, px."""
        return self.side_px / self.side


def frame_of(region: Region, side: int | None = None) -> Frame:
    """Return the frame of a region: upright by its mask, or by its landmarks where the mask is not turned.

    Args:
        region: of the face.
        side: of the crop, px; None takes the one for the face's size.
    """
    angle = region.angle if region.shape == "face" else _angle_of(landmarks.landmarks_of(region))
    side_px = CONTEXT * 2 * max(region.radii)
    if side is None:
        side = next((side for side in SIDES if side >= side_px), SIDES[-1])
    scale = side / side_px
    linear = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]) * scale
    shift = side / 2 - linear @ np.array(region.centre)
    return Frame(np.concatenate([linear, shift[:, None]], axis=1), angle, side_px, side)


def _angle_of(points: landmarks.Points) -> float:
    pose = landmarks.similarity(landmarks.CANONICAL[None], points[None])[0]
    return math.atan2(pose[1, 0], pose[0, 0])


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """The place of one new face and its surroundings.

    Args:
        pixels: (side, side, 3) float32 RGB 0 .. 255 times `gain`; unknown pixels are rebuilt from the known ones.
        lab: (side, side, 3) float32, the same as Lab.
        unknown: (side, side) bool, the pixels under a mask or outside the image.
        distance: (side, side) float32, distance from the border of the face's own mask, px of the crop, negative inside; exact
            to first order.
        points: (5, 2) float64, landmarks, px of the crop.
        box: (4,) float64 xyxy of the face turned upright, px of the crop; None where it is not known well.
        scale: size of a pixel of the crop in the image, px.
        gain: what the image's levels are multiplied by, above 1 in dark images.
        top: the image's brightest known level, 0 .. 255, times `gain`.
    """

    pixels: FloatArray
    lab: FloatArray
    unknown: BoolArray
    distance: FloatArray
    points: landmarks.Points
    box: npt.NDArray[np.float64] | None
    scale: float
    gain: float = 1.0
    top: float = 255.0

    @property
    def side(self) -> int:
        """Of the crop, px."""
        return len(self.unknown)


def extract(
    erased: PixelArray, unknown: BoolArray, frame: Frame, region: Region, gain: float = 1.0, top: float = 255.0
) -> Crop:
    """Return the crop of a region's frame.

    Args:
        erased: (H, W, 3) uint8, the image with 0 at every pixel of `unknown`.
        unknown: (H, W) bool, the union of all masks.
        frame: of the region.
        region: of the face.
        gain: see Crop.
        top: see Crop.
    """
    erased, unknown, to_crop = _window(erased, unknown, frame)
    known = np.where(unknown, np.uint8(0), np.uint8(255))
    values = warp_affine(np.dstack([erased, known]), to_crop, frame.side, cv2.BORDER_CONSTANT)
    weight = values[:, :, 3:] * np.float32(1 / 255)
    missing = weight[:, :, 0] < _KNOWN_SHARE
    if bool(missing.all()):
        pixels = np.full((frame.side, frame.side, 3), 127, np.float32)
    else:
        colours = values[:, :, :3] / np.maximum(weight, np.float32(_KNOWN_SHARE))
        if gain != 1:
            colours = np.minimum(colours * np.float32(gain), np.float32(255))
        colours[missing] = 0
        pixels = fill_unknown(colours, np.where(missing, np.float32(0), np.float32(1)), _RELAXATIONS)
    points = landmarks.apply(frame.to_crop, landmarks.landmarks_of(region))
    return Crop(
        pixels,
        rgb_to_lab(pixels),
        missing,
        _distance_from_mask(region, frame),
        points,
        _box(region, frame),
        frame.scale,
        gain,
        top,
    )


def _box(region: Region, frame: Frame) -> npt.NDArray[np.float64] | None:
    """Return the upright box of a well-found face, px of the crop."""
    if region.shape != "face":
        return None
    x1, y1, x2, y2 = region.box
    half = np.array(upright_sides(x2 - x1, y2 - y1, region.angle)) / (2 * frame.scale)
    return np.concatenate([frame.side / 2 - half, frame.side / 2 + half])


def _distance_from_mask(region: Region, frame: Frame) -> FloatArray:
    """Return the first-order distance from the mask's border, px of the crop: the level over the length of its gradient."""
    grid = (np.arange(frame.side, dtype=np.float32) + np.float32(0.5 - frame.side / 2)) * np.float32(frame.scale)
    turn = frame.angle - region.angle
    x = np.float32(math.cos(turn)) * grid[None, :] - np.float32(math.sin(turn)) * grid[:, None]
    y = np.float32(math.sin(turn)) * grid[None, :] + np.float32(math.cos(turn)) * grid[:, None]
    rx, ry = (np.float32(radius) for radius in region.radii)
    if region.shape == "face":
        height = np.where(y > 0, ry * np.float32(CHIN), ry)
        v = y / height
        width = rx * (1 - np.float32(TAPER) * np.clip(v, 0, 1) ** 2)
    else:
        height, width = np.full_like(y, ry), np.full_like(x, rx)
        v = y / height
    u = x / width
    radius = np.sqrt(u * u + v * v)
    slope = np.sqrt((u / width) ** 2 + (v / height) ** 2) / np.maximum(radius, np.float32(1e-6))
    return np.asarray((radius - 1) / np.maximum(slope, np.float32(1e-6)) / np.float32(frame.scale), np.float32)


def _window(erased: PixelArray, unknown: BoolArray, frame: Frame) -> tuple[PixelArray, BoolArray, landmarks.Points]:
    """Return views of what a crop shows, with a margin for its source pixels, and the frame's transform from there."""
    height, width = unknown.shape
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float64) * frame.side
    seen = landmarks.apply(landmarks.inverse(frame.to_crop), corners)
    margin = 4 + 4 * frame.scale
    x1, y1 = np.clip(np.floor(seen.min(axis=0) - margin), 0, [width - 1, height - 1]).astype(int)
    x2, y2 = np.clip(np.ceil(seen.max(axis=0) + margin), [x1 + 1, y1 + 1], [width, height]).astype(int)
    to_crop = frame.to_crop.copy()
    to_crop[:, 2] += to_crop[:, :2] @ [x1, y1]
    return erased[y1:y2, x1:x2], unknown[y1:y2, x1:x2], to_crop


def paste(values: FloatArray, frame: Frame, extent: tuple[int, int, int, int]) -> FloatArray:
    """Return a crop's values (side, side, c) float32 on `extent` of the image, (h, w, c) float32.

    Beyond the crop its border is continued, because the last pixel of a turned box can lie there.
    """
    x1, y1, x2, y2 = extent
    to_image = landmarks.inverse(frame.to_crop)
    to_image[:, 2] -= (x1, y1)
    return warp_affine(values, to_image, (x2 - x1, y2 - y1), cv2.BORDER_REPLICATE)


def warp_affine(
    source: npt.NDArray[np.generic], transform: landmarks.Points, size: int | tuple[int, int], border: int
) -> FloatArray:
    """Return `source` (h, w) or (h, w, c) under an affine transform, float32; outside lies what `border` says.

    A transform that makes it smaller is applied to means over areas, so that nothing aliases.

    Args:
        source: of any dtype that OpenCV warps.
        transform: (2, 3), px of the source to px of the result.
        size: (width, height) of the result, px, or the side of a square.
        border: cv2.BORDER_CONSTANT (zeros) or cv2.BORDER_REPLICATE.
    """
    width, height = (size, size) if isinstance(size, int) else size
    scale = math.sqrt(abs(transform[0, 0] * transform[1, 1] - transform[0, 1] * transform[1, 0]))
    if scale < 1:
        source, transform = _downscale(source, transform, (width, height), scale)
    half = transform.copy()
    half[:, 2] += transform[:, :2] @ np.array([0.5, 0.5]) - 0.5
    flags = cv2.INTER_CUBIC if scale > 1 and border == cv2.BORDER_REPLICATE else cv2.INTER_LINEAR
    values = cv2.warpAffine(
        source.astype(np.float32), half, (width, height), flags=flags, borderMode=border, borderValue=0
    )
    return np.asarray(values, np.float32)


def _downscale(
    source: npt.NDArray[np.generic], transform: landmarks.Points, size: tuple[int, int], scale: float
) -> tuple[npt.NDArray[np.generic], landmarks.Points]:
    """Return the window of `source` that the target shows, downscaled by `scale`, and the transform from there."""
    width, height = size
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64)
    seen = landmarks.apply(landmarks.inverse(transform), corners)
    margin = 2 / scale
    x1, y1 = np.floor(np.maximum(seen.min(axis=0) - margin, 0)).astype(int)
    x2 = min(math.ceil(seen[:, 0].max() + margin), source.shape[1])
    y2 = min(math.ceil(seen[:, 1].max() + margin), source.shape[0])
    if x2 <= x1 or y2 <= y1:
        return np.zeros((1, 1, *source.shape[2:]), np.float32), transform
    small = (max(round((x2 - x1) * scale), 1), max(round((y2 - y1) * scale), 1))
    smaller = cv2.resize(source[y1:y2, x1:x2], small, interpolation=cv2.INTER_AREA)
    back = np.array([[(x2 - x1) / small[0], 0, x1], [0, (y2 - y1) / small[1], y1]])
    linear = transform[:, :2] @ back[:, :2]
    shift = transform[:, :2] @ back[:, 2] + transform[:, 2]
    return smaller, np.concatenate([linear, shift[:, None]], axis=1)
