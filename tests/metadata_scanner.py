"""A scanner of published images that shares no code with the package: what the files hold beside their coded pixels.

It takes the bytes apart by itself, and asks Pillow what it finds. Whatever neither the pixels need nor this project promises
to keep (the orientation of a JPEG) is a finding. An image with a generated region must hold one exact mark, which is written
out here once more; no other image may.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import tarfile
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
# Long enough that coded pixels hold none of them by chance.
_SIGNATURES = (
    b"http://ns.adobe.com/",
    b"<x:xmpmeta",
    b"<?xpacket",
    b"<rdf:RDF",
    b"ICC_PROFILE\0",
    b"Photoshop 3.0",
    b"XML:com.adobe.xmp",
    b"Raw profile type",
    b"GPSLatitude",
    b"XMP DataXMP",
    b"ICCRGBG1012",
    b"NETSCAPE2.0",
)
_XMP = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://'
    b'iptc.org/std/Iptc4xmpExt/2008-02-29/" Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/'
    b'compositeWithTrainedAlgorithmicMedia"/></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
)
_MARKS = {
    "JPEG": b"\xff\xe1" + (31 + len(_XMP)).to_bytes(2, "big") + b"http://ns.adobe.com/xap/1.0/\0" + _XMP,
    "PNG": b"iTXtXML:com.adobe.xmp" + bytes(5) + _XMP,
    "GIF": b"!\xff\x0bXMP DataXMP" + _XMP + b"\1" + bytes(range(255, -1, -1)) + b"\0",
    "WEBP": b"XMP " + len(_XMP).to_bytes(4, "little") + _XMP,
    "TIFF": _XMP,
    "AVIF": _XMP,
}
_MARK = "the mark"
# What Pillow tells of an image that no metadata is needed for.
_PLAIN_INFO = {
    *("jfif", "jfif_version", "jfif_unit", "jfif_density", "adobe", "adobe_transform", "progressive", "progression"),
    *("dpi", "gamma", "chromaticity", "srgb", "transparency", "compression", "background", "version", "aspect"),
    *("loop", "timestamp", "duration", "interlace", "resolution", "bbox", "quality", "lossless", "exif"),
}
_TIFF_TAGS = {254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 282, 283, 284, 296, 317, 320, 322, 323, 324}
_TIFF_TAGS |= {325, 338, 339}
_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}


def scan_release(folder: Path) -> list[str]:
    """Return `file: finding` for all images of a release, in every layout."""
    marked = _marked(folder)
    return [
        f"{name}: {finding}"
        for name, data in _images_of(folder)
        for finding in scan_image(data, marked=hashlib.sha256(data).hexdigest() in marked)
    ]


def _marked(folder: Path) -> set[str]:
    """Return the digests of the images that must hold the mark."""
    write = json.loads((folder / "run.json").read_bytes()).get("config", {}).get("write", {})
    digests = set()
    for part in folder.glob("provenance/*.parquet") if write.get("mark_generated") else []:
        try:
            rows = pq.read_table(part, columns=["sha256", "regions"]).to_pylist()
        except pa.ArrowException:
            continue  # a test has put it there
        digests |= {row["sha256"] for row in rows if any(region["synthetic"] for region in row["regions"] or ())}
    return digests


def _images_of(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.glob("images/**/*")):
        is_columns = path.name == "metadata.parquet"  # no image
        if path.is_file() and not path.name.startswith(".") and not is_columns:
            yield str(path.relative_to(folder)), path.read_bytes()
    for path in sorted(folder.glob("shards/*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.lower().endswith(SUFFIXES) and (file := tar.extractfile(member)) is not None:
                    yield f"{path.name}/{member.name}", file.read()
    for path in sorted(folder.glob("shards/*.parquet")):
        with path.open("rb") as file:
            table = pq.read_table(file)
        for field in table.schema:
            if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
                for number, cell in enumerate(table.column(field.name).to_pylist()):
                    if cell and cell["bytes"]:
                        yield f"{path.name}/{number}", cell["bytes"]


def scan_image(data: bytes, *, marked: bool = False) -> list[str]:
    """Return what a file holds beside its coded pixels, and the mark if it must have one."""
    kinds = {b"\xff\xd8": _jpeg, b"\x89P": _png, b"RI": _webp, b"GI": _gif, b"BM": _bmp, b"II": _tiff, b"MM": _tiff}
    kind = kinds.get(data[:2], _avif if data[4:8] == b"ftyp" else None)
    if kind is None:
        return [f"no image: {data[:8]!r}"]
    rest = data.replace(_MARKS.get(kind.__name__[1:].upper(), _XMP), b"", 1) if marked else data
    findings = [f"signature {signature!r}" for signature in _SIGNATURES if signature in rest]
    found: list[str] = []
    try:
        found.extend(kind(data))
    except (struct.error, IndexError, zlib.error) as exc:
        findings.append(f"broken structure: {exc}")
    if found.count(_MARK) != (marked and kind is not _bmp):
        findings.append(f"{found.count(_MARK)} marks of generated content")
    return findings + [finding for finding in found if finding != _MARK] + _ask_pillow(data, marked=marked)


def _ask_pillow(data: bytes, *, marked: bool) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data)) as image:
                tags = set() if image.format == "TIFF" else set(image.getexif()) - {0x0112}
                deep = [number for number in (0x8769, 0x8825, 0xA005) if image.getexif().get_ifd(number)]
                odd = sorted(
                    str(key)
                    for key, value in image.info.items()
                    if str(key) not in _PLAIN_INFO and not (marked and _is_mark(value))
                )
                frames = getattr(image, "n_frames", 1)
        except OSError as exc:
            return [f"Pillow cannot open it: {exc}"]
    found = [f"Pillow finds EXIF tags {sorted(tags)}"] if tags else []
    found += [f"Pillow finds EXIF directories {deep}"] if deep else []
    found += [f"Pillow finds {odd}"] if odd else []
    return found + ([f"Pillow finds {frames} frames"] if frames != 1 else [])


def _is_mark(value: object) -> bool:
    """Return whether what Pillow tells of an image is the mark; of a GIF it tells only the extension's name, and where it is."""
    return value in (_XMP, _XMP.decode()) or (isinstance(value, tuple) and value[:1] == (b"XMP DataXMP",))


