"""Small files that claim or unpack to a lot: dimensions, compressed samples, tiles, profiles, text."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from hostile_files import CANARY, HostileImage
from hostile_files.ordinary import (
    deflate_zeros,
    encode,
    grey_tiff,
    insert_jpeg,
    insert_png,
    insert_webp,
    png,
    png_chunk,
    tiff,
)

_TOO_LARGE = frozenset({"too_many_pixels"})
_MB = 1 << 20


def files(_: int) -> Iterator[HostileImage]:
    """Yield files that would cost gigabytes if their sizes were believed, or their streams unpacked whole."""
    yield from _dimensions()
    yield from _samples()
    yield from _profiles()


def _dimensions() -> Iterator[HostileImage]:
    def bomb(name: str, data: bytes, reasons: frozenset[str] = _TOO_LARGE) -> HostileImage:
        return HostileImage("dimension bomb", name, data, reasons)

    yield bomb("dim-2g.png", png(2**31 - 1, 2**31 - 1, deflate_zeros(1000)))
    yield bomb("dim-100k.png", png(100_000, 100_000, deflate_zeros(_MB)))
    yield bomb("dim-0.png", png(0, 10, deflate_zeros(10)), frozenset({"decode"}))
    jpeg = encode("JPEG")
    at = jpeg.index(b"\xff\xc0") + 5
    yield bomb("dim-65500.jpg", jpeg[:at] + struct.pack(">HH", 65500, 65500) + jpeg[at + 4 :])
    yield bomb("dim-0.jpg", jpeg[:at] + struct.pack(">HH", 0, 61) + jpeg[at + 4 :], frozenset({"decode"}))
    webp = encode("WEBP")
    yield bomb("dim-canvas.webp", insert_webp(webp, size=(1 << 24, 255)))
    lossless = encode("WEBP", lossless=True)
    at = lossless.index(b"VP8L") + 9
    yield bomb("dim-16384.webp", lossless[:at] + struct.pack("<I", 0x0FFFFFFF) + lossless[at + 4 :])
    gif = encode("GIF", mode="P")
    at = gif.index(b"\x2c", 13 + 3 * 2 ** ((gif[10] & 7) + 1))
    frame = gif[: at + 5] + struct.pack("<HH", 65535, 65535) + gif[at + 9 :]
    yield bomb("dim-frame.gif", frame)
    yield bomb("dim-screen.gif", gif[:6] + struct.pack("<HH", 65535, 65535) + gif[10:])
    yield bomb("dim-far.gif", gif[: at + 1] + struct.pack("<HH", 65000, 65000) + gif[at + 5 :])
    bmp = encode("BMP")
    yield bomb("dim.bmp", bmp[:18] + struct.pack("<ii", 2**31 - 1, 2**31 - 1) + bmp[26:])
    yield bomb("dim-negative.bmp", bmp[:18] + struct.pack("<ii", 100_000, -100_000) + bmp[26:])
    yield bomb("dim-4g.tif", grey_tiff(2**32 - 1, 2**32 - 1, b"x"))
    yield bomb("dim-tile.tif", grey_tiff(16, 16, deflate_zeros(_MB), compression=8, tile=(60_000, 30_000)))
    avif = encode("AVIF")
    at = avif.index(b"ispe") + 8
    yield bomb(
        "dim.avif",
        avif[:at] + struct.pack(">II", 60_000, 60_000) + avif[at + 8 :],
        frozenset({"too_many_pixels", "decode"}),
    )
    yield bomb("dim-1.avif", avif[:at] + struct.pack(">II", 1, 1) + avif[at + 8 :], frozenset())


def _samples() -> Iterator[HostileImage]:
    def bomb(name: str, data: bytes, *reasons: str) -> HostileImage:
        return HostileImage("decompression bomb", name, data, frozenset(reasons))

    yield bomb("idat-80mb.png", png(8, 8, deflate_zeros(80 * _MB)))
    yield bomb("idat-short.png", png(4000, 4000, deflate_zeros(100)), "truncated", "decode")
    yield bomb("strip-60mb.tif", grey_tiff(8, 8, deflate_zeros(60 * _MB), compression=8))
    yield bomb(
        "strip-rows.tif",
        tiff(
            [
                (256, 4, 1, 8),
                (257, 4, 1, 8),
                (258, 3, 1, 8),
                (259, 3, 1, 8),
                (262, 3, 1, 1),
                (273, 4, 1, 122),
                (277, 3, 1, 1),
                (278, 4, 1, 2**32 - 1),
                (279, 4, 1, 64),
            ],
            deflate_zeros(64).ljust(64, b"\0"),
        ),
    )
    yield bomb("zstd-strip.tif", grey_tiff(8, 8, _zstd_zeros(60 * _MB), compression=50000))
    yield bomb("rle.bmp", _rle_bmp(2000, 2000))
    yield bomb("flat.png", png(2500, 2500, deflate_zeros(2500 * 7501)))
    yield bomb("interlaced.png", png(1500, 1500, deflate_zeros(1500 * 4501))[:28] + b"\1" + b"\0\0\0\0")


def _zstd_zeros(count: int) -> bytes:
    import pyarrow as pa

    return bytes(pa.Codec("zstd").compress(bytes(count)))


def _rle_bmp(width: int, height: int) -> bytes:
    data = (b"\xff\0" * (width // 255 + 1) + b"\0\0") * height + b"\0\1"
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(data), 0, 0, 2, 2)
    palette = bytes([0, 0, 0, 0, 255, 255, 255, 0])
    start = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + header + palette + data


def _profiles() -> Iterator[HostileImage]:
    def bomb(name: str, data: bytes) -> HostileImage:
        return HostileImage("ICC or text bomb", name, data)

    plain = encode("PNG")
    packed = deflate_zeros(60 * _MB)
    yield bomb("iccp.png", insert_png(plain, png_chunk(b"iCCP", b"sRGB\0\0" + packed)))
    yield bomb("ztxt.png", insert_png(plain, png_chunk(b"zTXt", b"Comment\0\0" + packed)))
    yield bomb("itxt.png", insert_png(plain, png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed)))
    raw = b"\nexif\n" + b"%8d\n" % (60 * _MB)
    yield bomb(
        "raw-profile.png",
        insert_png(
            plain, png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw + b"45786966" * 2_000_000))
        ),
    )
    yield bomb(
        "many-ztxt.png",
        insert_png(plain, *[png_chunk(b"zTXt", b"Raw profile type APP1\0\0" + deflate_zeros(8 * _MB))] * 200),
    )
    jpeg = encode("JPEG")
    part = b"ICC_PROFILE\0%c\xff" + CANARY + bytes(60_000)
    yield bomb("icc-255.jpg", insert_jpeg(jpeg, *((0xE2, part.replace(b"%c", bytes([n]))) for n in range(1, 256))))
    yield bomb("icc-claims-4g.jpg", insert_jpeg(jpeg, (0xE2, b"ICC_PROFILE\0\1\1" + b"\xff\xff\xff\xff" + bytes(124))))
    yield bomb("icc.webp", insert_webp(encode("WEBP"), (b"ICCP", CANARY + bytes(8 * _MB)), flags=0x20))
    yield bomb("icc.tif", encode("TIFF", icc_profile=CANARY + bytes(4 * _MB)))
    yield bomb("icc.avif", encode("AVIF", icc_profile=CANARY + bytes(_MB)))
