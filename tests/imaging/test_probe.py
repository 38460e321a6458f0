"""A picture's size from its header alone, for every format, and 0 for what has none."""

import io

import numpy as np
import pytest
from PIL import Image

from anon_batch.imaging.probe import pixel_count


def _file(kind, **options):
    out = io.BytesIO()
    Image.fromarray(np.zeros((51, 70, 3), np.uint8)).save(out, kind, **options)
    return out.getvalue()


JPEG = _file("JPEG", comment=b"before the frame header", exif=b"Exif\0\0MM")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_width_times_height(kind):
    assert pixel_count(_file(kind)) == 51 * 70


@pytest.mark.parametrize("options", [{"progressive": True}, {"restart_marker_blocks": 1}, {"comment": b"x" * 60_000}])
def test_of_any_jpeg(options):
    assert pixel_count(_file("JPEG", **options)) == 51 * 70


def test_of_a_jpeg_whose_samples_are_missing():
    scan = JPEG.index(b"\xff\xda")
    assert pixel_count(JPEG[: scan + 20]) == 51 * 70


@pytest.mark.parametrize(
    "data",
    [b"", b"text", b"\xff\xd8\xff", JPEG[:40], b"\xff\xd8\xff\xd9", b"\xff\xd8\xff\xfe\x00\x01", b"\x89PNG\r\n\x1a\n"],
)
def test_nothing_where_the_header_says_nothing(data):
    assert pixel_count(data) == 0
