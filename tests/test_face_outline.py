from __future__ import annotations

import math

import numpy as np
import pytest

from anon_batch import face_outline
from anon_batch.face_outline import CHIN, TAPER, MaskShape, gauge, reach


@pytest.mark.parametrize("angle", [0.0, 0.3, -0.7])
@pytest.mark.parametrize("radii", [(10.0, 14.0), (14.0, 10.0), (3.0, 30.0)])
def test_the_reach_is_that_of_the_border(angle, radii):
    along = np.linspace(0, 2 * math.pi, 200_001)
    u, v = np.cos(along), np.sin(along)
    u = np.where(v > 0, u * (1 - TAPER * v**2), u) * radii[0]
    v = np.where(v > 0, v * CHIN, v) * radii[1]
    x, y = u * math.cos(angle) - v * math.sin(angle), u * math.sin(angle) + v * math.cos(angle)
    expected = (-x.min(), -y.min(), x.max(), y.max())
    assert reach(MaskShape("face", radii, angle)) == pytest.approx(expected, abs=1e-6)


def test_the_polygon_lies_just_around_the_border():
    along = np.linspace(0, 2 * math.pi, 10_001)
    u, v = np.cos(along), np.sin(along)
    border = np.stack([np.where(v > 0, u * (1 - TAPER * v**2), u), np.where(v > 0, v * CHIN, v)], axis=-1)
    corners = np.stack([face_outline._BORDER_U, face_outline._BORDER_V], axis=-1)
    sides = np.roll(corners, -1, axis=0) - corners
    off = border[:, None] - corners
    assert (sides[:, 0] * off[..., 1] - sides[:, 1] * off[..., 0] >= -1e-12).all()
    assert np.abs(np.hypot(*corners.T) - np.hypot(*border.T)[:, None]).min(axis=0).max() < 1e-3


@pytest.mark.parametrize("along", np.linspace(0, 2 * math.pi, 25).tolist())
@pytest.mark.parametrize("scale", [1e-6, 0.4, 1.0, 30.0])
def test_the_gauge_scales_the_border_through_a_point(along, scale):
    u, v = math.cos(along), math.sin(along)
    if v > 0:
        u, v = u * (1 - TAPER * v**2), v * CHIN
    assert gauge(u * scale, v * scale, CHIN, TAPER) == pytest.approx(scale, rel=1e-6)


def test_the_gauge_of_the_centre_is_0():
    assert gauge(0.0, 0.0, CHIN, TAPER) == 0
