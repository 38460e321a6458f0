"""Even light on donors: a side in the shadow is lifted, hair and background stay, and even light changes little."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from anon_batch.anonymize.faces import landmarks
from tools.donor_light import even_light

SIDE = 208
BOX = np.array([56.0, 39, 152, 169])
POINTS = BOX[:2] + landmarks.CANONICAL * (BOX[2:] - BOX[:2])
LEFT, RIGHT = (slice(95, 120), slice(68, 88)), (slice(95, 120), slice(120, 140))


def drawn(left: int, right: int):
    """Return a face lit from one side on a grey wall."""
    light = np.linspace(left, right, 97).clip(0, 255)
    pixels = np.full((SIDE, SIDE, 3), 110, np.float32)
    skin = (light[None, :, None] / 255 * [255, 200, 170]).repeat(131, 0)
    y, x = np.mgrid[0:131, 0:97]
    inside = ((x - 48) / 48) ** 2 + ((y - 65) / 65) ** 2 <= 1
    pixels[39:170, 56:153][inside] = skin[inside]
    return np.rint(pixels).astype(np.uint8)


def lightness(pixels, place):
    lab = cv2.cvtColor(pixels.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB)
    return float(lab[:, :, 0][place].mean())


def test_a_side_in_the_shadow_is_lifted():
    pixels = drawn(240, 130)
    even = even_light(pixels, POINTS, balance=True)
    assert even.shape == pixels.shape
    assert even.dtype == np.uint8
    before, after = (lightness(image, LEFT) - lightness(image, RIGHT) for image in (pixels, even))
    assert before > 15
    assert 0 <= after < 0.5 * before


def test_a_face_seen_from_one_side_keeps_its_sides():
    pixels = drawn(240, 130)
    even = even_light(pixels, POINTS, balance=False)
    before, after = (lightness(image, LEFT) - lightness(image, RIGHT) for image in (pixels, even))
    assert 0.6 * before < after < 0.95 * before


@pytest.mark.parametrize("balance", [False, True])
def test_the_wall_around_stays(balance):
    pixels = drawn(240, 130)
    even = even_light(pixels, POINTS, balance=balance)
    for border in (np.s_[:12], np.s_[-12:], np.s_[:, :12], np.s_[:, -12:]):
        assert np.abs(even[border].astype(int) - pixels[border]).max() <= 1


def test_even_light_changes_little():
    pixels = drawn(200, 200)
    even = even_light(pixels, POINTS, balance=True)
    assert np.abs(even.astype(int) - pixels)[80:130, 75:133].mean() < 5


def test_mirror_images_stay_mirror_images():
    pixels = drawn(240, 130)
    one = even_light(np.ascontiguousarray(pixels[:, ::-1]), landmarks.mirror(POINTS, SIDE), balance=True)
    other = even_light(pixels, POINTS, balance=True)[:, ::-1]
    assert np.abs(one.astype(int) - other).max() <= 2