def _jpeg(data: bytes) -> Iterator[str]:
    place, images = 2, 0
    while True:
        if data[place] != 0xFF:
            yield f"bytes between segments at {place}"
            return
        code = data[place + 1]
        if code == 0xD9:
            break
        (size,) = struct.unpack(">H", data[place + 2 : place + 4])
        content = data[place + 4 : place + 2 + size]
        plain = code in {0xC4, 0xDB, 0xDD, 0xDA, *range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xD0)}
        plain |= code == 0xE0 and content.startswith(b"JFIF\0") and size == 16
        plain |= code == 0xEE and content.startswith(b"Adobe") and size == 14
        plain |= code == 0xE1 and content[:6] == b"Exif\0\0" and _is_orientation(content[6:])
        images += code in {0xC0, 0xC1, 0xC2, 0xC3}
        if data[place : place + 2 + size] == _MARKS["JPEG"]:
            yield _MARK
        elif not plain:
            yield f"segment {code:02X} {content[:16]!r}"
        place += 2 + size
        if code == 0xDA:
            while data[place] != 0xFF or data[place + 1] == 0 or 0xD0 <= data[place + 1] <= 0xD7:
                place += 1
    if data[place + 2 :]:
        yield f"{len(data) - place - 2} bytes after the image"
    if images != 1:
        yield f"{images} images"


def _is_orientation(block: bytes) -> bool:
    """Return whether a TIFF block holds one tag, the orientation, and nothing else."""
    order = {b"II": "<", b"MM": ">"}.get(block[:2], "")
    if not order or len(block) != 26:
        return False
    _, first, count, tag, kind, number, value, rest, following = struct.unpack(f"{order}HIHHHIHHI", block[2:])
    return (first, count, tag, kind, number, rest, following) == (8, 1, 0x0112, 3, 1, 0, 0) and 1 <= value <= 8


def _png(data: bytes) -> Iterator[str]:
    place, packed, header = 8, [], b""
    while place < len(data):
        (size,) = struct.unpack(">I", data[place : place + 4])
        name, content = data[place + 4 : place + 8], data[place + 8 : place + 8 + size]
        if struct.unpack(">I", data[place + 8 + size : place + 12 + size])[0] != zlib.crc32(name + content):
            yield f"chunk {name!r} with a wrong checksum"
        if name + content == _MARKS["PNG"]:
            yield _MARK
        elif name not in {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"sBIT"}:
            yield f"chunk {name!r} of {size} bytes"
        header = content if name == b"IHDR" else header
        packed += [content] if name == b"IDAT" else []
        place += 12 + size
        if name == b"IEND":
            break
    if data[place:]:
        yield f"{len(data) - place} bytes after the image"
    unpacker = zlib.decompressobj()
    rows = unpacker.decompress(b"".join(packed))
    width, height, depth, colour, *_, interlaced = struct.unpack(">IIBBBBB", header)
    row = 1 + (width * depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] + 7) // 8
    if unpacker.unused_data or (not interlaced and len(rows) != row * height):
        yield f"{len(rows) - row * height} bytes after the rows of pixels"


def _webp(data: bytes) -> Iterator[str]:
    (size,) = struct.unpack("<I", data[4:8])
    if len(data) != size + 8:
        yield f"{len(data) - size - 8} bytes after the container"
    place = 12
    while place < len(data):
        name, (length,) = data[place : place + 4], struct.unpack("<I", data[place + 4 : place + 8])
        if data[place : place + 8 + length] == _MARKS["WEBP"]:
            yield _MARK
        elif name not in {b"VP8 ", b"VP8L", b"VP8X", b"ALPH"}:
            yield f"chunk {name!r} of {length} bytes"
        if name == b"VP8X" and data[place + 8] & (0b101010 if _MARKS["WEBP"] in data else 0b101110):
            yield f"container flags {data[place + 8]:#x}"
        place += 8 + length + length % 2


