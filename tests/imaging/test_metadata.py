"""strip and inspect: nothing around the pixels survives, everything in the pixels does."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, features

from anon_batch.errors import FailedError
from anon_batch.imaging.metadata.inspect import inspect
from anon_batch.imaging.metadata.strip import png_chunks, strip, webp_chunks

SECRET = b"SECRET-GPS-47.3769N"


def make_image(seed=0, size=(48, 32)):
    samples = np.random.default_rng(seed).integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    return Image.fromarray(samples).resize(size)


def file(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def exif(orientation=1):
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x010E] = SECRET.decode()
    block.get_ifd(0x8825)[1] = "N"
    block.get_ifd(0x8825)[29] = SECRET.decode()
    return block


def segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg_with(*segments, tail=b"", **options):
    data = file(make_image(), "JPEG", **options)
    return data[:2] + b"".join(segments) + data[2:] + tail


def png_chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def riff_chunk(name, body):
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)))


THUMBNAIL = segment(0xE0, b"JFXX\0\x10" + SECRET)
JFIF_WITH_THUMBNAIL = segment(0xE0, b"JFIF\0\1\2\0\0\1\0\1\2\2" + (SECRET * 2)[:12])
JPEG_EXTRAS = {
    "jfxx thumbnail": jpeg_with(THUMBNAIL),
    "exif": jpeg_with(exif=exif()),
    "exif with orientation": jpeg_with(exif=exif(6)),
    "xmp": jpeg_with(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x>" + SECRET)),
    "iptc": jpeg_with(segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x13" + SECRET)),
    "icc": jpeg_with(icc_profile=SECRET * 20),
    "comment": jpeg_with(comment=SECRET),
    "maker app": jpeg_with(segment(0xE5, SECRET), segment(0xEF, SECRET)),
    "trailing bytes": jpeg_with(tail=SECRET),
    "second image after the end": jpeg_with(tail=file(make_image(1), "JPEG", comment=SECRET)),
    "longer adobe": jpeg_with(segment(0xEE, b"Adobe\0\x64\0\0\0\0\x01" + SECRET)),
    "second jfif": jpeg_with(segment(0xFE, SECRET), JFIF_WITH_THUMBNAIL),
}


@pytest.mark.parametrize("name", JPEG_EXTRAS)
@pytest.mark.parametrize("progressive", [False, True])
def test_stripping_a_jpeg_keeps_its_pixels(name, progressive):
    data = JPEG_EXTRAS[name]
    if progressive:
        data = data.replace(file(make_image(), "JPEG")[2:], file(make_image(), "JPEG", progressive=True)[2:])
    clean = strip(data, "JPEG")
    assert inspect(data), "the fixture itself must be dirty"
    assert inspect(clean) == []
    assert SECRET not in clean
    np.testing.assert_array_equal(pixels(clean), pixels(data))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_stripped_jpegs_of_every_kind_keep_their_entropy_coded_bytes(mode, progressive):
    options = {"progressive": progressive, "comment": SECRET, "restart_marker_blocks": 2}
    data = file(make_image().convert(mode), "JPEG", **options)
    clean = strip(data, "JPEG")
    assert inspect(clean) == []
    assert clean[clean.index(b"\xff\xda") :] == data[data.index(b"\xff\xda") :]


@pytest.mark.parametrize("value", range(2, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_only_the_orientation_of_a_jpeg_is_kept(kind, value):
    data = file(make_image(), kind, exif=exif(value))
    clean = strip(data, kind)
    assert inspect(data)
    assert inspect(clean) == []
    assert SECRET not in clean
    assert dict(Image.open(io.BytesIO(clean)).getexif()) == ({0x0112: value} if kind == "JPEG" else {})


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_orientation_1_needs_no_tag(kind):
    clean = strip(file(make_image(), kind, exif=exif(1)), kind)
    assert dict(Image.open(io.BytesIO(clean)).getexif()) == {}


def test_stripping_an_mpo_drops_its_other_images():
    data = file(make_image(), "MPO", save_all=True, append_images=[make_image(5)], quality=90)
    clean = strip(data, "JPEG")
    assert inspect(clean) == []
    assert clean.count(b"\xff\xd8\xff") == 1
    assert Image.open(io.BytesIO(clean)).format == "JPEG"
    np.testing.assert_array_equal(pixels(clean), pixels(data))


def png_with(*chunks, tail=b""):
    data = file(make_image(), "PNG")
    return data[:33] + b"".join(png_chunk(*c) for c in chunks) + data[33:] + tail


PNG_EXTRAS = {
    "text": png_with((b"tEXt", b"Comment\0" + SECRET)),
    "compressed text": png_with((b"zTXt", b"Comment\0\0" + zlib.compress(SECRET))),
    "international text": png_with((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + SECRET)),
    "exif": png_with((b"eXIf", b"MM\0*" + SECRET)),
    "time": png_with((b"tIME", b"\x07\xe8\1\1\1\1\1")),
    "profile": png_with((b"iCCP", b"x\0\0" + zlib.compress(SECRET))),
    "private": png_with((b"prVt", SECRET)),
    "trailing": png_with(tail=SECRET),
}


@pytest.mark.parametrize("name", PNG_EXTRAS)
def test_stripping_a_png_keeps_its_samples(name):
    data = PNG_EXTRAS[name]
    clean = strip(data, "PNG")
    assert inspect(data)
    assert inspect(clean) == []
    assert SECRET not in clean
    kept = [c.body for c in png_chunks(data) if c.name == b"IDAT"]
    assert [c.body for c in png_chunks(clean) if c.name == b"IDAT"] == kept
    np.testing.assert_array_equal(pixels(clean), pixels(data))


def test_stripping_a_png_keeps_its_colour_chunks():
    data = png_with((b"gAMA", struct.pack(">I", 45455)), (b"pHYs", struct.pack(">IIB", 2835, 2835, 1)))
    assert strip(data, "PNG") == data
    assert inspect(data) == []


def test_data_after_the_compressed_samples_of_a_png_is_a_finding():
    data = file(make_image(), "PNG")
    chunks = list(png_chunks(data))
    forged = data[:8] + b"".join(png_chunk(c.name, c.body + SECRET * (c.name == b"IDAT")) for c in chunks)
    assert inspect(forged) == ["PNG chunk IDAT holds more or less than the image"]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_sizes_of_png_samples_are_counted_right(mode):
    for size in ((1, 1), (3, 2), (9, 7)):
        assert inspect(file(make_image(size=(16, 16)).resize(size).convert(mode), "PNG")) == []


def test_interlaced_png_samples_are_counted_right():
    # 3 x 2 grey: of the seven passes only 1, 4, 6 and 7 have pixels.
    passes = [b"\0\x10", b"\0\x20", b"\0\x30", b"\0\x40\x50\x60"]
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 2, 8, 0, 0, 0, 1))
    body = png_chunk(b"IDAT", zlib.compress(b"".join(passes)))
    data = b"\x89PNG\r\n\x1a\n" + header + body + png_chunk(b"IEND", b"")
    Image.open(io.BytesIO(data)).load()
    assert inspect(data) == []


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_stripping_a_webp_keeps_its_pixels(lossless, mode):
    image = make_image().convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    data = file(image, "WEBP", lossless=lossless, exif=exif(), xmp=SECRET, icc_profile=SECRET * 9)
    body = data[12:] + riff_chunk(b"PRIV", SECRET)
    data = b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body + SECRET
    clean = strip(data, "WEBP")
    assert inspect(data)
    assert inspect(clean) == []
    assert SECRET not in clean
    np.testing.assert_array_equal(pixels(clean), pixels(data))


def test_a_webp_keeps_no_plane_of_alpha_and_no_image_that_is_not_shown():
    image = make_image().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    lossy, lossless = (file(image, "WEBP", lossless=own) for own in (False, True))
    chunks = [riff_chunk(c.name, c.body) for c in webp_chunks(lossy)]
    hidden = riff_chunk(b"ALPH", b"\0" + SECRET)
    [own] = [riff_chunk(c.name, c.body) for c in webp_chunks(lossless) if c.name == b"VP8L"]
    for data, parts in (
        (lossy, [*chunks[:2], hidden, chunks[2]]),
        (lossy, [*chunks, hidden]),
        (lossy, [*chunks, own]),
        (lossless, [hidden, own]),
        (lossless, [own, hidden]),
    ):
        body = b"WEBP" + b"".join(parts)
        odd = b"RIFF" + struct.pack("<I", len(body)) + body
        clean = strip(odd, "WEBP")
        assert inspect(odd)
        assert inspect(clean) == []
        assert SECRET not in clean
        np.testing.assert_array_equal(pixels(clean), pixels(strip(data, "WEBP")))


def test_other_formats_cannot_be_stripped():
    with pytest.raises(FailedError, match="unsupported_format"):
        strip(file(make_image(), "GIF"), "GIF")


CLEAN_WRITES = {
    "GIF": {},
    "BMP": {},
    "TIFF": {"compression": "tiff_adobe_deflate"},
    "AVIF": {},
    "WEBP": {},
    "PNG": {},
    "JPEG": {},
}


@pytest.mark.parametrize("kind", CLEAN_WRITES)
def test_plain_files_are_clean(kind):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("Pillow has no AVIF")
    data = file(make_image(), kind, **CLEAN_WRITES[kind])
    assert inspect(data) == []
    assert inspect(data + SECRET) != []


@pytest.mark.parametrize(
    ("kind", "options", "finding"),
    [
        ("GIF", {"comment": SECRET}, "GIF extension FE"),
        ("GIF", {"loop": 0}, "GIF extension FF"),
        ("TIFF", {"description": SECRET.decode()}, "TIFF tag 270"),
        ("TIFF", {"software": SECRET.decode()}, "TIFF tag 305"),
        ("TIFF", {"icc_profile": SECRET}, "TIFF tag 34675"),
        ("TIFF", {"exif": exif()}, "TIFF tag 270"),
        ("AVIF", {"exif": exif()}, "AVIF item Exif"),
        ("AVIF", {"xmp": SECRET}, "AVIF item mime"),
        ("AVIF", {"icc_profile": SECRET * 9}, "AVIF property colr"),
    ],
)
def test_metadata_of_other_formats_is_a_finding(kind, options, finding):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("Pillow has no AVIF")
    assert any(finding in found for found in inspect(file(make_image(), kind, **options)))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_several_frames_are_a_finding(kind):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("Pillow has no AVIF")
    assert inspect(file(make_image(), kind, save_all=True, append_images=[make_image(7)]))


def test_bytes_in_gaps_are_a_finding():
    tiff = file(make_image(), "TIFF")
    start = struct.unpack_from("<I", tiff, 4)[0]
    directory = bytes(tiff[start:])
    moved = tiff[:4] + struct.pack("<I", len(tiff) + 20) + tiff[8:] + SECRET + b"\0" + directory
    assert any("no TIFF tag refers to" in found for found in inspect(moved))
    bmp = file(make_image(), "BMP")
    gap = bmp[:10] + struct.pack("<I", 54 + len(SECRET)) + bmp[14:54] + SECRET + bmp[54:]
    assert inspect(gap) == ["bytes between the BMP header and its samples"]


@pytest.mark.parametrize(
    "data", [b"", b"no image", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF", b"GIF89a", b"BM", b"II*\0"]
)
def test_a_file_that_is_not_an_image_is_never_clean(data):
    assert inspect(data) != []


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_cut_file_cannot_be_stripped(kind):
    data = file(make_image(), kind)
    with pytest.raises(FailedError, match="truncated"):
        strip(data[: len(data) // 2], kind)


def test_a_wrong_checksum_is_an_error():
    data = bytearray(file(make_image(), "PNG"))
    data[20] ^= 1
    with pytest.raises(FailedError, match="checksum"):
        strip(bytes(data), "PNG")
