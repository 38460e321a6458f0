"""Absurd EXIF blocks, in every container that can hold one."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from hostile_files import CANARY, HostileImage
from hostile_files.ordinary import encode, grey_tiff, insert_jpeg, insert_png, insert_webp, png_chunk, tiff

_EXIF_IFD, _GPS_IFD, _ORIENTATION = 0x8769, 0x8825, 0x0112


def files(_: int) -> Iterator[HostileImage]:
    """Yield each absurd EXIF block inside a JPEG, PNG, WebP, AVIF and as a TIFF of its own."""
    for name, block in blocks().items():
        yield HostileImage(
            "absurd EXIF", f"exif-{name}.jpg", insert_jpeg(encode("JPEG"), (0xE1, b"Exif\0\0" + block[:65_000]))
        )
        yield HostileImage("absurd EXIF", f"exif-{name}.png", insert_png(encode("PNG"), png_chunk(b"eXIf", block)))
        yield HostileImage("absurd EXIF", f"exif-{name}.webp", insert_webp(encode("WEBP"), (b"EXIF", block), flags=8))
        yield HostileImage("absurd EXIF", f"exif-{name}.avif", _avif_with(block))
        yield HostileImage("absurd EXIF", f"exif-{name}.tif", block)
    for tag, what in ((_EXIF_IFD, "exif"), (_GPS_IFD, "gps"), (330, "sub")):
        yield HostileImage("absurd EXIF", f"self-{what}.tif", grey_tiff(8, 8, bytes(64), (tag, 4, 1, 8)))
        yield HostileImage("absurd EXIF", f"outside-{what}.tif", grey_tiff(8, 8, bytes(64), (tag, 4, 1, 2**32 - 2)))


def blocks() -> dict[str, bytes]:
    """Return TIFF structures that loop, point outside, claim huge counts, nest, or are cut."""
    big = b"MM\0*" + struct.pack(">IH", 8, 65_535) + struct.pack(">HHII", 0x010E, 2, 2**32 - 1, 8) * 5_000
    return {
        "next-loop": tiff([(_ORIENTATION, 3, 1, 1)], next_ifd=8),
        "self-exif": tiff([(_EXIF_IFD, 4, 1, 8), (_GPS_IFD, 4, 1, 8)]),
        "outside": tiff([(0x010E, 2, 100, 0xFFFFFF00), (_EXIF_IFD, 4, 1, 0xFFFFFFF0)]),
        "ifd-outside": b"II*\0" + struct.pack("<I", 2**32 - 1) + CANARY,
        "huge-counts": tiff([(tag, kind, 2**32 - 1, 8) for tag, kind in zip(range(270, 290), range(20), strict=True)]),
        "65535-entries": big,
        "orientation-0": tiff([(_ORIENTATION, 3, 1, 0)]),
        "orientation-9": tiff([(_ORIENTATION, 3, 1, 9)]),
        "orientation-ascii": tiff([(_ORIENTATION, 2, 6, 8)]),
        "orientation-many": tiff([(_ORIENTATION, 3, 60_000, 8)]),
        "orientation-none": tiff([(_ORIENTATION, 3, 0, 6)]),
        "types": tiff([(_ORIENTATION, kind, 1, 1) for kind in range(40)]),
        "empty": b"",
        "short": b"MM\0*\0\0",
        "magic": b"XX*\0" + struct.pack("<I", 8) + bytes(20),
        "chain": _chain(3_000),
        "canary": tiff([(0x010E, 2, len(CANARY), 26)], CANARY),
    }


def _chain(count: int) -> bytes:
    """Return a chain of EXIF directories, each inside the one before."""
    parts = [struct.pack("<HHHIII", 1, _EXIF_IFD, 4, 1, 8 + 18 * (n + 1), 8 + 18 * (n + 1)) for n in range(count)]
    return b"II*\0" + struct.pack("<I", 8) + b"".join(parts)


def _avif_with(block: bytes) -> bytes:
    """Return an AVIF with this EXIF block; because the encoder parses EXIF, write an ordinary one and replace it."""
    block = block.ljust(40, b"\0")
    ordinary = tiff([(0x010E, 2, len(block) - 26, 26)], b"x" * (len(block) - 26))
    data = encode("AVIF", exif=b"Exif\0\0" + ordinary)
    return data.replace(ordinary, block)
