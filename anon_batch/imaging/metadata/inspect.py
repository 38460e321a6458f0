"""Find everything in an output file that is not the coded image, and the mark of generated content where it must be.

This module shares no parser with the code that strips, marks and encodes. It works with allow-lists: whatever it does not
expect is a finding.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence

from anon_batch.imaging.metadata.inspect_avif import inspect_avif
from anon_batch.imaging.metadata.inspect_containers import inspect_bmp, inspect_gif, inspect_tiff
from anon_batch.imaging.metadata.mark import JPEG_BODY, PACKET, PNG_BODY, WEBP_FLAG
from anon_batch.imaging.metadata.marks import MARK, judge_marks

# The only EXIF block that passes, in a JPEG: a TIFF header and the orientation, 2 to 8.
_EXIF_BLOCKS = frozenset(
    bytes.fromhex("4d4d002a00000008 0001 0112000300000001") + bytes([0, value, 0, 0]) + bytes(4)
    for value in range(2, 9)
)
_PNG_LENGTHS = {b"IHDR": 13, b"sRGB": 1, b"gAMA": 4, b"cHRM": 32, b"pHYs": 9, b"IEND": 0}
_PNG_UP_TO = {b"PLTE": 768, b"tRNS": 256, b"sBIT": 4}
_UNPACKED_BYTES = 1 << 20  # so much of the samples is held at a time
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_JPEG_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7]", re.DOTALL)
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def inspect(data: bytes, *, marked: bool = False) -> list[str]:
    """Return a description of everything in a file that is not on the allow-list; an empty list means clean.

    Args:
        data: a file of a format that this package writes: JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF. Any
            other file, and one whose structure is damaged, is a finding. The pixels are not decoded.
        marked: whether the file must hold the mark of generated content, once and byte for byte, if its format can hold one.
            If not, the mark is a finding as everything else is.
    """
    kinds: dict[bytes, Callable[[bytes], Iterator[str]]] = {
        b"\xff\xd8": _inspect_jpeg,
        b"\x89PNG\r\n\x1a\n": _inspect_png,
        b"RIFF": _inspect_webp,
        b"GIF8": inspect_gif,
        b"BM": inspect_bmp,
        b"II*\0": inspect_tiff,
        b"MM\0*": inspect_tiff,
    }
    inspect_kind = next((function for start, function in kinds.items() if data.startswith(start)), None)
    if inspect_kind is None and data[4:8] == b"ftyp":
        inspect_kind = inspect_avif
    if inspect_kind is None:
        return ["unknown format"]
    findings: list[str] = []
    try:
        findings.extend(inspect_kind(data))
    except (IndexError, ValueError, struct.error) as exc:
        findings.append(f"damaged structure: {exc}")
    return judge_marks(findings, is_expected=marked and inspect_kind is not inspect_bmp)


def _inspect_jpeg(data: bytes) -> Iterator[str]:
    at, frames, seen = 2, 0, set[str]()
    while (marker := data[at + 1]) != 0xD9 or data[at] != 0xFF:
        if data[at] != 0xFF:
            raise ValueError(f"byte {data[at]:#04x} at {at} instead of a marker")
        length = struct.unpack_from(">H", data, at + 2)[0]
        body = data[at + 4 : at + 2 + length]
        name = _jpeg_segment(marker, body)
        if name is None:
            yield f"JPEG segment FF{marker:02X} ({length} bytes, starts with {body[:12]!r})"
        elif name == MARK:
            yield MARK
        elif name in seen:
            yield f"JPEG segment {name} twice"
        elif name in ("JFIF", "Adobe", "Exif"):
            seen.add(name)
        frames += name == "SOF"
        at += 2 + length
        if marker == 0xDA:
            at = _end_of_scan(data, at)
    if frames != 1:
        yield f"{frames} frames"
    if at + 2 != len(data):
        yield f"{len(data) - at - 2} bytes after the end marker"


def _jpeg_segment(marker: int, body: bytes) -> str | None:
    """Return a name for an allowed segment, None for any other."""
    if marker == 0xE0:
        return "JFIF" if body[:5] == b"JFIF\0" and len(body) == 14 and body[12:] == b"\0\0" else None
    if marker == 0xE1:
        if body == JPEG_BODY:
            return MARK
        return "Exif" if body[:6] == b"Exif\0\0" and body[6:] in _EXIF_BLOCKS else None
    if marker == 0xEE:
        return "Adobe" if body[:5] == b"Adobe" and len(body) == 12 else None
    if marker in (0xDB, 0xC4, 0xCC, 0xDD, 0xDA):
        return f"{marker:02X}"
    if 0xC0 <= marker <= 0xCF and marker != 0xC8:
        return "SOF" if len(body) == 6 + 3 * body[5] else None
    return None


def _end_of_scan(data: bytes, at: int) -> int:
    if (found := _JPEG_SCAN_END.search(data, at)) is None:
        raise ValueError(f"no marker ends the scan whose data begins at {at}")
    return found.start()


def _inspect_png(data: bytes) -> Iterator[str]:
    at, name, header = 8, b"", b""
    packed: list[memoryview] = []
    while name != b"IEND":
        length, name = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        if len(data) < at + 12 + length:
            raise ValueError(f"PNG chunk at {at} is cut")
        header = body if name == b"IHDR" else header
        allowed = length == _PNG_LENGTHS.get(name) or length <= _PNG_UP_TO.get(name, -1)
        if name == b"IDAT":
            packed.append(memoryview(data)[at + 8 : at + 8 + length])
        elif name == b"iTXt" and body == PNG_BODY:
            yield MARK
        elif not allowed:
            yield f"PNG chunk {name.decode('latin-1')} ({length} bytes)"
        at += 12 + length
    if at != len(data):
        yield f"{len(data) - at} bytes after IEND"
    if not _holds_exactly(packed, _png_raw_bytes(header)):
        yield "PNG chunk IDAT holds more or less than the image"


def _holds_exactly(packed: Sequence[memoryview], expected: int) -> bool:
    """Return whether parts of one zlib stream unpack to `expected` bytes and hold nothing else."""
    unpack = zlib.decompressobj()
    count = 0
    try:
        for part in (*packed, memoryview(b"")):
            rest: bytes | memoryview = part
            while count <= expected and not unpack.eof:
                new = len(unpack.decompress(rest, _UNPACKED_BYTES))
                count, rest = count + new, unpack.unconsumed_tail
                if not new and not rest:
                    break
            else:
                if rest or unpack.unused_data:
                    return False
    except zlib.error as exc:
        raise ValueError(f"IDAT: {exc}") from None
    return count == expected


def _png_raw_bytes(header: bytes) -> int:
    """Return how many bytes of filtered samples a PNG header announces (PNG specification, 7.2 and 8.2)."""
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", header)
    if colour not in _PNG_CHANNELS:
        raise ValueError(f"PNG colour type {colour}")
    bits = depth * _PNG_CHANNELS[colour]
    total = 0
    for x, y, step_x, step_y in _ADAM7 if interlace else ((0, 0, 1, 1),):
        columns, rows = -(-(width - x) // step_x), -(-(height - y) // step_y)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * bits // 8))
    return total


def _inspect_webp(data: bytes) -> Iterator[str]:
    size, kind = struct.unpack_from("<I4s", data, 4)
    if kind != b"WEBP" or size + 8 != len(data):
        yield f"WebP container says {size + 8} bytes, the file has {len(data)}"
    at, frames, names, flags = 12, 0, list[bytes](), 0
    while at < len(data):
        name, length = struct.unpack_from("<4sI", data, at)
        body = data[at + 8 : at + 8 + length]
        if len(body) < length:
            raise ValueError(f"WebP chunk at {at} is cut")
        if name == b"VP8X":
            flags = body[0]
            if flags & ~(0x10 | WEBP_FLAG) or any(body[1:4]) or length != 10:
                yield f"WebP header flags {flags:#04x}"
        elif name in (b"VP8 ", b"VP8L"):
            frames += 1
        elif name == b"XMP " and body == PACKET:
            yield MARK
        elif name != b"ALPH":
            yield f"WebP chunk {name.decode('latin-1')} ({length} bytes)"
        names.append(name)
        at += 8 + length + length % 2
    if bool(flags & WEBP_FLAG) != (names[-1:] == [b"XMP "]):
        yield f"WebP header flags {flags:#04x} with the chunks {b' '.join(names).decode('latin-1')}"
    if names.count(b"ALPH") > ([name for name in names if name != b"XMP "][-1:] == [b"VP8 "]):
        yield "a WebP plane of alpha that its image does not use"
    if frames != 1:
        yield f"{frames} frames"
