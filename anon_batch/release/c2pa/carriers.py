"""Where a manifest store lies in a file: C2PA 2.1, A.3 (JPEG, PNG), A.5 (WebP in RIFF)."""

from __future__ import annotations

from typing import NamedTuple
from zlib import crc32

FORMATS = frozenset({"JPEG", "PNG", "WEBP"})
MAX_STORE_BYTES = 65_000  # what one segment of a JPEG holds
_STARTS = {b"\xff\xd8": "JPEG", b"\x89P": "PNG", b"RI": "WEBP"}
_APP11 = b"\xff\xeb"
_JPEG_HEAD = b"JP\0\1\0\0\0\1"  # JUMBF; the first box, and of it the first segment
_PNG_HEADER_BYTES = 8 + 12 + 13


class Found(NamedTuple):
    """A store in a file.

    Args:
        format: of the file.
        start: where the store's block begins.
        block: what was inserted into the file.
        store: what it holds.
        plain: the file without it.
    """

    format: str
    start: int
    block: bytes
    store: bytes
    plain: bytes


def place(data: bytes, format: str) -> int:  # noqa: A002  Pillow's word
    """Return where the block of a file begins: behind JFIF and EXIF, behind the header, or at the end."""
    if format == "PNG":
        return _PNG_HEADER_BYTES
    if format == "WEBP":
        return len(data)
    at = 2
    for marker in (0xE0, 0xE1):
        if data[at : at + 2] == bytes([0xFF, marker]) and data[at + 4 : at + 9] in (b"JFIF\0", b"Exif\0"):
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return at


def wrap(store: bytes, format: str) -> bytes:  # noqa: A002
    """Return the block that holds a store.

    Raises:
        ValueError: the store is too long, or the format has no place for it.
    """
    if len(store) > MAX_STORE_BYTES or format not in FORMATS:
        raise ValueError(f"{len(store):,} bytes in a {format}")
    if format == "JPEG":
        return _APP11 + (2 + len(_JPEG_HEAD) + len(store)).to_bytes(2, "big") + _JPEG_HEAD + store
    if format == "PNG":
        return len(store).to_bytes(4, "big") + b"caBX" + store + crc32(b"caBX" + store).to_bytes(4, "big")
    return b"C2PA" + len(store).to_bytes(4, "little") + store + b"\0" * (len(store) % 2)


def insert(data: bytes, format: str, block: bytes) -> bytes:  # noqa: A002
    """Return the file with the block at its place."""
    at = place(data, format)
    head = data[:at]
    if format == "WEBP":
        head = data[:4] + (len(data) + len(block) - 8).to_bytes(4, "little") + data[8:at]
    return head + block + data[at:]


def extract(data: bytes) -> Found | None:
    """Return the store at its place in a file; None if nothing is there."""
    name = _STARTS.get(data[:2], "")
    span = _jpeg_span(data) if name == "JPEG" else _png_span(data) if name == "PNG" else _webp_span(data)
    if span is None or name not in FORMATS:
        return None
    start, stop, inner, inner_stop = span
    plain = data[:start] + data[stop:]
    if name == "WEBP":
        plain = plain[:4] + (len(plain) - 8).to_bytes(4, "little") + plain[8:]
    return Found(name, start, data[start:stop], data[inner:inner_stop], plain)


Span = tuple[int, int, int, int]
"""Where a block begins and ends, and its store inside it."""


def _jpeg_span(data: bytes) -> Span | None:
    at = place(data, "JPEG")
    inner = at + 4 + len(_JPEG_HEAD)
    if data[at : at + 2] != _APP11 or data[at + 4 : inner] != _JPEG_HEAD:
        return None
    stop = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return at, stop, inner, stop


def _png_span(data: bytes) -> Span | None:
    at = _PNG_HEADER_BYTES
    if data[at + 4 : at + 8] != b"caBX":
        return None
    inner = at + 8
    inner_stop = inner + int.from_bytes(data[at : at + 4], "big")
    return at, inner_stop + 4, inner, inner_stop


def _webp_span(data: bytes) -> Span | None:
    """Return the span of the last chunk if that is a store."""
    at, last = 12, 0
    while at + 8 <= len(data):
        last = at
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
    if not last or at != len(data) or data[last : last + 4] != b"C2PA":
        return None
    return last, len(data), last + 8, last + 8 + int.from_bytes(data[last + 4 : last + 8], "little")