def _gif(data: bytes) -> Iterator[str]:
    place = 13 + (3 << (data[10] % 8 + 1) if data[10] > 127 else 0)
    images = 0
    while data[place] != 0x3B:
        introducer, label = data[place], data[place + 1]
        if introducer == 0x2C:
            images += 1
            flags = data[place + 9]
            place += 11 + (3 << (flags % 8 + 1) if flags > 127 else 0)
        elif data.startswith(_MARKS["GIF"], place):
            yield _MARK
            place += len(_MARKS["GIF"]) - 1
        else:
            if label != 0xF9:
                yield f"extension {label:02X}"
            place += 2
        while data[place]:
            place += data[place] + 1
        place += 1
    if images != 1 or data[place + 1 :]:
        yield f"{images} images, {len(data) - place - 1} bytes after them"


def _bmp(data: bytes) -> Iterator[str]:
    start, header, width, height, _, bits, packing = struct.unpack("<IIiiHHI", data[10:34])
    expected = start + (width * bits + 31) // 32 * 4 * abs(height)
    if header > 64 or packing not in {0, 3} or len(data) != expected:
        yield f"header of {header} bytes, {len(data) - expected} bytes after the pixels"


def _tiff(data: bytes) -> Iterator[str]:
    order = {b"II": "<", b"MM": ">"}[data[:2]]
    (directory,) = struct.unpack(f"{order}I", data[4:8])
    (count,) = struct.unpack(f"{order}H", data[directory : directory + 2])
    used = bytearray(len(data))
    _use(used, 0, 8)
    _use(used, directory, 2 + 12 * count + 4)
    values = {}
    for entry in range(count):
        at = directory + 2 + 12 * entry
        tag, kind, number = struct.unpack(f"{order}HHI", data[at : at + 8])
        length = _WIDTHS[kind] * number
        place = at + 8 if length <= 4 else struct.unpack(f"{order}I", data[at + 8 : at + 12])[0]
        if (tag, kind, data[place : place + length]) == (700, 1, _XMP):
            yield _MARK
        elif tag not in _TIFF_TAGS:
            yield f"tag {tag}"
        _use(used, place, length)
        if kind in (3, 4):
            form = f"{order}{number}{'H' if kind == 3 else 'I'}"
            values[tag] = struct.unpack(form, data[place : place + length])
    for starts, lengths in ((273, 279), (324, 325)):
        for place, length in zip(values.get(starts, ()), values.get(lengths, ()), strict=True):
            _use(used, place, length)
    if struct.unpack(f"{order}I", data[directory + 2 + 12 * count : directory + 6 + 12 * count]) != (0,):
        yield "a further directory"
    if hidden := bytes(byte for byte, is_used in zip(data, used, strict=True) if byte and not is_used):
        yield f"{len(hidden)} bytes that nothing refers to, {hidden[:16]!r}"


def _use(used: bytearray, place: int, length: int) -> None:
    used[place : place + length] = b"\1" * len(used[place : place + length])


def _avif(data: bytes) -> Iterator[str]:
    for name, content in _boxes(data):
        if name == b"meta":
            for inner, body in _boxes(content[4:]):
                if inner == b"iinf":
                    items = [box[8:] for _, box in _boxes(body[6 if body[0] == 0 else 8 :])]
                    for item in items:
                        if item == b"mimeXMP\0application/rdf+xml\0" and data.count(_XMP) == 1:
                            yield _MARK
                        elif item[:4] != b"av01":
                            yield f"item {item[:4]!r}"
                elif inner == b"iprp":
                    yield from (f"colour profile {p[:4]!r}" for p in _properties(body) if p[:4] in (b"prof", b"rICC"))
                elif inner not in {b"hdlr", b"pitm", b"iloc", b"iref"}:
                    yield f"box {inner!r} in the index"
        elif name not in {b"ftyp", b"mdat"}:
            yield f"box {name!r} of {len(content)} bytes"


def _properties(body: bytes) -> Iterator[bytes]:
    for name, content in _boxes(body):
        if name == b"ipco":
            yield from (inner for kind, inner in _boxes(content) if kind == b"colr")


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 0
    while place < len(data):
        (size,) = struct.unpack(">I", data[place : place + 4])
        size = size or len(data) - place
        yield data[place + 4 : place + 8], data[place + 8 : place + size]
        place += max(size, 8)


def releases_below(folder: Path) -> Iterator[Path]:
    """Yield the releases in a folder and below."""
    for path, subfolders, names in os.walk(folder):
        if "run.json" in names and is_release(Path(path)):
            subfolders.clear()
            yield Path(path)


def is_release(folder: Path) -> bool:
    """Return whether a folder holds a release of this project."""
    try:
        return "run_id" in json.loads((folder / "run.json").read_bytes())
    except (OSError, ValueError, TypeError):
        return False
