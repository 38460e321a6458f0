"""The mark of generated content: every format that can holds it, its pixels stay, and no other XMP passes the inspection."""

from __future__ import annotations

import io
import struct
import subprocess
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import external_data
import numpy as np
import pytest
from metadata_scanner import scan_image
from PIL import Image

from anon_batch.imaging.encode import encode_anonymized
from anon_batch.imaging.metadata.inspect import inspect
from anon_batch.imaging.metadata.mark import PACKET, SOURCE_TYPE, add_mark
from anon_batch.imaging.metadata.strip import strip
from anon_batch.imaging.source import SourceImage
from anon_batch.records import AnonymizedImage, PixelArray

DESCRIPTION = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description"
PROPERTY = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"


def saved(kind: str, mode: str = "RGB", size: tuple[int, int] = (43, 29), **options: Any) -> bytes:
    samples = np.random.default_rng(4).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(cv2.blur(samples, (5, 5))).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def deep(suffix: str) -> bytes:
    samples = np.random.default_rng(6).integers(0, 65536, (29, 43, 3), dtype=np.uint16)
    return bytes(cv2.imencode(suffix, samples)[1].tobytes())


SOURCES = {
    "JPEG": saved("JPEG"),
    "JPEG grey": saved("JPEG", "L"),
    "JPEG CMYK": saved("JPEG", "CMYK"),
    "JPEG progressive": saved("JPEG", progressive=True),
    "JPEG turned": saved("JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"),
    "PNG": saved("PNG"),
    "PNG palette": saved("PNG", "P"),
    "PNG alpha": saved("PNG", "RGBA"),
    "PNG 16 bits": deep(".png"),
    "WEBP": saved("WEBP"),
    "WEBP alpha": saved("WEBP", "RGBA"),
    "WEBP lossless": saved("WEBP", lossless=True),
    "WEBP lossless alpha": saved("WEBP", "RGBA", lossless=True),
    "TIFF": saved("TIFF"),
    "TIFF of one bit": saved("TIFF", "1"),
    "TIFF 16 bits": deep(".tiff"),
    "GIF": saved("GIF", "P"),
    "AVIF": saved("AVIF"),
    "AVIF alpha": saved("AVIF", "RGBA"),
}


def encoded(name: str, *, marked: bool) -> bytes:
    decoded = SourceImage.open("a", SOURCES[name]).decode()
    touched = np.zeros((decoded.height, decoded.width), np.bool_)
    touched[8:20, 10:27] = True
    pixels = decoded.pixels.copy()
    pixels[touched] = (250, 10, 60)
    return encode_anonymized(decoded, AnonymizedImage(pixels, touched, {0: "gan"}), marked=marked).data


def pixels_of(data: bytes) -> PixelArray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


@pytest.fixture(scope="module")
def files() -> dict[str, tuple[bytes, bytes]]:
    """Return name -> the file without and with the mark."""
    return {name: (encoded(name, marked=False), encoded(name, marked=True)) for name in SOURCES}


@pytest.mark.parametrize("name", SOURCES)
def test_a_marked_file_has_the_pixels_of_the_unmarked_one_and_holds_only_the_mark(
    name: str, files: dict[str, tuple[bytes, bytes]]
) -> None:
    plain, marked = files[name]
    assert np.array_equal(pixels_of(plain), pixels_of(marked))
    assert (
        SourceImage.open("a", marked).decode().pixels.tobytes()
        == SourceImage.open("a", plain).decode().pixels.tobytes()
    )
    assert inspect(marked, marked=True) == scan_image(marked, marked=True) == []
    assert inspect(plain) == scan_image(plain) == []
    assert marked.count(PACKET) == 1
    assert 400 < len(marked) - len(plain) < 700
    assert encoded(name, marked=True) == marked


@pytest.mark.parametrize("name", SOURCES)
def test_a_mark_without_reason_and_a_missing_one_are_findings(name: str, files: dict[str, tuple[bytes, bytes]]) -> None:
    plain, marked = files[name]
    assert inspect(marked) == ["a mark of generated content, but nothing generated"]
    assert inspect(plain, marked=True) == ["no mark of generated content"]
    assert scan_image(marked)
    assert scan_image(plain, marked=True)


