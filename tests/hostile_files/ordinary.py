"""Ordinary files of each format that the package reads, and the pieces to build odd ones from."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, features

SUFFIXES = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif", "AVIF": "avif"}


def pixels(width: int = 61, height: int = 47, seed: int = 5) -> Image.Image:
    """Return an image with edges and smooth parts."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encode(kind: str, image: Image.Image | None = None, mode: str = "RGB", **options: Any) -> bytes:
    """Return an image file."""
    out = io.BytesIO()
    (image or pixels()).convert(mode).save(out, kind, **options)
    return out.getvalue()


def ordinary_files() -> dict[str, bytes]:
    """Return one or more files of each format, by a name with its suffix."""
    files = {
        "baseline.jpg": encode("JPEG", quality=90),
        "progressive.jpg": encode("JPEG", progressive=True),
        "grey.jpg": encode("JPEG", mode="L"),
        "cmyk.jpg": encode("JPEG", mode="CMYK"),
        "restarts.jpg": encode("JPEG", restart_marker_blocks=3),
        "colour.png": encode("PNG"),
        "palette.png": encode("PNG", mode="P"),
        "alpha.png": encode("PNG", mode="RGBA"),
        "lossy.webp": encode("WEBP", quality=80),
        "lossless.webp": encode("WEBP", mode="RGBA", lossless=True),
        "one.gif": encode("GIF", mode="P"),
        "colour.bmp": encode("BMP"),
        "palette.bmp": encode("BMP", mode="P"),
        "plain.tif": encode("TIFF"),
        "deflate.tif": encode("TIFF", compression="tiff_adobe_deflate"),
        "lzw.tif": encode("TIFF", compression="tiff_lzw"),
    }
    if features.check("avif"):
        files["one.avif"] = encode("AVIF")
    return files


def png_chunk(name: bytes, body: bytes) -> bytes:
    """Return a PNG chunk with the right checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, idat: bytes, *extra: bytes, depth: int = 8, colour: int = 2) -> bytes:
    """Return a PNG with a header, these chunks, this compressed data."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + png_chunk(b"IDAT", idat) + png_chunk(b"IEND", b"")


def insert_png(data: bytes, *chunks: bytes) -> bytes:
    """Return a PNG with chunks after its header."""
    return data[:33] + b"".join(chunks) + data[33:]


def insert_jpeg(data: bytes, *segments: tuple[int, bytes]) -> bytes:
    """Return a JPEG with segments (marker, body) after SOI."""
    parts = (struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments)
    return data[:2] + b"".join(parts) + data[2:]


def insert_webp(
    data: bytes, *chunks: tuple[bytes, bytes], flags: int = 0, size: tuple[int, int] | None = None
) -> bytes:
    """Return a WebP with an extended header and further chunks after its image data."""
    width, height = size or Image.open(io.BytesIO(data)).size
    header = bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    old = data[12:] if data[12:16] != b"VP8X" else data[30:]
    body = b"WEBP" + _riff(b"VP8X", header) + old + b"".join(_riff(*chunk) for chunk in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _riff(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def tiff(entries: list[tuple[int, int, int, int]], tail: bytes = b"", next_ifd: int = 0) -> bytes:
    """Return a little-endian TIFF with one directory of (tag, type, count, value or offset), then `tail`."""
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *e) for e in sorted(entries))
    return b"II*\0" + struct.pack("<I", 8) + body + struct.pack("<I", next_ifd) + tail


def grey_tiff(
    width: int,
    height: int,
    data: bytes,
    *extra: tuple[int, int, int, int],
    compression: int = 1,
    tile: tuple[int, int] | None = None,
    next_ifd: int = 0,
) -> bytes:
    """Return a TIFF of 8-bit grey with one strip, or one tile of (width, height), and further entries."""
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, compression), (262, 3, 1, 1)]
    entries += [(277, 3, 1, 1), *extra]
    count = len(entries) + (4 if tile else 3)
    at = 8 + 2 + 12 * count + 4
    if tile:
        entries += [(322, 4, 1, tile[0]), (323, 4, 1, tile[1]), (324, 4, 1, at), (325, 4, 1, len(data))]
    else:
        entries += [(273, 4, 1, at), (278, 4, 1, height), (279, 4, 1, len(data))]
    return tiff(entries, data, next_ifd)


def deflate_zeros(count: int) -> bytes:
    """Return zlib data that inflates to `count` zeros, made without holding them."""
    pack = zlib.compressobj(1)
    parts = [pack.compress(bytes(min(1 << 20, count - at))) for at in range(0, count, 1 << 20)]
    return b"".join(parts) + pack.flush()
