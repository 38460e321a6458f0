"""Dark images are searched brighter too, whatever a few bright pixels say."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from anon_batch.imaging.source import SourceImage


def light(side=60):
    coarse = np.random.default_rng(7).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_LINEAR)


def opened(pixels, kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return SourceImage.open("a", buffer.getvalue())


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
@pytest.mark.parametrize("max_side_px", [None, 30])
def test_a_dark_image_is_seen_brighter_too(kind, max_side_px):
    dark = (light() * 0.06).astype(np.uint8)
    source = opened(dark, kind)
    [view] = source.other_views(max_side_px)
    before = source.preview(max_side_px)
    assert view.back == 1
    assert (view.preview.scale_x, view.preview.scale_y) == (before.scale_x, before.scale_y)
    assert view.preview.pixels.shape == before.pixels.shape
    assert before.pixels.max() < 25
    assert view.preview.pixels.max() > 230


@pytest.mark.parametrize("pixels", [light(), (light() * 0.3).astype(np.uint8), np.zeros((60, 60, 3), np.uint8)])
def test_a_light_image_and_a_black_one_are_searched_once(pixels):
    assert opened(pixels).other_views() == []


@pytest.mark.parametrize("channels", [1, 3])
def test_one_dead_pixel_does_not_darken_12_bits(channels):
    samples = (light().astype(np.float64) / 255 * 4095).astype(np.uint16)
    samples = samples if channels == 3 else samples[..., 1]
    samples[5, 5] = 65535
    source = SourceImage.open("a", cv2.imencode(".png", samples)[1].tobytes())
    assert source.preview().pixels[samples.reshape(60, 60, -1)[..., 0] < 65535].max() <= 16
    views = source.other_views()
    wanted = light()[..., ::-1] if channels == 3 else np.repeat(light()[..., 1:2], 3, axis=2)
    known = np.ones((60, 60), np.bool_)
    known[5, 5] = False
    alike = [np.corrcoef(view.preview.pixels[known].ravel(), wanted[known].ravel())[0, 1] for view in views]
    assert max(alike) > 0.999
    assert max(view.preview.pixels[known].max() for view in views) > 240
