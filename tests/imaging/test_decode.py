"""decode: every format and mode, the limits, the orientation, and a reason code for all that fails."""

import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image, features

from anon_batch.errors import FailedError
from anon_batch.imaging.decode import decode
from anon_batch.imaging.jpeg.markers import SOS, iter_segments
from anon_batch.imaging.merge_pixels import merge_native
from anon_batch.imaging.orientation import turn_as_stored, turn_upright
from anon_batch.records import AnonymizedImage


def make_image(mode="RGB", size=(37, 23), seed=0):
    """Return a smooth image, so that lossy formats stay close to it."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    phase = seed * 40
    both = (x + y + phase) * 255 // (width + height + phase)
    rgb = np.stack([x * 255 // width, y * 255 // height, both], 2)
    return Image.fromarray(rgb.astype(np.uint8)).convert(mode)


def file(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png_chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def failure(data, **limits):
    with pytest.raises(FailedError) as caught:
        decode("a", data, **limits)
    return caught.value.reason


@pytest.mark.parametrize(
    ("kind", "mode", "native_mode"),
    [
        ("PNG", "RGB", "RGB"),
        ("PNG", "L", "L"),
        ("PNG", "LA", "LA"),
        ("PNG", "RGBA", "RGBA"),
        ("PNG", "P", "P"),
        ("PNG", "1", "1"),
        ("BMP", "RGB", "RGB"),
        ("BMP", "L", "L"),
        ("BMP", "P", "P"),
        ("BMP", "1", "1"),
        ("TIFF", "RGB", "RGB"),
        ("TIFF", "L", "L"),
        ("TIFF", "RGBA", "RGBA"),
        ("TIFF", "P", "P"),
        ("TIFF", "1", "1"),
        ("TIFF", "CMYK", "CMYK"),
        ("TIFF", "LA", "LA"),
        ("GIF", "P", "P"),
    ],
)
def test_lossless_modes_give_the_samples_of_the_file(kind, mode, native_mode):
    image = make_image(mode)
    got = decode("a", file(image, kind))
    assert (got.format, got.native_mode, got.orientation) == (kind, native_mode, 1)
    if mode in ("RGB", "L", "1", "P", "CMYK"):
        np.testing.assert_array_equal(got.pixels, np.asarray(image.convert("RGB")))
    if mode == "RGB":
        assert got.native is None
    elif mode != "P":  # a palette may be stored in another order
        np.testing.assert_array_equal(got.native, np.asarray(image))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_pixels_are_those_of_pillow(mode, progressive):
    data = file(make_image(mode), "JPEG", quality=88, progressive=progressive)
    got = decode("a", data)
    reference = Image.open(io.BytesIO(data))
    assert got.native_mode == mode
    np.testing.assert_array_equal(got.pixels, np.asarray(reference.convert("RGB")))
    if mode != "RGB":
        np.testing.assert_array_equal(got.native, np.asarray(reference))


@pytest.mark.parametrize(("kind", "tolerance"), [("WEBP", 12), ("AVIF", 12)])
def test_lossy_formats_stay_close_to_the_image(kind, tolerance):
    if not features.check(kind.lower()):
        pytest.skip(f"Pillow has no {kind}")
    got = decode("a", file(make_image(), kind, quality=95))
    assert got.format == kind
    assert np.abs(got.pixels.astype(int) - np.asarray(make_image()).astype(int)).mean() < tolerance


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colour_png_keeps_its_depth(channels):
    samples = np.random.default_rng(1).integers(0, 65536, (9, 7, channels), dtype=np.uint16)
    order = cv2.COLOR_RGB2BGR if channels == 3 else cv2.COLOR_RGBA2BGRA
    got = decode("a", cv2.imencode(".png", cv2.cvtColor(samples, order))[1].tobytes())
    assert got.native_mode == ("RGB;16" if channels == 3 else "RGBA;16")
    np.testing.assert_array_equal(got.native, samples)
    if channels == 3:
        np.testing.assert_array_equal(got.pixels, np.rint(samples / 257))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_keeps_its_depth(kind):
    samples = np.random.default_rng(2).integers(0, 65536, (9, 7), dtype=np.uint16)
    got = decode("a", file(Image.fromarray(samples), kind))
    assert got.native_mode == "I;16"
    np.testing.assert_array_equal(got.native, samples)


@pytest.mark.parametrize("bits", range(1, 17))
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_fewer_bits_in_16_are_seen_over_their_own_range(bits, channels):
    top = (1 << bits) - 1
    samples = np.random.default_rng(bits).integers(0, top + 1, (9, 7, channels), dtype=np.uint16)
    samples[0, 0] = top
    if channels == 4:
        samples[..., 3] = 65535
    order = samples[..., {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]]
    got = decode("a", cv2.imencode(".png", order)[1].tobytes())
    wanted = np.rint(samples[..., :3].astype(float) * 255 / max(top, 255))
    np.testing.assert_array_equal(got.pixels, np.broadcast_to(wanted, (9, 7, 3)))
    np.testing.assert_array_equal(got.native, samples[..., 0] if channels == 1 else samples)
    touched = np.ones((9, 7), np.bool_)
    back = merge_native(got, AnonymizedImage(got.pixels, touched, {0: "solid"}))
    assert np.abs(back.astype(int) - got.native).max() <= max(top, 255) / 255 / 2 + 1


def test_transparency_is_composited_over_mid_grey():
    rgba = np.full((4, 4, 4), 200, np.uint8)
    rgba[..., 3] = [255, 0, 128, 255]
    got = decode("a", file(Image.fromarray(rgba), "PNG"))
    assert got.pixels[0, :, 0].tolist() == [200, 128, 164, 200]


def test_a_transparent_palette_entry_is_composited_over_mid_grey():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    got = decode("a", file(image, "PNG", transparency=1))
    assert got.pixels[0].tolist() == [[255, 0, 0], [128, 128, 128]]


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_applied(kind, value):
    image = make_image("RGB", (40, 24))
    exif = Image.Exif()
    exif[0x0112] = value
    options = {"quality": 95} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    got = decode("a", file(image, kind, exif=exif, **options))
    wanted = turn_upright(np.asarray(image), value)
    assert got.orientation == value
    assert got.pixels.shape == wanted.shape
    assert np.abs(got.pixels.astype(int) - wanted.astype(int)).max() < 40
    assert np.abs(got.pixels.astype(int) - wanted.astype(int)).mean() < 4


@pytest.mark.parametrize("value", range(1, 9))
def test_turning_agrees_with_pillow_and_has_an_inverse(value):
    from PIL import ImageOps

    image = make_image("RGB", (5, 3))
    exif = image.getexif()
    exif[0x0112] = value
    array = np.asarray(image)
    np.testing.assert_array_equal(turn_upright(array, value), np.asarray(ImageOps.exif_transpose(image)))
    np.testing.assert_array_equal(turn_as_stored(turn_upright(array, value), value), array)


def test_orientation_of_a_16_bit_tiff_is_applied():
    samples = np.random.default_rng(3).integers(0, 65536, (6, 4, 3), dtype=np.uint16)
    data = bytearray(cv2.imencode(".tiff", samples[..., ::-1])[1].tobytes())
    at = struct.unpack_from("<I", data, 4)[0]
    for entry in range(at + 2, at + 2 + 12 * struct.unpack_from("<H", data, at)[0], 12):
        if struct.unpack_from("<H", data, entry)[0] == 284:  # planes: 1 is the default, the entry may go
            struct.pack_into("<HHIHH", data, entry, 274, 3, 1, 6, 0)
            break
    else:
        pytest.fail("no tag to replace")
    got = decode("a", bytes(data))
    assert got.orientation == 6
    np.testing.assert_array_equal(got.native, turn_upright(samples, 6))


def test_the_content_decides_the_format_not_the_name():
    assert decode("photo.jpg", file(make_image(), "PNG")).format == "PNG"


def test_files_that_are_not_images_fail_with_a_reason():
    assert failure(b"") == "empty"
    assert failure(b"hello world, this is text") == "unsupported_format"
    assert failure(b"BMore text that starts like a bitmap") == "unsupported_format"
    assert failure(b"\xff\xd8\xff") == "truncated"


def test_limits_are_checked_before_pixels():
    data = file(make_image(size=(50, 40)), "PNG")
    assert failure(data, max_pixels=1999) == "too_many_pixels"
    assert decode("a", data, max_pixels=2000).width == 50
    assert failure(data, max_bytes=len(data) - 1) == "too_many_bytes"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_every_format_obeys_the_pixel_limit(kind):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("Pillow has no AVIF")
    assert failure(file(make_image(), kind), max_pixels=850) == "too_many_pixels"


def test_a_decompression_bomb_fails_at_its_header():
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(b"")) + png_chunk(b"IEND", b"")
    assert failure(data, max_pixels=200_000_000) == "too_many_pixels"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP"])
def test_pillows_own_limit_neither_warns_nor_stops(kind, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode("a", file(make_image(), kind)).width == 37


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_several_frames_fail(kind):
    more = [make_image(seed=1)]
    assert failure(file(make_image(), kind, save_all=True, append_images=more)) == "multi_frame"


def test_an_mpo_is_decoded_as_its_first_image():
    data = file(make_image(), "MPO", save_all=True, append_images=[make_image(seed=3)], quality=90)
    got = decode("a", data)
    assert got.format == "JPEG"
    np.testing.assert_array_equal(got.pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("mode", ["F", "I", "LAB"])
def test_unsupported_modes_fail_with_a_reason(mode):
    image = Image.new(mode, (8, 8))
    assert failure(file(image, "TIFF")) == "unsupported_mode"


def test_a_16_bit_colour_tiff_with_alpha_is_unsupported():
    samples = np.zeros((8, 8, 3), np.uint16)
    data = bytearray(cv2.imencode(".tiff", samples)[1].tobytes())
    at = struct.unpack_from("<I", data, 4)[0]
    for entry in range(at + 2, at + 2 + 12 * struct.unpack_from("<H", data, at)[0], 12):
        if struct.unpack_from("<H", data, entry)[0] == 284:
            struct.pack_into("<H", data, entry + 8, 2)  # planes stored apart
    assert failure(bytes(data)) == "unsupported_mode"


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_cut_files_are_truncated(kind, share):
    data = file(make_image(size=(200, 150)), kind)
    assert failure(data[: int(len(data) * share)]) == "truncated"


@pytest.mark.parametrize("progressive", [False, True])
def test_a_cut_jpeg_is_not_padded_with_grey_even_with_an_end_marker(progressive):
    data = file(make_image(size=(200, 150)), "JPEG", progressive=progressive)
    cut = data[: len(data) * 2 // 3]
    assert failure(cut) == "truncated"
    assert failure(data[:-3]) == "truncated"
    if not progressive:  # because fewer scans of a progressive file are a whole, coarser image
        assert failure(cut + b"\xff\xd9") == "truncated"


def test_extraneous_bytes_of_a_scan_are_dropped_without_changing_pixels():
    data = file(make_image(size=(64, 48)), "JPEG")
    got = decode("a", data[:-2] + b"SECRET PAYLOAD" * 4 + b"\xff\xd9")
    assert b"SECRET" not in got.source
    np.testing.assert_array_equal(got.pixels, decode("a", data).pixels)
    np.testing.assert_array_equal(got.pixels, decode("b", got.source).pixels)


def test_threads_can_decode_at_the_same_time():
    files = [file(make_image(seed=i), kind) for i in range(6) for kind in ("JPEG", "PNG", "WEBP")]
    wanted = [decode("a", data).pixels for data in files]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            got = pool.map(lambda data: decode("a", data).pixels, files)
            assert all(np.array_equal(a, b) for a, b in zip(got, wanted, strict=True))


@pytest.mark.parametrize("table", [b"\xff\xc4\x00\x03\x00", b"\xff\xdb\x00\x03\x00", b"\xff\xdd\x00\x05\x00\x00\x00"])
def test_a_jpeg_that_libjpeg_leaves_unfinished_fails(table):
    """libjpeg takes an error after a warning for a warning; then the pixels would be whatever was in memory."""
    data = file(make_image(size=(640, 480)), "JPEG", progressive=True)
    end = next(segment.end for segment in iter_segments(data) if segment.marker == SOS)
    damaged = data[:end] + bytes(40) + table + data[end:]  # extraneous bytes, then a table of a bad length
    assert failure(damaged) == "decode"


def test_a_jpeg_with_a_flaw_that_costs_no_pixel_is_decoded():
    data = file(make_image(size=(640, 480)), "JPEG", progressive=True)
    end = next(segment.end for segment in iter_segments(data) if segment.marker == SOS)
    flawed = data[:end] + bytes(40) + data[end:]
    np.testing.assert_array_equal(decode("a", flawed).pixels, decode("a", data).pixels)
