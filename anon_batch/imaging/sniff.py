"""Which format a file has, by its first bytes and never by its name, and the limits it must keep."""

from __future__ import annotations

from anon_batch.config import LimitsConfig
from anon_batch.errors import FailedError

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_AVIF_BRANDS = (b"avif", b"avis")


def sniff(data: bytes) -> str:
    """Pillow's name of the format: JPEG, PNG, WEBP, GIF, BMP, TIFF or AVIF.

    Raises:
        FailedError: `empty`, or `unsupported_format`.
    """
    if not data:
        raise FailedError("empty", "the source has 0 bytes")
    starts = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"GIF87a": "GIF", b"GIF89a": "GIF"}
    for start, name in starts.items():
        if data.startswith(start):
            return name
    if data.startswith(_TIFF_STARTS):
        return "TIFF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp" and any(brand in _brands(data) for brand in _AVIF_BRANDS):
        return "AVIF"
    # Two letters alone would take in any text that starts with BM: the size of the second header is checked
    # too.
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in (12, 16, 40, 52, 56, 64, 108, 124):
        return "BMP"
    raise FailedError("unsupported_format", f"no known format starts with {data[:12].hex(' ')}")


def check_bytes(data: bytes, limits: LimitsConfig) -> None:
    """Raises FailedError `too_many_bytes`."""
    if len(data) > limits.max_bytes:
        raise FailedError("too_many_bytes", f"{len(data)} bytes, limits.max_bytes is {limits.max_bytes}")


def check_pixels(width: int, height: int, limits: LimitsConfig) -> None:
    """Raises FailedError `too_many_pixels`, or `decode` where a side is 0."""
    if width <= 0 or height <= 0:
        raise FailedError("decode", f"the header says {width} x {height} px")
    if width * height > limits.max_pixels:
        raise FailedError("too_many_pixels", f"{width} x {height} px, limits.max_pixels is {limits.max_pixels}")


def _brands(data: bytes) -> list[bytes]:
    end = min(int.from_bytes(data[:4], "big"), len(data), 256)
    return [data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))]
