"""The outline of a `face` mask: an egg in the face's own frame.

In units of its radii, with u from the face's right to its left and v from its forehead to its chin, the mask is

    (u / (1 - 0.12 v²))² + v² <= 1        where v > 0 is divided by 1.06 before

which is an ellipse above the centre and a longer one that narrows towards the chin below. It is convex.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from anon_batch.records import BoolArray, Shape

CHIN = 1.06  # the part below the centre is longer than the part above by this factor
TAPER = 0.12  # share of the width that is lost from the centre to the chin, with the square of the distance
_CORNERS = 64  # in each quadrant, of the polygon that stands for a mask

Point = Sequence[float]
Box = tuple[float, float, float, float]
_Floats = npt.NDArray[np.float64]


class MaskShape(NamedTuple):
    """Shape, radii px along its own axes, and the angle of its x axis in the image, radians."""

    shape: Shape
    radii: tuple[float, float]
    angle: float = 0.0


def turned(points: Sequence[Point], angle: float) -> list[tuple[float, float]]:
    """Return points turned about the origin, from the image's x axis towards its y axis for an angle above 0."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return [(x * cosine - y * sine, x * sine + y * cosine) for x, y in points]


def gauge(u: float, v: float, chin: float, taper: float) -> float:
    """Return the factor by which a mask of radii 1 must be scaled for its border to run through (u, v)."""
    if v < 1e-9:
        return math.hypot(u, v)
    u, v = u * u, (v / chin) ** 2
    squared = u / (1 - taper) ** 2 + v  # above the solution; each pair of steps comes 200 times closer from above
    for _ in range(6):
        squared = u / (1 - taper * v / squared) ** 2 + v
    return math.sqrt(squared)


def reach(mask: MaskShape) -> Box:
    """Return how far a mask of shape `face` reaches from its centre to the left, up, right and down in the image, px."""
    cosine, sine = math.cos(mask.angle), math.sin(mask.angle)
    return (
        _support(mask.radii, -cosine, sine),
        _support(mask.radii, -sine, -cosine),
        _support(mask.radii, cosine, -sine),
        _support(mask.radii, sine, cosine),
    )


def _support(radii: Point, towards_u: float, towards_v: float) -> float:
    """Return how far the mask reaches in a direction of its own frame, px."""
    side, end = abs(towards_u) * radii[0], towards_v * radii[1]
    if towards_v <= 0:
        return math.hypot(side, end)
    end *= CHIN
    along = math.pi / 4  # parameter of the border's furthest point, by the equation that its derivative gives
    for _ in range(8):
        down = math.sin(along) ** 2
        along = math.atan2(end, side * (1 + 2 * TAPER - 3 * TAPER * down))
    return side * math.cos(along) * (1 - TAPER * math.sin(along) ** 2) + end * math.sin(along)


def touched_pixels(mask: MaskShape, centre: Point, extent: tuple[int, int, int, int]) -> BoolArray:
    """Return the pixels of an extent that a mask of shape `face` touches, (h, w) bool.

    For the squares of the pixels stand squares along the mask's axes, just large enough to hold them, so that at most 0.21 px are
    added. The mask and the sum of all places of such a square that touches it are convex: in each row lie the pixels between the
    sum's left and right border, a polygon around the true one that is less than a thousandth larger.
    """
    x1, y1, x2, y2 = extent
    cosine, sine = math.cos(mask.angle), math.sin(mask.angle)
    half = (cosine + abs(sine)) / 2  # of the square's side
    u = _BORDER_U * mask.radii[0] + _SIGN_U * half
    v = _BORDER_V * mask.radii[1] + _SIGN_V * half
    x, y = u * cosine - v * sine, u * sine + v * cosine
    first, last = int(y.argmin()), int(y.argmax())
    later = np.roll(np.arange(len(y)), -first)  # along the border from the top, on the right side first
    right, left = later[: (last - first) % len(y) + 1], np.append(later[(last - first) % len(y) :], first)[::-1]
    rows, columns = np.arange(y1, y2) + (0.5 - centre[1]), np.arange(x1, x2) + (0.5 - centre[0])
    start = np.interp(rows, y[left], x[left], np.inf, np.inf)
    stop = np.interp(rows, y[right], x[right], -np.inf, -np.inf)
    return np.asarray((columns >= start[:, None]) & (columns <= stop[:, None]), np.bool_)


def _border() -> tuple[_Floats, _Floats, _Floats, _Floats]:
    """Return u and v of the polygon around a mask of radii 1, and the signs of both: right of the forehead, chin, left."""
    step = math.pi / 2 / _CORNERS
    along = np.arange(_CORNERS + 1) * step
    side, end = np.cos(along), np.sin(along)
    side[-1] = 0.0
    u = np.concatenate([side[::-1], side * (1 - TAPER * end**2)])
    v = np.concatenate([-end[::-1], end * CHIN])
    around = 1 + 1.5 * step**2 / 8  # of an ellipse 1 + step² / 8 would do
    sign = np.repeat([-1.0, 1.0], _CORNERS + 1)
    ones = np.ones_like(sign)
    both = (np.concatenate([u, -u[::-1]]), np.concatenate([v, v[::-1]]))
    return around * both[0], around * both[1], np.concatenate([ones, -ones]), np.concatenate([sign, sign[::-1]])


_BORDER_U, _BORDER_V, _SIGN_U, _SIGN_V = _border()
