"""Whatever a file says about its orientation, the image is looked at as every reader shows it, and written so that all agree."""

import time
import zlib

import cv2
import numpy as np
import oriented_files as files
import pytest
from PIL import features

from anon_batch.errors import FailedError
from anon_batch.imaging.decode import decode
from anon_batch.imaging.encode import encode_anonymized, encode_clean
from anon_batch.imaging.metadata.inspect import inspect
from anon_batch.imaging.source import SourceImage
from anon_batch.records import AnonymizedImage

STATED = {name: (meant, data) for name, meant, data in files.stated()}


def shown_positions(source):
    """How the image stands in what detectors see."""
    previews = [source.preview(), *(view.preview for view in source.other_views())]
    # Indices of a palette are shown as grey, too: dark, whatever colours they stand for.
    return {files.position(preview.pixels) for preview in previews if preview.pixels.max() > 150}


@pytest.mark.parametrize("name", STATED)
def test_the_image_stands_as_it_is_meant_and_is_seen_as_every_reader_shows_it(name):
    meant, data = STATED[name]
    source = SourceImage.open("a", data)
    assert source.orientation == meant
    assert files.position(source.decode().pixels) == meant
    shown = shown_positions(source)
    assert files.position(files.pillow(data)) in shown
    if source.format != "GIF" and "irot" not in name:  # which OpenCV does not know
        assert files.position(files.opencv(data)) in shown


@pytest.mark.parametrize("name", STATED)
def test_every_reader_shows_the_output_alike(name):
    meant, data = STATED[name]
    source = SourceImage.open("a", data)
    decoded = source.decode()
    touched = np.zeros(decoded.pixels.shape[:2], np.bool_)
    touched[-8:, -8:] = True
    outputs = (
        encode_clean(source).data,
        encode_anonymized(decoded, AnonymizedImage(decoded.pixels, touched, {0: "solid"})).data,
    )
    for out in outputs:
        assert inspect(out) == []
        assert files.position(files.pillow(out)) == meant
        if source.format == "GIF":
            continue
        assert files.position(files.opencv(out)) == meant
        if source.others or source.format != "JPEG":
            assert files.position(files.opencv(out, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)) == meant


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("value", range(1, 9))
def test_a_plain_statement_leaves_no_doubt(kind, value):
    block = files.tiff(value, order=">")
    data = {
        "JPEG": files.jpeg(files.exif(block)),
        "PNG": files.png(files.chunk(b"eXIf", block)),
        "WEBP": files.riff((b"EXIF", block), flags=8),
        "TIFF": files.tiff_file(value, order=">"),
    }[kind]
    source = SourceImage.open("a", data)
    assert (source.orientation, source.others, source.other_views()) == (value, frozenset(), [])


@pytest.mark.parametrize("value", range(1, 9))
def test_what_agrees_with_a_plain_statement_leaves_no_doubt(value):
    block, packet = files.tiff(value), files.xmp(value)
    text = b"Raw profile type exif\0" + files.profile("exif", block)
    for data in (
        files.jpeg(files.exif(block), files.jpeg_xmp(packet)),
        files.jpeg(files.exif(block), files.exif(block), files.jpeg_xmp(packet), files.extended_xmp(packet)),
        files.png(files.chunk(b"eXIf", block), files.chunk(b"tEXt", text)),
        files.riff((b"EXIF", block), (b"XMP ", packet), flags=12),
        files.tiff_file(value, packet=packet),
    ):
        source = SourceImage.open("a", data)
        assert (source.orientation, source.others) == (value, frozenset())


@pytest.mark.parametrize("value", [0, 9, 255, 65535])
def test_an_illegal_value_is_upright(value):
    source = SourceImage.open("a", files.jpeg(files.exif(files.tiff(value)), files.jpeg_xmp(files.xmp(6))))
    assert (source.orientation, source.others) == (1, {6})  # Pillow looks for XMP only where EXIF has no tag


def test_a_long_of_65542_is_not_6():
    source = SourceImage.open("a", files.jpeg(files.exif(files.tiff(65542, kind=4))))
    assert (source.orientation, source.others) == (1, {6})  # OpenCV reads its first two bytes


def test_a_16_bit_tiff_is_turned_once():
    samples = np.random.default_rng(3).integers(0, 65536, (6, 4, 3), dtype=np.uint16)
    data = bytearray(cv2.imencode(".tiff", samples[..., ::-1])[1].tobytes())
    at = int.from_bytes(data[4:8], "little")
    for entry in range(at + 2, at + 2 + 12 * int.from_bytes(data[at : at + 2], "little"), 12):
        if data[entry : entry + 2] == (284).to_bytes(2, "little"):
            data[entry : entry + 12] = b"\x12\x01\x04\0\x01\0\0\0\x06\0\0\0"  # a LONG
    decoded = decode("a", bytes(data))
    np.testing.assert_array_equal(decoded.native, np.rot90(samples, -1))


@pytest.mark.parametrize("mark", [b"II*\0", b"MM\0*"])
def test_many_structures_in_one_file_cost_little(mark):
    """Of 400,000 starts of EXIF blocks each would be copied to the end of the file."""
    if not features.check("avif"):
        pytest.skip("Pillow has no AVIF")
    avif = files.file("AVIF", quality=90) + b"\0\x18\x6a\x08free" + mark * 400_000
    started = time.process_time()
    assert SourceImage.open("a", avif).orientation == 1
    assert time.process_time() - started < 2


def test_a_png_of_many_compressed_profiles_fails():
    packed = files.chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(bytes(1 << 20)))
    assert SourceImage.open("a", files.png(*[packed] * 16)).orientation == 1
    with pytest.raises(FailedError, match="more than 16"):
        SourceImage.open("a", files.png(*[packed] * 17))


def test_bytes_between_segments_are_passed_over_fast():
    started = time.process_time()
    data = files.jpeg()
    for extraneous in (b"\xff\0" * 2_000_000, b"\xff" * 4_000_000, b"\xff\xd0" * 2_000_000, bytes(4_000_000)):
        assert SourceImage.open("a", data[:20] + extraneous + data[20:]).width == files.WIDTH
    assert time.process_time() - started < 4