@pytest.mark.parametrize("name", SOURCES)
def test_every_changed_byte_of_the_mark_is_a_finding(name: str, files: dict[str, tuple[bytes, bytes]]) -> None:
    _, marked = files[name]
    start = marked.index(PACKET)
    for at in range(start, start + len(PACKET)):
        changed = bytearray(marked)
        changed[at] ^= 0x20
        assert inspect(bytes(changed), marked=True), f"{name}: byte {at - start} of the packet"
        assert inspect(bytes(changed)), f"{name}: byte {at - start} of the packet"


def _twice_in_jpeg(data: bytes) -> bytes:
    at = data.index(b"http://ns.adobe.com/xap/1.0/\0") - 4
    size = 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data[: at + size] + data[at : at + size] + data[at + size :]


def _twice_in_png(data: bytes) -> bytes:
    at = data.index(b"iTXt") - 4
    size = 12 + int.from_bytes(data[at : at + 4], "big")
    return data[: at + size] + data[at : at + size] + data[at + size :]


def _twice_in_webp(data: bytes) -> bytes:
    whole = data + data[data.index(b"XMP ") :]
    return whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]


def _twice_in_gif(data: bytes) -> bytes:
    start = data.index(b"\x21\xff\x0bXMP DataXMP")
    stop = data.index(PACKET) + len(PACKET) + 258
    return data[:stop] + data[start:stop] + data[stop:]


def _twice_in_tiff(data: bytes) -> bytes:
    """Return it with a copy of the entry for tag 700 that points to a copy of the packet."""
    start = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, start)[0]
    entries = [data[start + 2 + 12 * at : start + 14 + 12 * at] for at in range(count)]
    own = next(entry for entry in entries if entry[:2] == struct.pack("<H", 700))
    copied = own[:8] + struct.pack("<I", len(data))
    entries.insert(entries.index(own) + 1, copied)
    rest = bytes(len(PACKET) % 2)
    place = len(data) + len(PACKET) + len(rest)
    directory = struct.pack("<H", count + 1) + b"".join(entries) + bytes(4)
    whole = data[:4] + struct.pack("<I", place) + data[8:] + PACKET + rest + directory
    return whole[:start] + bytes(6 + 12 * count) + whole[start + 6 + 12 * count :]


TWICE: dict[str, Callable[[bytes], bytes]] = {
    "JPEG": _twice_in_jpeg,
    "PNG": _twice_in_png,
    "WEBP": _twice_in_webp,
    "GIF": _twice_in_gif,
    "TIFF": _twice_in_tiff,
}


@pytest.mark.parametrize("name", TWICE)
def test_two_marks_are_a_finding(name: str, files: dict[str, tuple[bytes, bytes]]) -> None:
    twice = TWICE[name](files[name][1])
    assert twice.count(PACKET) == 2
    assert pixels_of(twice).size
    assert "2 marks of generated content" in "; ".join(inspect(twice, marked=True))
    assert scan_image(twice, marked=True)


def test_data_that_no_item_of_an_avif_refers_to_is_a_finding(files: dict[str, tuple[bytes, bytes]]) -> None:
    for whole in files["AVIF"]:
        at = whole.index(b"mdat") - 4
        size = int.from_bytes(whole[at : at + 4], "big")
        longer = whole[:at] + struct.pack(">I", size + len(PACKET)) + whole[at + 4 :] + PACKET
        assert pixels_of(longer).size
        assert any("no AVIF item refers to" in finding for finding in inspect(longer, marked=PACKET in whole))


def test_an_avif_whose_items_lie_elsewhere_is_a_finding(files: dict[str, tuple[bytes, bytes]]) -> None:
    marked = files["AVIF"][1]
    first = marked.index(b"iloc") + 4 + 8
    for item in (first, first + 14):  # number, file, number of extents, offset, length
        for place in range(item + 2, item + 14):
            changed = bytearray(marked)
            changed[place] ^= 0x01
            assert inspect(bytes(changed), marked=True), f"byte {place - item} of the item"


def test_a_webp_says_in_its_header_whether_it_holds_the_mark(files: dict[str, tuple[bytes, bytes]]) -> None:
    marked = bytearray(files["WEBP"][1])
    marked[20] ^= 0x04
    assert inspect(bytes(marked), marked=True)
    plain = bytearray(files["WEBP alpha"][0])
    plain[20] ^= 0x04
    assert inspect(bytes(plain))


