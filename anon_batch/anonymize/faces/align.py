"""Cut square, upright crops around regions out of the erased image, and paste them back.

A crop's frame is the similarity that turns the face upright about the region's centre and scales it so that the expanded box
fits in any rotation. In images and crops the centre of the first pixel is at (0.5, 0.5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from anon_batch.anonymize.faces import landmarks
from anon_batch.anonymize.methods.inpaint import fill_unknown
from anon_batch.records import BoolArray, FloatArray, PixelArray, Region

CROP_SIDE = 128  # px
CONTEXT = 1.45  # side of a crop in the image, in units of the expanded box's longer side; above the square root of 2
_KNOWN_SHARE = 0.98  # a pixel of a crop is known when at least this share of its source pixels is


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Where a crop lies in its image.

    Args:
        to_crop: (2, 3) float64 affine, image px to px of a crop of side 1.
        points: (5, 2) float64, target landmarks of the new face, in units of the crop's side.
        side_px: side of the crop in the image, px.
    """

    to_crop: landmarks.Points
    points: landmarks.Points
    side_px: float


def frame_of(region: Region) -> Frame:
    """Return the frame of a region, upright by its mask's angle, its landmarks or, where it has none, by the image."""
    points = landmarks.landmarks_of(region)
    if region.shape == "face":
        cosine, sine = math.cos(region.angle), math.sin(region.angle)
    else:
        pose = landmarks.similarity(landmarks.CANONICAL[None], points[None])[0]
        norm = max(math.hypot(pose[0, 0], pose[1, 0]), 1e-12)
        cosine, sine = pose[0, 0] / norm, pose[1, 0] / norm
    side_px = CONTEXT * 2 * max(region.radii)
    linear = np.array([[cosine, sine], [-sine, cosine]]) / side_px
    shift = 0.5 - linear @ np.array(region.centre)
    to_crop = np.concatenate([linear, shift[:, None]], axis=1)
    return Frame(to_crop, landmarks.apply(to_crop, points), side_px)


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """The surroundings of one face.

    Args:
        pixels: (side, side, 3) float32 RGB 0 .. 255; unknown pixels are rebuilt from the known ones.
        unknown: (side, side) bool, the pixels under a mask or outside the image.
        points: (5, 2) float64, target landmarks, px of the crop.
    """

    pixels: FloatArray
    unknown: BoolArray
    points: landmarks.Points


def extract(erased: PixelArray, unknown: BoolArray, frame: Frame, side: int) -> Crop:
    """Return the crop of a frame.

    Args:
        erased: (H, W, 3) uint8, the image with 0 at every pixel of `unknown`.
        unknown: (H, W) bool, the union of all masks.
        frame: of one region.
        side: of the crop, px.
    """
    erased, unknown, to_crop = _window(erased, unknown, frame, side)
    known = np.where(unknown, np.uint8(0), np.uint8(255))
    scaled = to_crop * side
    values = _warp(np.dstack([erased, known]), scaled, (side, side), side / frame.side_px)
    weight = values[:, :, 3:] / np.float32(255)
    missing = weight[:, :, 0] < _KNOWN_SHARE
    colours = np.where(
        missing[:, :, None], np.float32(0), values[:, :, :3] / np.maximum(weight, np.float32(_KNOWN_SHARE))
    )
    if bool(missing.all()):
        pixels = np.full((side, side, 3), 127, np.float32)
    else:
        pixels = fill_unknown(colours, np.where(missing, np.float32(0), np.float32(1)))
    return Crop(pixels, missing, frame.points * side)


def _window(
    erased: PixelArray, unknown: BoolArray, frame: Frame, side: int
) -> tuple[PixelArray, BoolArray, landmarks.Points]:
    """Return views of what a crop shows, with a margin for its source pixels, and the frame's transform from there."""
    height, width = unknown.shape
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float64)
    seen = landmarks.apply(landmarks.inverse(frame.to_crop), corners)
    margin = 4 + 4 * frame.side_px / side
    x1, y1 = np.clip(np.floor(seen.min(axis=0) - margin), 0, [width - 1, height - 1]).astype(int)
    x2, y2 = np.clip(np.ceil(seen.max(axis=0) + margin), [x1 + 1, y1 + 1], [width, height]).astype(int)
    to_crop = frame.to_crop.copy()
    to_crop[:, 2] += to_crop[:, :2] @ [x1, y1]
    return erased[y1:y2, x1:x2], unknown[y1:y2, x1:x2], to_crop


def downscale_unknown(unknown: BoolArray) -> BoolArray:
    """Return the unknown pixels of a larger crop at the usual side; a pixel is known when all of its source pixels are."""
    factor = unknown.shape[0] // CROP_SIDE
    return np.asarray(unknown.reshape(CROP_SIDE, factor, CROP_SIDE, factor).any(axis=(1, 3)), np.bool_)


def paste(pixels: FloatArray, frame: Frame, extent: tuple[int, int, int, int]) -> PixelArray:
    """Return a crop's pixels (side, side, 3) float32 on `extent` of the image, (h, w, 3) uint8.

    Beyond the crop its border is continued, because a wide soft edge or the last pixel of a rotated box can reach there.
    """
    side = pixels.shape[0]
    x1, y1, x2, y2 = extent
    to_image = landmarks.inverse(frame.to_crop * side)
    to_image[:, 2] -= (x1, y1)
    values = _warp(pixels, to_image, (x2 - x1, y2 - y1), frame.side_px / side, cv2.BORDER_REPLICATE)
    return np.rint(values).clip(0, 255).astype(np.uint8)


def _warp(
    source: npt.NDArray[np.generic],
    transform: landmarks.Points,
    size: tuple[int, int],
    scale: float,
    border: int = cv2.BORDER_CONSTANT,
) -> FloatArray:
    """Return `source` under an affine transform; outside lie zeros, or what `border` says.

    A transform that makes it smaller is applied to means over areas, so that nothing aliases.
    """
    if scale < 1:
        source, transform = _downscale(source, transform, size, scale)
    half = transform.copy()
    half[:, 2] += transform[:, :2] @ np.array([0.5, 0.5]) - 0.5
    values = cv2.warpAffine(
        source.astype(np.float32), half, size, flags=cv2.INTER_LINEAR, borderMode=border, borderValue=0
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
        return np.zeros((1, 1, source.shape[2]), np.float32), transform
    small = (max(round((x2 - x1) * scale), 1), max(round((y2 - y1) * scale), 1))
    smaller = cv2.resize(source[y1:y2, x1:x2], small, interpolation=cv2.INTER_AREA)
    back = np.array([[(x2 - x1) / small[0], 0, x1], [0, (y2 - y1) / small[1], y1]])
    linear = transform[:, :2] @ back[:, :2]
    shift = transform[:, :2] @ back[:, 2] + transform[:, 2]
    return smaller, np.concatenate([linear, shift[:, None]], axis=1)
