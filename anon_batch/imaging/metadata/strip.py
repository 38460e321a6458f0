"""Remove everything but the coded pixels from a file, without coding them again.

`strip` keeps the bytes that carry pixels unchanged, so that an image without detections keeps its DCT blocks and its
compressed samples. It removes EXIF, GPS, maker notes, thumbnails, XMP, IPTC, comments, text, times, further frames and
all bytes after the end. It also removes ICC profiles, because they can name a device or its owner: images in a wide gamut
are then shown as sRGB, with duller colours. `metadata.inspect`, an independent parser, checks the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple
from zlib import crc32

from anon_batch.errors import FailedError
from anon_batch.imaging.jpeg.strip import strip_jpeg
from anon_batch.imaging.sniff import count_parts

PNG_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"sRGB", b"gAMA", b"cHRM", b"sBIT", b"pHYs"})
WEBP_KEPT = frozenset({b"VP8 ", b"VP8L", b"VP8X", b"ALPH"})
_WEBP_IMAGES = {b"VP8 ", b"VP8L"}
_WEBP_ALPHA = 0x10


class Chunk(NamedTuple):
    """A named block of a PNG or WebP file."""

    name: bytes
    body: bytes


def strip(data: bytes, format: str) -> bytes:  # noqa: A002  Pillow's word
    """Return the file without metadata, except for the EXIF orientation of a JPEG where that is not 1.

    Args:
        data: a JPEG, PNG or WebP file.
        format: JPEG, PNG or WEBP.

    Raises:
        FailedError: `truncated` or `decode` for a file whose structure is damaged, `unsupported_format` for
            another format.
    """
    strippers = {"JPEG": strip_jpeg, "PNG": _strip_png, "WEBP": _strip_webp}
    if format not in strippers:
        raise FailedError("unsupported_format", f"{format} cannot be stripped, only encoded again")
    return strippers[format](data)


def png_chunks(data: bytes) -> Iterator[Chunk]:
    """Yield the chunks up to the first IEND.

    Raises:
        FailedError: `truncated` when the file ends before it, `decode` when a kept chunk's checksum is wrong or there are
            too many chunks.
    """
    return count_parts(_png_chunks(data), "PNG")


def _png_chunks(data: bytes) -> Iterator[Chunk]:
    at = 8
    while True:
        length = int.from_bytes(data[at : at + 4], "big")
        if at + 12 + length > len(data):
            raise FailedError("truncated", f"the PNG ends at byte {len(data)}, inside the chunk at {at}")
        name = data[at + 4 : at + 8]
        stop = at + 8 + length
        if name in PNG_KEPT and crc32(data[at + 4 : stop]) != int.from_bytes(data[stop : stop + 4], "big"):
            raise FailedError("decode", f"PNG: the checksum of chunk {name.decode()} at {at} is wrong")
        yield Chunk(name, data[at + 8 : stop])
        if name == b"IEND":
            return
        at += 12 + length


def webp_chunks(data: bytes) -> Iterator[Chunk]:
    """Yield the chunks inside the RIFF container.

    Raises:
        FailedError: `truncated` when the file ends before the container, `decode` for too many chunks.
    """
    return count_parts(_webp_chunks(data), "WebP")


def _webp_chunks(data: bytes) -> Iterator[Chunk]:
    stop = 8 + int.from_bytes(data[4:8], "little")
    if stop > len(data):
        raise FailedError("truncated", f"the WebP header says {stop} bytes, the file has {len(data)}")
    at = 12
    while at + 8 <= stop:
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + length > stop:
            raise FailedError("truncated", f"the WebP's chunk at {at} is longer than its container")
        yield Chunk(data[at : at + 4], data[at + 8 : at + 8 + length])
        at += 8 + length + length % 2


def webp_size(chunk: Chunk) -> tuple[int, int] | None:
    """Return width and height, px, from a VP8X, VP8L or VP8 chunk; None for any other."""
    name, body = chunk
    if name == b"VP8X" and len(body) >= 10:
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if name == b"VP8L" and len(body) >= 5:
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if name == b"VP8 " and len(body) >= 10:
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    return None


def _strip_png(data: bytes) -> bytes:
    kept = [_png_chunk(name, body) for name, body in png_chunks(data) if name in PNG_KEPT]
    return b"".join([data[:8], *kept])


def _png_chunk(name: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + name + body + crc32(name + body).to_bytes(4, "big")


def _strip_webp(data: bytes) -> bytes:
    """Keep the first image, with the first VP8X and the first plane of alpha before it."""
    parts: dict[bytes, bytes] = {}
    for name, body in webp_chunks(data):
        if name == b"VP8X" and len(body) >= 10:
            parts.setdefault(name, bytes([body[0] & _WEBP_ALPHA, 0, 0, 0]) + body[4:10])
        elif name in WEBP_KEPT:
            parts.setdefault(name, body)
        if name in _WEBP_IMAGES:
            break
    if b"VP8L" in parts:
        parts.pop(b"ALPH", None)  # because such an image has its own alpha
    return join_webp(parts)


def join_webp(parts: Mapping[bytes, bytes]) -> bytes:
    """Return a WebP of chunks: name -> content."""
    content = b"WEBP" + b"".join(_riff_chunk(name, body) for name, body in parts.items())
    return b"RIFF" + len(content).to_bytes(4, "little") + content


def _riff_chunk(name: bytes, body: bytes) -> bytes:
    return name + len(body).to_bytes(4, "little") + body + b"\0" * (len(body) % 2)
