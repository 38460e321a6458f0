"""SourceImage: previews for detectors, whole pixels for everything else, and one decoding where that is enough."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from anon_batch.errors import FailedError
from anon_batch.imaging import source as source_module
from anon_batch.imaging.decode import decode
from anon_batch.imaging.downscale import downscale, fit_size
from anon_batch.imaging.encode import encode_anonymized, encode_clean
from anon_batch.imaging.orientation import orientation_exif
from anon_batch.imaging.source import SourceImage
from anon_batch.records import AnonymizedImage, PixelArray, Preview

MAX_PIXELS = 500_000


def smooth(width: int = 402, height: int = 301, seed: int = 1) -> PixelArray:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 32, width // 32, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def jpeg(pixels: PixelArray | None = None, mode: str = "RGB", orientation: int = 1, **options: Any) -> bytes:
    out = io.BytesIO()
    exif = b"Exif\0\0" + orientation_exif(orientation)
    Image.fromarray(smooth() if pixels is None else pixels).convert(mode).save(out, "JPEG", exif=exif, **options)
    return out.getvalue()


def png(pixels: PixelArray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def refuse_to_decode(*_: object) -> None:
    pytest.fail("decoded the whole image")


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 2}, {"keep_rgb": True}]
)
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("max_side_px", [200, 150, 64])
def test_a_large_jpeg_is_decoded_at_a_fraction(
    options: dict[str, Any], orientation: int, max_side_px: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = jpeg(orientation=orientation, quality=95, **options)
    whole = decode("a", data)
    monkeypatch.setattr(source_module, "decode_after_header", refuse_to_decode)
    source = SourceImage.open("a", data, max_pixels=MAX_PIXELS)
    preview = source.preview(max_side_px)
    assert (source.width, source.height) == preview.whole_size == (whole.width, whole.height)
    assert (preview.width, preview.height) == fit_size(whole.width, whole.height, max_side_px)
    assert (source.orientation, source.format) == (orientation, "JPEG")
    expected = downscale(Preview("a", whole.pixels), max_side_px)
    assert np.abs(preview.pixels.astype(int) - expected.pixels).mean() < 5


@pytest.mark.parametrize(
    "data",
    [jpeg(mode="L"), jpeg(mode="CMYK"), png(smooth()), jpeg(smooth(150, 100))],
    ids=["grey", "CMYK", "PNG", "less than twice as long"],
)
def test_every_other_image_is_decoded_whole_and_downscaled(data: bytes) -> None:
    preview, whole = SourceImage.open("a", data).preview(100), decode("a", data)
    expected = downscale(Preview("a", whole.pixels), 100)
    assert preview.whole_size == (whole.width, whole.height)
    np.testing.assert_array_equal(preview.pixels, expected.pixels)


@pytest.mark.parametrize("data", [jpeg(), png(smooth())], ids=["JPEG", "PNG"])
@pytest.mark.parametrize("max_side_px", [None, 1000])
def test_a_whole_preview_and_decode_share_one_decoding(
    data: bytes, max_side_px: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = SourceImage.open("a", data)
    preview = source.preview(max_side_px)
    monkeypatch.setattr(source_module, "decode_after_header", refuse_to_decode)
    assert np.shares_memory(source.decode().pixels, preview.pixels)
    assert (preview.scale_x, preview.scale_y) == (1, 1)
    assert source.preview(max_side_px) is preview


def test_released_pixels_are_decoded_again() -> None:
    source = SourceImage.open("a", jpeg())
    first = source.decode()
    source.release()
    assert source.decode() is not first
    np.testing.assert_array_equal(source.decode().pixels, first.pixels)


def test_limits_are_those_of_the_whole_image() -> None:
    with pytest.raises(FailedError, match="too_many_pixels"):
        SourceImage.open("a", jpeg(), max_pixels=402 * 301 - 1)
    with pytest.raises(FailedError, match="too_many_bytes"):
        SourceImage.open("a", jpeg(), max_bytes=100)


def test_an_array_is_an_image_too() -> None:
    pixels = smooth()
    source = SourceImage.from_array("a", pixels)
    assert (source.width, source.height, source.pixel_count) == (402, 301, 402 * 301)
    assert source.preview(100).whole_size == (402, 301)
    source.release()
    assert source.decode().pixels is pixels
    written = encode_clean(source)
    assert written.format == "PNG"
    np.testing.assert_array_equal(decode("a", written.data).pixels, pixels)
    assert encode_clean(source, "jpeg").format == "JPEG"


FILES = [
    jpeg(),
    jpeg(progressive=True),
    jpeg(subsampling=0),
    jpeg(restart_marker_blocks=4),
    jpeg(quality=20, optimize=True),
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(FILES)))
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(2, len(data) - 1))] ^= 1 << draw(st.integers(0, 7))
    if draw(st.booleans()):
        start = draw(st.integers(2, len(data)))
        del data[start : start + draw(st.integers(1, 3000))]
    if draw(st.booleans()):
        data += b"\xff\xd9"
    return bytes(data)


def outcome(decoding: Callable[[], tuple[int, int]]) -> object:
    try:
        return decoding()
    except FailedError as exc:
        return exc.reason


def whole_size(data: bytes) -> tuple[int, int]:
    image = SourceImage.open("a", data, max_pixels=MAX_PIXELS).decode()
    return image.width, image.height


@settings(max_examples=400, deadline=None)
@given(damaged(), st.sampled_from([200, 100, 64, 50]))
def test_a_damaged_file_fails_in_a_preview_as_it_does_whole(data: bytes, max_side_px: int) -> None:
    def preview() -> tuple[int, int]:
        return SourceImage.open("a", data, max_pixels=MAX_PIXELS).preview(max_side_px).whole_size

    assert outcome(preview) == outcome(lambda: whole_size(data))


@pytest.mark.parametrize("at", [0.3, 0.6, 0.9, 0.99])
def test_a_cut_file_is_truncated_though_it_has_an_end_marker(at: float) -> None:
    data = jpeg()
    source = SourceImage.open("a", data[: int(len(data) * at)] + b"\xff\xd9")
    for use in (lambda: source.preview(50), source.decode, source.publishable_data, lambda: encode_clean(source)):
        with pytest.raises(FailedError, match="truncated"):
            use()


def test_a_clean_jpeg_is_stripped_after_a_preview_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    data = jpeg(orientation=6)
    expected = encode_clean(SourceImage.open("a", data))
    monkeypatch.setattr(source_module, "decode_after_header", refuse_to_decode)
    source = SourceImage.open("a", data)
    source.preview(64)
    written = encode_clean(source)
    assert written.data == expected.data
    assert (written.width, written.height) == (301, 402)


@pytest.mark.parametrize("output", [("png",), ("keep", 80)])
def test_all_pixels_are_written_after_a_preview(output: tuple[Any, ...]) -> None:
    data = jpeg(orientation=6)
    source = SourceImage.open("a", data)
    source.preview(64)
    written = encode_clean(source, *output)
    assert written.data == encode_clean(SourceImage.open("a", data), *output).data
    assert (written.width, written.height) == (301, 402)


def test_extraneous_bytes_in_a_scan_are_not_published_after_a_preview() -> None:
    data = jpeg()
    source = SourceImage.open("a", data[:-2] + b"SECRET PAYLOAD" * 4 + b"\xff\xd9")
    source.preview(64)
    assert b"SECRET" not in source.publishable_data()
    assert b"SECRET" not in encode_clean(source).data
    decoded = source.decode()
    np.testing.assert_array_equal(decoded.pixels, decode("a", data).pixels)
    touched = np.ones(decoded.pixels.shape[:2], np.bool_)
    written = encode_anonymized(decoded, AnonymizedImage(255 - decoded.pixels, touched, {0: "solid"}))
    assert b"SECRET" not in written.data
