"""Draw a figure: its visible surface, shaded, with soft edges."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

from anon_batch.anonymize.bodies.figure import MATERIALS, Figure, Material, Part
from anon_batch.geometry import Extent
from anon_batch.records import BoolArray, FloatArray

FINER = 2  # factor at which a figure is drawn, before it is downscaled
MAX_PX = 3_000_000  # of that copy; larger figures are drawn less finely, and very large ones enlarged

_LIGHT = (-0.39, -0.74, -0.55)  # direction to the light: above, a little to the left and in front
_HALF = (-0.22, -0.42, -0.88)  # between the light and the camera
_AMBIENT, _DIFFUSE, _SHINE = 0.42, 0.62, 0.10
_CONTACT_RADII = (0.085, 0.028)  # of the shadow under a foot, as shares of the figure's height
_CREASE = 0.45  # how dark it gets where a nearer part hides another
_CREASE_SHARE = 0.012  # sigma of that darkness, as a share of the figure's height


Palette = Mapping[Material, tuple[float, float, float]]  # reflectances, RGB in 0..1
GREY: Palette = MappingProxyType(dict.fromkeys(MATERIALS, (0.8, 0.8, 0.8)))


class Drawing(NamedTuple):
    """A figure on an extent.

    Args:
        light: (h, w, 3) float32, the light that the figure reflects, times its opacity; about 0 to 1.1.
        opacity: (h, w) float32 in 0..1.
    """

    light: FloatArray
    opacity: FloatArray


def draw(figure: Figure, extent: Extent, palette: Palette = GREY) -> Drawing:
    """Return a figure on an extent, in colours."""
    x1, y1, x2, y2 = extent
    scale = _scale(y2 - y1, x2 - x1)
    width, height = max(1, math.ceil((x2 - x1) * scale)), max(1, math.ceil((y2 - y1) * scale))
    x = ((np.arange(width) + 0.5) / scale + x1).astype(np.float32)[None, :]
    y = ((np.arange(height) + 0.5) / scale + y1).astype(np.float32)[:, None]
    depth, normal, colour = _visible(figure.parts, x, y, palette)
    seen = np.isfinite(depth)
    light = np.where(seen, _shade(normal), np.float32(0)).astype(np.float32)
    light *= _creases(depth, seen, _CREASE_SHARE * figure.height * scale, figure.height)
    layers = np.dstack([colour * light[:, :, None], seen.astype(np.float32)])
    if scale != 1:
        kind = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
        layers = cv2.resize(layers, (x2 - x1, y2 - y1), interpolation=kind)
    return Drawing(np.ascontiguousarray(layers[:, :, :3]), np.ascontiguousarray(layers[:, :, 3]))


def silhouette(figure: Figure, extent: Extent) -> BoolArray:
    """Return the pixels (h, w) of an extent that sure parts of a figure or its shadow touch, with a rim of a pixel."""
    x1, y1, x2, y2 = extent
    hit = np.zeros((y2 - y1, x2 - x1), np.bool_)
    x = (np.arange(x1, x2) + 0.5).astype(np.float32)[None, :]
    y = (np.arange(y1, y2) + 0.5).astype(np.float32)[:, None]
    for part in figure.parts:
        rows, columns = _window(part, x, y)
        if part.sure and rows.stop > rows.start and columns.stop > columns.start:
            hit[rows, columns] |= part.solid.seen(x[:, columns], y[rows]).hit
    hit |= contact(figure, extent)[:, :, 0] > 0
    return np.asarray(cv2.dilate(hit.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)


def contact(figure: Figure, extent: Extent) -> FloatArray:
    """Return how much of the light the feet keep from the ground, (h, w, 1) in 0..1."""
    x1, y1, x2, y2 = extent
    x = (np.arange(x1, x2) + 0.5).astype(np.float32)[None, :]
    y = (np.arange(y1, y2) + 0.5).astype(np.float32)[:, None]
    shade = np.zeros((y2 - y1, x2 - x1), np.float32)
    rx, ry = (np.float32(share * figure.height) for share in _CONTACT_RADII)
    for cx, cy in figure.feet:
        across, down = (x - np.float32(cx)) / rx, (y - np.float32(cy)) / ry
        near = np.maximum(1 - across * across - down * down, 0)
        shade = np.maximum(shade, near * (2 - near) * near)
    return np.asarray(shade[:, :, None], np.float32)


def _scale(height: int, width: int) -> float:
    scale = float(FINER)
    while scale * scale * height * width > MAX_PX:
        scale /= 2
    return scale


def _window(part: Part, x: FloatArray, y: FloatArray) -> tuple[slice, slice]:
    """Return the rows and columns whose pixels a part can cover."""
    x1, y1, x2, y2 = part.solid.box
    columns = slice(int(np.searchsorted(x[0], x1)), int(np.searchsorted(x[0], x2)))
    rows = slice(int(np.searchsorted(y[:, 0], y1)), int(np.searchsorted(y[:, 0], y2)))
    return rows, columns


def _visible(
    parts: Sequence[Part], x: FloatArray, y: FloatArray, palette: Palette
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return depth (h, w), infinite where nothing is, normals (3, h, w) and colours (h, w, 3) of what is nearest."""
    shape = y.shape[0], x.shape[1]
    depth = np.full(shape, np.inf, np.float32)
    normal, colour = np.zeros((3, *shape), np.float32), np.zeros((*shape, 3), np.float32)
    for part in parts:
        rows, columns = _window(part, x, y)
        if rows.stop <= rows.start or columns.stop <= columns.start:
            continue
        surface = part.solid.seen(x[:, columns], y[rows])
        nearer = surface.hit & (surface.depth < depth[rows, columns])
        np.copyto(depth[rows, columns], surface.depth, where=nearer)
        np.copyto(normal[:, rows, columns], surface.normal, where=nearer)
        own = np.array(palette[part.material], np.float32) * np.float32(part.tone)
        np.copyto(colour[rows, columns], own, where=nearer[:, :, None])
    return depth, normal, colour


