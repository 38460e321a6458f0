"""Damaged bytes decode or raise FailedError, and everything that decodes can be written clean."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from anon_batch.errors import FailedError, WithheldError
from anon_batch.imaging.decode import decode
from anon_batch.imaging.encode import encode_anonymized, encode_clean
from anon_batch.imaging.metadata.inspect import inspect
from anon_batch.imaging.metadata.strip import strip
from anon_batch.imaging.orientation import (
    orientation_exif,
    turn_as_stored,
    turn_upright,
    view_as_stored,
)
from anon_batch.imaging.orientation_claims import Orientation, read_exif, read_tiff, read_xmp
from anon_batch.imaging.source import SourceImage
from anon_batch.imaging.tiff import first_directory, plain_tiff
from anon_batch.records import AnonymizedImage

MAX_PIXELS = 200_000
REASONS = {
    "empty",
    "unsupported_format",
    "unsupported_mode",
    "multi_frame",
    "truncated",
    "decode",
    "too_many_pixels",
}


def _file(kind, mode, **options):
    samples = np.random.default_rng(8).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(samples).resize((31, 26)).convert(mode).save(out, kind, **options)
    return out.getvalue()


STARTS = [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"MM\0*", b"BM"]
VALID = [
    _file("JPEG", "RGB"),
    _file("JPEG", "RGB", progressive=True),
    _file("JPEG", "L"),
    _file("JPEG", "CMYK"),
    _file("PNG", "RGB"),
    _file("PNG", "P"),
    _file("PNG", "LA"),
    _file("PNG", "1"),
    _file("WEBP", "RGB"),
    _file("WEBP", "RGBA", lossless=True),
    _file("GIF", "P"),
    _file("BMP", "RGB"),
    _file("BMP", "P"),
    _file("TIFF", "RGB", compression="tiff_adobe_deflate"),
    _file("TIFF", "CMYK"),
    _file("TIFF", "1"),
    *([_file("AVIF", "RGB")] if features.check("avif") else []),
]


@st.composite
def broken(draw):
    data = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(0, 6))):
        # The structure lies at the start, so half of the flips are there.
        limit = draw(st.sampled_from([min(120, len(data)), len(data)]))
        data[draw(st.integers(0, limit - 1))] ^= 1 << draw(st.integers(0, 7))
    if draw(st.booleans()):
        del data[draw(st.integers(0, len(data))) :]
    if draw(st.booleans()):
        data += draw(st.binary(max_size=20))
    return bytes(data)


def _outcome(data):
    try:
        source = SourceImage.open("a", data, max_pixels=MAX_PIXELS)
        source.decode()
        return source
    except FailedError as exc:
        reason = exc.reason
    assert reason in REASONS
    return None


@settings(max_examples=600, deadline=None)
@given(broken())
def test_damaged_files_decode_or_fail_with_a_reason(data):
    source = _outcome(data)
    if source is None:
        return
    image = source.decode()
    touched = np.zeros(image.pixels.shape[:2], np.bool_)
    touched[: max(image.height // 2, 1), : max(image.width // 2, 1)] = True
    pixels = np.where(touched[..., None], np.uint8(0), image.pixels)
    for target in ("keep", "jpeg"):
        for encode in (
            lambda target: encode_clean(source, target),
            lambda target: encode_anonymized(image, AnonymizedImage(pixels, touched, {}), target),
        ):
            try:
                out = encode(target)
            except WithheldError:
                continue
            assert inspect(out.data) == []
            assert (out.width, out.height) == (image.width, image.height)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_fail_with_a_reason(data):
    _outcome(data)
    assert inspect(data) != []


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(STARTS), st.binary())
def test_a_known_start_and_random_bytes_fail_with_a_reason(start, rest):
    _outcome(start + rest)
    assert isinstance(inspect(start + rest), list)


@settings(max_examples=300, deadline=None)
@given(broken())
def test_strip_is_clean_and_idempotent_or_fails(data):
    for kind in ("JPEG", "PNG", "WEBP"):
        try:
            once = strip(data, kind)
        except FailedError:
            continue
        assert strip(once, kind) == once


@given(
    st.integers(1, 8),
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from([(), (1,), (2,), (3,), (4,)]),
    st.sampled_from([np.bool_, np.uint8, np.uint16, np.int64]),
)
def test_turning_has_an_inverse(value, height, width, channels, kind):
    numbers = np.arange(height * width * int(np.prod(channels, dtype=int))).reshape(height, width, *channels)
    array = (numbers % 3).astype(kind)
    standing = turn_upright(array, value)
    assert standing.dtype == kind
    assert standing.flags.c_contiguous
    np.testing.assert_array_equal(turn_as_stored(standing, value), array)
    np.testing.assert_array_equal(view_as_stored(standing, value), array)


@given(st.integers(2, 8))
def test_the_orientation_block_reads_back(value):
    assert read_exif(orientation_exif(value)) == Orientation(value)
    assert read_exif(b"Exif\0\0" + orientation_exif(value)) == Orientation(value)


@given(st.binary(max_size=80))
def test_any_exif_gives_a_legal_orientation(data):
    for start in (b"", b"II*\0", b"MM\0+"):
        for own in (read_exif(start + data), read_xmp(data)):
            assert own is None or {own.value, *own.others} <= set(range(1, 9))


@given(
    st.sampled_from(["<", ">"]),
    st.integers(0, 18),
    st.integers(0, 4) | st.just(2**32 - 1),
    st.binary(max_size=24),
    st.booleans(),
)
def test_any_orientation_entry_is_read_and_left_out(order, kind, count, value, is_big):
    mark = {"<": b"II", ">": b"MM"}[order]
    head = struct.pack(f"{order}HHHQQ", 43, 8, 0, 16, 3) if is_big else struct.pack(f"{order}HIH", 42, 8, 3)
    form = f"{order}HH{'Q' if is_big else 'I'}"
    room = 8 if is_big else 4
    one = struct.pack(f"{order}H", 1).ljust(room, b"\0")
    sizes = struct.pack(form, 256, 3, 1) + one + struct.pack(form, 257, 3, 1) + one
    entry = struct.pack(form, 0x0112, kind, count)
    tiff = mark + head + sizes + entry + value.ljust(24, b"\0")
    own = read_exif(tiff)
    assert own is not None
    assert own.value not in own.others
    assert {own.value, *own.others} <= set(range(1, 9))
    plain = plain_tiff(tiff)
    assert read_tiff(plain) is None
    assert [(entry.tag, entry.read_integer(plain)) for entry in first_directory(plain)] == [(256, 1), (257, 1)]


@pytest.mark.parametrize("data", VALID)
def test_undamaged_files_decode(data):
    assert decode("a", data).pixels.shape == (26, 31, 3)
