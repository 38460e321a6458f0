"""What counts as a change outside the regions."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from anon_batch.imaging.encode import encode_anonymized
from anon_batch.imaging.source import SourceImage
from anon_batch.records import AnonymizedImage
from anon_batch.release.diff.pixels import compare

REGION = (37, 41, 70, 75)


def photograph(size=(160, 128)):
    """Return smooth pixels with some grain, as of a photograph."""
    y, x = np.mgrid[: size[1], : size[0]]
    waves = [np.sin(x / 17 + phase) * 60 + np.cos(y / 23 + phase) * 50 + 128 for phase in (0, 1, 2)]
    grain = np.random.default_rng(1).normal(0, 4, (size[1], size[0], 3))
    return np.clip(np.stack(waves, axis=2) + grain, 0, 255).astype(np.uint8)


def encoded(pixels, kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return SourceImage.open("a", buffer.getvalue())


def painted(pixels, extent, value=7):
    out = pixels.copy()
    out[extent[1] : extent[3], extent[0] : extent[2]] = value
    return out


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_formats_without_loss_may_change_inside_the_regions_alone(kind):
    before = photograph()
    source = encoded(before, kind)
    assert compare(source, encoded(before, kind), [REGION]) == "equal"
    assert compare(source, encoded(painted(before, REGION), kind), [REGION]) == "changed in regions"
    x1, y1, x2, y2 = REGION
    for extent in ((x1 - 1, y1, x2, y2), (x1, y1 - 1, x2, y2), (x1, y1, x2 + 1, y2), (x1, y1, x2, y2 + 1)):
        assert compare(source, encoded(painted(before, extent), kind), [REGION]) == "changed outside"
    assert compare(source, encoded(painted(before, REGION), kind), []) == "changed outside"


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_jpeg_as_the_run_writes_it_changes_in_regions_alone(subsampling, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    source = encoded(photograph(), "JPEG", quality=88, subsampling=subsampling, exif=exif)
    image = source.decode()
    touched = np.zeros(image.pixels.shape[:2], np.bool_)
    touched[REGION[1] : REGION[3], REGION[0] : REGION[2]] = True
    result = AnonymizedImage(painted(image.pixels, REGION), touched, {0: "solid"})
    output = SourceImage.open("a", encode_anonymized(image, result).data)
    assert compare(source, output, [REGION]) == "changed in regions"
    assert compare(source, output, [(0, 0, 4, 4)]) == "changed outside"


def test_another_coding_is_not_another_content():
    before = photograph()
    source = encoded(before, "PNG")
    assert compare(source, encoded(before, "JPEG", quality=80), []) == "encoded again"
    elsewhere = painted(before, (100, 80, 124, 104))
    assert compare(source, encoded(elsewhere, "JPEG", quality=80), [REGION]) == "changed outside"
    assert compare(source, encoded(painted(before, REGION), "JPEG", quality=80), [REGION]) == "encoded again"
    lossy = encoded(before, "JPEG", quality=70)
    assert compare(lossy, encoded(lossy.decode().pixels, "PNG"), []) == "equal"


def test_another_size_is_no_twin():
    assert compare(encoded(photograph(), "PNG"), encoded(photograph((128, 160)), "PNG"), []) == "other size"
