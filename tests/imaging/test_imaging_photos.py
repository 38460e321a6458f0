"""Encoding of real photographs."""

import external_data
import numpy as np
from external_data import needs_data

from anon_batch.imaging.decode import decode
from anon_batch.imaging.encode import encode_anonymized, encode_clean
from anon_batch.imaging.jpeg.splice import splice
from anon_batch.imaging.metadata.inspect import inspect
from anon_batch.imaging.source import SourceImage
from anon_batch.records import AnonymizedImage

PHOTOS = sorted((external_data.PHOTOS / "images").glob("*.jpg"))[::10]
pytestmark = needs_data(external_data.PHOTOS)


def test_clean_photos_keep_every_pixel():
    for path in PHOTOS:
        before = decode(path.name, path.read_bytes())
        out = encode_clean(SourceImage.open(path.name, path.read_bytes()))
        assert inspect(out.data) == []
        after = decode(path.name, out.data)
        np.testing.assert_array_equal(after.pixels, before.pixels)


def test_every_photo_is_spliced_and_keeps_the_pixels_away_from_the_region():
    for path in PHOTOS:
        before = decode(path.name, path.read_bytes())
        height, width = before.pixels.shape[:2]
        touched = np.zeros((height, width), np.bool_)
        touched[height // 4 : height // 2, width // 4 : width // 2] = True
        pixels = before.pixels.copy()
        pixels[touched] = 0
        change = AnonymizedImage(pixels, touched, {0: "solid"})
        out = encode_anonymized(before, change)
        assert out.data == splice(before, change)
        after = decode(path.name, out.data).pixels
        far = np.ones_like(touched)
        far[max(height // 4 - 17, 0) : height // 2 + 17, max(width // 4 - 17, 0) : width // 2 + 17] = False
        np.testing.assert_array_equal(after[far], before.pixels[far])
        assert after[touched].mean() < 4