def _shade(normal: FloatArray) -> FloatArray:
    """Return the lightness (h, w) of a dull surface in soft light, with a faint shine."""
    facing = [
        normal[0] * np.float32(way[0]) + normal[1] * np.float32(way[1]) + normal[2] * np.float32(way[2])
        for way in (_LIGHT, _HALF)
    ]
    soft = np.maximum(0.5 + 0.5 * facing[0], 0)
    shine = np.maximum(facing[1], 0)
    for _ in range(4):
        shine = shine * shine
    return np.asarray(_AMBIENT + _DIFFUSE * soft * np.sqrt(soft) + _SHINE * shine, np.float32)


def _creases(depth: FloatArray, seen: BoolArray, sigma: float, height: float) -> FloatArray:
    """Return factors (h, w): darker where parts around a pixel are nearer to the camera than it is."""
    if not seen.any():
        return np.ones(depth.shape, np.float32)
    factor = max(sigma / 2.0, 1.0)  # a wide blur of a copy that is smaller costs little
    far = float(depth[seen].max())
    values = np.where(seen, depth, np.float32(far))
    size = max(1, round(depth.shape[1] / factor)), max(1, round(depth.shape[0] / factor))
    small = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
    weight = cv2.resize(seen.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    near = gaussian_filter(np.minimum(small - np.float32(far), 0) * weight, sigma / factor)
    share = gaussian_filter(weight, sigma / factor)
    mean = near / np.maximum(share, np.float32(1e-3)) + np.float32(far)
    mean = cv2.resize(mean.astype(np.float32), depth.shape[::-1], interpolation=cv2.INTER_LINEAR)
    behind = np.clip((values - mean) / np.float32(0.035 * height), 0, 1)
    return np.asarray(1 - np.float32(_CREASE) * behind, np.float32)
