"""Files that hold a second image or a second file: thumbnails, pages, frames, polyglots."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator

from PIL import Image

from hostile_files import CANARY, HostileImage
from hostile_files.ordinary import encode, insert_jpeg, insert_png, insert_webp, ordinary_files, pixels, png_chunk, tiff

_SEVERAL = frozenset({"multi_frame"})
_SCRIPT = b"<script>alert('" + CANARY + b"')</script>"


def files(_: int) -> Iterator[HostileImage]:
    """Yield files in which another image or program hides beside the first image."""
    yield from _second_images()
    yield from _frames()
    yield from _polyglots()


def _second_images() -> Iterator[HostileImage]:
    def second(name: str, data: bytes) -> HostileImage:
        return HostileImage("second image", name, data)

    first, other = encode("JPEG"), encode("JPEG", pixels(seed=9))
    hidden = insert_jpeg(other, (0xFE, CANARY))
    exif = tiff([(0x0201, 4, 1, 40), (0x0202, 4, 1, len(hidden))]).ljust(40, b"\0") + hidden
    yield second("thumbnail.jpg", insert_jpeg(first, (0xE1, b"Exif\0\0" + exif)))
    yield second(
        "jfif-thumbnail.jpg", insert_jpeg(first, (0xE0, b"JFIF\0\1\2\0\0\1\0\1\x08\x08" + (CANARY * 20)[:192]))
    )
    yield second("jfxx.jpg", insert_jpeg(first, (0xE0, b"JFXX\0\x10" + hidden)))
    yield second("concatenated.jpg", first + hidden)
    yield second("concatenated-3.jpg", first + b"\0" * 100 + hidden + hidden)
    out = io.BytesIO()
    pixels().save(out, "MPO", save_all=True, append_images=[pixels(seed=9)])
    yield second("mpo.jpg", out.getvalue() + CANARY)
    yield second("nested-app13.jpg", insert_jpeg(first, (0xED, b"Photoshop 3.0\0" + hidden)))
    yield second("eoi-in-comment.jpg", insert_jpeg(first, (0xFE, b"\xff\xd9" + hidden)))
    yield second("hidden-scans.jpg", hidden_scans())
    yield second("overwritten-scan.jpg", overwritten_scan())
    yield second("two-frames.jpg", first[:-2] + other[2:])
    plain = encode("PNG")
    yield second("concatenated.png", plain + encode("PNG", pixels(seed=9)) + CANARY)
    yield second("thumbnail.png", insert_png(plain, png_chunk(b"eXIf", exif)))
    yield second("private-chunk.png", insert_png(plain, png_chunk(b"prVt", hidden)))
    yield second("two-headers.png", insert_png(plain, png_chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 2, 0, 0, 0))))
    stream = zlib.compress(bytes(61 * 3 + 1) * 47) + zlib.compress(CANARY)
    yield second("idat-tail.png", plain[:33] + png_chunk(b"IDAT", stream) + png_chunk(b"IEND", b""))
    webp = encode("WEBP")
    yield second("two-images.webp", insert_webp(webp, (b"VP8 ", webp[20:])))
    yield second("trailing.webp", webp + CANARY)
    yield second("unknown-chunk.webp", insert_webp(webp, (b"HIDE", hidden)))


def _frames() -> Iterator[HostileImage]:
    others = [pixels(seed=9), pixels(seed=10)]
    for kind, suffix in (("GIF", "gif"), ("WEBP", "webp"), ("PNG", "png"), ("TIFF", "tif"), ("AVIF", "avif")):
        out = io.BytesIO()
        pixels().save(out, kind, save_all=True, append_images=others)
        yield HostileImage("several frames or pages", f"frames.{suffix}", out.getvalue(), _SEVERAL)


def _polyglots() -> Iterator[HostileImage]:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("payload.txt", CANARY)
    tails = {
        "zip": out.getvalue(),
        "html": b"<html>" + _SCRIPT,
        "php": b"<?php /*" + CANARY + b"*/ ?>",
        "rar": b"Rar!" + CANARY,
    }
    for name, data in ordinary_files().items():
        stem, suffix = name.split(".")
        for kind, tail in tails.items():
            yield HostileImage("polyglot", f"{stem}-and-{kind}.{suffix}", data + tail)
    gif = encode("GIF", mode="P")
    yield HostileImage("polyglot", "js-comment.gif", gif[:-1] + b"\x21\xfe\x20" + (b"*/=1;" + _SCRIPT)[:32] + b"\0\x3b")
    yield HostileImage("polyglot", "js-size.gif", b"GIF89a/*" + gif[8:] + b"*/=1;" + CANARY)
    yield HostileImage(
        "polyglot", "html-text.png", insert_png(encode("PNG"), png_chunk(b"tEXt", b"Comment\0" + _SCRIPT))
    )
    yield HostileImage("polyglot", "html-comment.jpg", insert_jpeg(encode("JPEG"), (0xFE, _SCRIPT)))
    jpeg = encode("JPEG")
    pdf = b"%PDF-1.4\n1 0 obj<</Subtype/Image/Length " + str(len(jpeg)).encode() + b">>stream\n" + jpeg + b"\nendstream"
    wrong = frozenset({"unsupported_format"})
    yield HostileImage("polyglot", "jpeg-in.pdf.jpg", pdf + CANARY, wrong)
    yield HostileImage("polyglot", "zip-first.jpg", out.getvalue() + jpeg, wrong)
    svg = b"<svg xmlns='http://www.w3.org/2000/svg'>" + _SCRIPT + b"</svg>"
    yield HostileImage("polyglot", "script.svg.png", svg, wrong)
    for kind in ("EPS", "ICO", "PPM", "TGA", "PCX", "ICNS", "JPEG2000", "DDS"):
        other = io.BytesIO()
        Image.new("RGB", (64, 64)).save(other, kind)
        yield HostileImage("another format under an image's name", f"{kind.lower()}.jpg", other.getvalue(), wrong)


def hidden_scans() -> bytes:
    """Return a grey JPEG whose first scan is the whole image, followed by scans of another one, which no decoder shows."""
    grey, other = encode("JPEG", mode="L"), encode("JPEG", pixels(seed=9))
    tail = other[other.index(b"\xff\xc4") : -2]
    return grey[:-2] + tail + CANARY + grey[-2:]


def overwritten_scan(width: int = 61, height: int = 47) -> bytes:
    """Return a sequential JPEG of one scan for each component, and a further one that replaces the first."""
    one, other = (encode("JPEG", pixels(width, height, seed), mode="L") for seed in (5, 9))
    tables = one[one.index(b"\xff\xdb") : one.index(b"\xff\xc0")] + one[one.index(b"\xff\xc4") : one.index(b"\xff\xda")]
    components = b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3))
    frame = struct.pack(">BBHBHHB", 0xFF, 0xC0, 17, 8, height, width, 3) + components
    scans = [(1, one), (2, one), (3, one), (1, other)]
    coded = (
        struct.pack(">BBHBBBBBB", 0xFF, 0xDA, 8, 1, number, 0, 0, 63, 0) + data[data.index(b"\xff\xda") + 10 : -2]
        for number, data in scans
    )
    return b"\xff\xd8" + tables + frame + b"".join(coded) + b"\xff\xd9"
