"""What headers say, without decoding a pixel."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from anon_batch.errors import FailedError
from anon_batch.imaging.header import read_image_header
from anon_batch.imaging.orientation import orientation_exif

KINDS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", *(["AVIF"] if features.check("avif") else [])]


def encode(kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.zeros((51, 70, 3), np.uint8)).save(out, kind, **options)
    return out.getvalue()


JPEG = encode("JPEG", comment=b"before the frame header", exif=b"Exif\0\0MM")


def failure(data: bytes, **limits: int) -> str:
    with pytest.raises(FailedError) as caught:
        read_image_header(data, **limits)
    return caught.value.reason


@pytest.mark.parametrize("kind", KINDS)
def test_format_and_size(kind: str) -> None:
    header = read_image_header(encode(kind))
    assert (header.format, header.width, header.height, header.orientation) == (kind, 70, 51, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_size_is_that_of_the_upright_image(kind: str, orientation: int) -> None:
    header = read_image_header(encode(kind, exif=b"Exif\0\0" + orientation_exif(orientation)))
    assert header.orientation == orientation
    assert (header.width, header.height) == ((70, 51) if orientation < 5 else (51, 70))


@pytest.mark.parametrize("options", [{"progressive": True}, {"restart_marker_blocks": 1}, {"comment": b"x" * 60_000}])
def test_any_kind_of_jpeg(options: dict[str, Any]) -> None:
    header = read_image_header(encode("JPEG", **options))
    assert (header.width, header.height) == (70, 51)


@pytest.mark.parametrize("kind", KINDS)
def test_limits_are_checked_on_the_header(kind: str) -> None:
    data = encode(kind)
    assert failure(data, max_pixels=70 * 51 - 1) == "too_many_pixels"
    assert failure(data, max_bytes=len(data) - 1) == "too_many_bytes"
    assert read_image_header(data, max_pixels=70 * 51, max_bytes=len(data)).width == 70


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"text", "unsupported_format"),
        (b"\xff\xd8\xff", "truncated"),
        (JPEG[:40], "truncated"),
        (JPEG[: JPEG.index(b"\xff\xda") + 8], "truncated"),
        (b"\xff\xd8\xff\xd9", "decode"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
    ],
)
def test_files_without_a_header_fail(data: bytes, reason: str) -> None:
    assert failure(data) == reason


def test_a_png_must_start_with_its_header_chunk() -> None:
    data = encode("PNG")
    header, rest = data[8:33], data[33:]
    gamma = b"\0\0\0\x04gAMA\0\0\xb1\x8f\x0b\xfca\x05"
    assert failure(data[:8] + gamma + header + rest) == "decode"
