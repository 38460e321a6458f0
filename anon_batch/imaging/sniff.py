"""Find the format of a file by its first bytes, never by its name, and check size limits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from anon_batch.errors import FailedError

_Part = TypeVar("_Part")
_STARTS = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"GIF87a": "GIF", b"GIF89a": "GIF"}
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_AVIF_BRANDS = (b"avif", b"avis")
_MAX_PARTS = 250_000  # a file of 256 MiB in chunks of 1 KiB
_BMP_HEADER_BYTES = (12, 16, 40, 52, 56, 64, 108, 124)


def sniff(data: bytes) -> str:
    """Return Pillow's name of the format: JPEG, PNG, WEBP, GIF, BMP, TIFF or AVIF.

    Raises:
        FailedError: `empty`, or `unsupported_format`.
    """
    if not data:
        raise FailedError("empty", "the source has 0 bytes")
    for start, name in _STARTS.items():
        if data.startswith(start):
            return name
    if data.startswith(_TIFF_STARTS):
        return "TIFF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp" and any(brand in _read_brands(data) for brand in _AVIF_BRANDS):
        return "AVIF"
    # Because any text may start with BM, check the size of the second header too.
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADER_BYTES:
        return "BMP"
    raise FailedError("unsupported_format", f"no known format starts with {data[:12].hex(' ')}")


def check_bytes(data: bytes, max_bytes: int | None) -> None:
    """Raise FailedError `too_many_bytes` for a file that is too long; None allows any length."""
    if max_bytes is not None and len(data) > max_bytes:
        raise FailedError("too_many_bytes", f"{len(data)} bytes, limits.max_bytes is {max_bytes}")


def check_pixels(width: int, height: int, max_pixels: int | None) -> None:
    """Raise FailedError `too_many_pixels` for an image that is too large, `decode` for a side of 0 px.

    Args:
        width: px, as the header says.
        height: px, as the header says.
        max_pixels: upper bound of width times height; None allows any size.
    """
    if width <= 0 or height <= 0:
        raise FailedError("decode", f"the header says {width} x {height} px")
    if max_pixels is not None and width * height > max_pixels:
        raise FailedError("too_many_pixels", f"{width} x {height} px, limits.max_pixels is {max_pixels}")


def count_parts(parts: Iterable[_Part], kind: str) -> Iterator[_Part]:
    """Yield the segments or chunks of a file.

    Raises:
        FailedError: `decode` for a file of so many that a list of them would fill the memory.
    """
    for number, part in enumerate(parts):
        if number >= _MAX_PARTS:
            raise FailedError("decode", f"{kind} of more than {_MAX_PARTS:,} parts")
        yield part


def _read_brands(data: bytes) -> list[bytes]:
    """Return the major and the compatible brands of an ISO media file."""
    end = min(int.from_bytes(data[:4], "big"), len(data), 256)
    return [data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))]