@pytest.mark.parametrize("name", [name for name in SOURCES if name.startswith("JPEG")])
def test_nothing_but_the_segment_is_inserted_into_a_jpeg_and_it_follows_jfif_and_exif(
    name: str, files: dict[str, tuple[bytes, bytes]]
) -> None:
    plain, marked = files[name]
    at = marked.index(b"http://ns.adobe.com/xap/1.0/\0") - 4
    size = 2 + int.from_bytes(marked[at + 2 : at + 4], "big")
    assert marked[:at] + marked[at + size :] == plain
    assert marked[2:4] in (b"\xff\xe0", b"\xff\xee", b"\xff\xe1")
    assert b"Exif\0\0" not in marked[at:]
    assert at < marked.index(b"\xff\xdb")


@pytest.mark.parametrize("name", [name for name in SOURCES if name != "GIF"])  # of which Pillow tells no XMP
def test_readers_find_the_source_type(name: str, files: dict[str, tuple[bytes, bytes]]) -> None:
    with Image.open(io.BytesIO(files[name][1])) as image:
        held = image.info["xmp"]
    assert held == PACKET
    document = ET.fromstring(held.decode())
    assert [own.get(PROPERTY) for own in document.iter(DESCRIPTION)] == [SOURCE_TYPE]


@pytest.mark.full
@external_data.needs_tool("exiftool", "libimage-exiftool-perl")
@pytest.mark.parametrize("name", SOURCES)
def test_exiftool_reads_the_source_type(name: str, files: dict[str, tuple[bytes, bytes]], tmp_path: Path) -> None:
    path = tmp_path / f"a.{name.split(maxsplit=1)[0].lower()}"
    path.write_bytes(files[name][1])
    command = ["exiftool", "-s3", "-XMP-iptcExt:DigitalSourceType", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == (SOURCE_TYPE, "")
    checked = subprocess.run(
        ["exiftool", "-validate", "-error", "-s3", str(path)], capture_output=True, text=True, check=True
    )
    assert "Error" not in checked.stdout


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_mark_of_a_source_is_stripped(kind: str, files: dict[str, tuple[bytes, bytes]]) -> None:
    plain, marked = files[kind]
    stripped = strip(marked, kind)
    assert inspect(stripped) == []
    assert np.array_equal(pixels_of(stripped), pixels_of(plain))


def test_a_bmp_cannot_hold_the_mark_and_none_is_missed() -> None:
    plain = saved("BMP")
    assert add_mark(plain, "BMP") == plain
    assert inspect(plain, marked=True) == scan_image(plain, marked=True) == []


@pytest.mark.parametrize(
    "options", [{}, {"compression": "raw"}, {"strip_size": 300}, {"big_tiff": False, "dpi": (72, 72)}]
)
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "I;16"])
def test_a_tiff_keeps_its_tags_and_samples(mode: str, options: dict[str, Any]) -> None:
    image = Image.fromarray(np.random.default_rng(1).integers(0, 200, (37, 51), dtype=np.uint8))
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, "TIFF", **{"compression": "tiff_adobe_deflate", **options})
    plain = buffer.getvalue()
    marked = add_mark(plain, "TIFF")
    assert np.array_equal(pixels_of(marked), pixels_of(plain))
    with Image.open(io.BytesIO(plain)) as before, Image.open(io.BytesIO(marked)) as after:
        tags, own = dict(before.tag_v2), dict(after.tag_v2)  # type: ignore[attr-defined]
    assert own.pop(700) == PACKET
    assert {tag: value for tag, value in own.items() if tag != 273} == {t: v for t, v in tags.items() if t != 273}
    assert inspect(marked, marked=True) == inspect(plain) == []


def test_a_png_chunk_with_the_mark_in_another_form_is_a_finding() -> None:
    plain = saved("PNG")
    for name, body in (
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(PACKET)),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0en\0\0" + PACKET),
        (b"tEXt", b"XML:com.adobe.xmp\0" + PACKET),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + PACKET + b" "),
    ):
        chunk = struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        assert inspect(plain[:33] + chunk + plain[33:], marked=True)
