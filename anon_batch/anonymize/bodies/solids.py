"""Solids seen from the front: limbs that are round and taper, and ellipsoids, as heights and normals of their visible surface.

The view is orthographic, along the axis of depth: a pixel sees the surface point that is nearest to the camera. All is computed
element by element, without sums over arrays, so that the bytes do not depend on where arrays lie in memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from anon_batch.records import BoolArray, FloatArray

Vector = npt.NDArray[np.float64]  # (3,): x to the right, y down, z away from the camera, px
Box = tuple[float, float, float, float]


class Surface(NamedTuple):
    """What is seen of a solid.

    Args:
        hit: (h, w) bool, where it is seen.
        depth: (h, w) float32, z of its surface; anything where it is not seen.
        normal: (3, h, w) float32, unit vectors that point outwards; z is negative, towards the camera.
    """

    hit: BoolArray
    depth: FloatArray
    normal: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Limb:
    """All spheres between two: a capsule that may taper.

    Args:
        start, stop: centres.
        start_radius, stop_radius: px.
    """

    start: Vector
    stop: Vector
    start_radius: float
    stop_radius: float

    @property
    def box(self) -> Box:
        """Return what it covers at most, xyxy px."""
        low = np.minimum(self.start[:2] - self.start_radius, self.stop[:2] - self.stop_radius)
        high = np.maximum(self.start[:2] + self.start_radius, self.stop[:2] + self.stop_radius)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    def seen(self, x: FloatArray, y: FloatArray) -> Surface:
        """Return what is seen at the pixels x (1, w) and y (h, 1).

        Along the axis a sphere's nearest point has the depth z(t) = z0 + t dz - sqrt(q(t)), where q(t) = r(t)^2 - |p - c(t)|^2 is
        quadratic in t; its least value is where its derivative is 0.
        """
        px, py = x - np.float32(self.start[0]), y - np.float32(self.start[1])
        dx, dy, dz = (np.float32(value) for value in self.stop - self.start)
        r0, dr = np.float32(self.start_radius), np.float32(self.stop_radius - self.start_radius)
        a = dr * dr - dx * dx - dy * dy
        b = 2 * (r0 * dr + px * dx + py * dy)
        c = r0 * r0 - px * px - py * py
        ends = [_at(np.float32(t), a, b, c, dz) for t in (0, 1)]
        along = np.where(ends[0] <= ends[1], np.float32(0), np.float32(1))
        depth = np.minimum(ends[0], ends[1])
        if a < -1e-6:  # else one of the spheres hides the other
            # 4 dz^2 q = q'^2 at the extremum of z, with q' and dz of one sign
            under = np.maximum((b * b - 4 * a * c) * (dz * dz / (dz * dz - a)), 0)
            t = np.clip((-b + np.sign(dz) * np.sqrt(under)) / (2 * a), 0, 1)
            between = _at(t, a, b, c, dz)
            along = np.where(between <= depth, t, along)
            depth = np.minimum(between, depth)
        radius = np.maximum(r0 + along * dr, np.float32(1e-3))
        hit = np.isfinite(depth)
        depth = np.where(hit, depth, np.float32(0))
        normal = np.stack([(px - along * dx) / radius, (py - along * dy) / radius, (depth - along * dz) / radius])
        return Surface(hit, depth + np.float32(self.start[2]), np.where(hit, normal, np.float32(0)))


def _at(t: FloatArray | np.float32, a: np.float32, b: FloatArray, c: FloatArray, dz: np.float32) -> FloatArray:
    under = (a * t + b) * t + c
    return np.where(under >= 0, t * dz - np.sqrt(np.maximum(under, 0)), np.float32(np.inf)).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Ellipsoid:
    """An ellipsoid.

    Args:
        centre: of it.
        axes: (3, 3), a unit vector a row, at right angles to each other.
        radii: along each.
    """

    centre: Vector
    axes: npt.NDArray[np.float64]
    radii: tuple[float, float, float]

    @property
    def box(self) -> Box:
        """Return what it covers at most, xyxy px."""
        reach = [
            math.sqrt(sum((radius * axis[at]) ** 2 for radius, axis in zip(self.radii, self.axes, strict=True)))
            for at in (0, 1)
        ]
        x, y = self.centre[:2].tolist()
        return x - reach[0], y - reach[1], x + reach[0], y + reach[1]

    def seen(self, x: FloatArray, y: FloatArray) -> Surface:
        """Return what is seen at the pixels x (1, w) and y (h, 1): the nearer root of sum(((p - c) . axis / radius)^2) = 1."""
        px, py = x - np.float32(self.centre[0]), y - np.float32(self.centre[1])
        scaled = [
            [np.float32(value / radius) for value in axis] for axis, radius in zip(self.axes, self.radii, strict=True)
        ]
        flat = [ax * px + ay * py for ax, ay, _ in scaled]
        a = np.float32(sum(float(az) ** 2 for _, _, az in scaled))
        b = flat[0] * scaled[0][2] + flat[1] * scaled[1][2] + flat[2] * scaled[2][2]
        c = flat[0] * flat[0] + flat[1] * flat[1] + flat[2] * flat[2] - 1
        under = b * b - a * c
        hit = under >= 0
        z = (-b - np.sqrt(np.maximum(under, 0))) / a
        along = [(own + axis[2] * z) for own, axis in zip(flat, scaled, strict=True)]
        normal = np.stack([sum(along[row] * scaled[row][at] for row in range(3)) for at in range(3)])
        length = np.sqrt(normal[0] * normal[0] + normal[1] * normal[1] + normal[2] * normal[2])
        normal = normal / np.maximum(length, np.float32(1e-12))
        return Surface(hit, (z + np.float32(self.centre[2])).astype(np.float32), normal.astype(np.float32))


Solid = Limb | Ellipsoid
