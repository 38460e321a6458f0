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
    [*others, view] = source.other_views(max_side_px)
    assert len(others) == (kind == "GIF"), "of a palette, the indices are shown too"
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


@pytest.mark.parametrize("base", [0, 120, 235])
def test_an_image_of_nearly_one_grey_is_seen_with_more_contrast_too(base):
    pale = (base + light() * 0.06).astype(np.uint8)
    [view] = opened(pale).other_views()
    assert np.corrcoef(view.preview.pixels.ravel(), light().ravel())[0, 1] > 0.98
    assert int(view.preview.pixels.max()) - int(view.preview.pixels.min()) > 250


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_narrow_part_of_16_bits_is_seen_over_the_whole_range(channels):
    samples = 0x7FC0 + light().astype(np.uint16)  # across a border of the high byte
    samples = samples[..., 1] if channels == 1 else np.dstack([samples, np.full((60, 60), 65535)][: channels - 2])
    views = SourceImage.open("a", cv2.imencode(".png", samples.astype(np.uint16))[1].tobytes()).other_views()
    wanted = np.repeat(light()[..., 1:2], 3, axis=2) if channels == 1 else light()[..., ::-1]
    assert max(np.corrcoef(view.preview.pixels.ravel(), wanted.ravel())[0, 1] for view in views) > 0.999
