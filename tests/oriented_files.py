"""Files that state their orientation in every way that some reader takes, and the readers themselves."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps, features

from anon_batch.records import PixelArray

WIDTH, HEIGHT = 64, 32
_SIZES = dict(zip(range(14), ["H", "B", "B", "H", "I", "II", "b", "B", "h", "i", "ii", "f", "d", "I"], strict=True)) | {
    16: "Q"
}
INTEGERS = (1, 3, 4, 6, 8, 9, 13, 16)
_MARKED = {
    corner: number + 1
    for number, corner in enumerate([(c, turned) for turned in (0, 1) for c in ("tl", "tr", "br", "bl")])
}


def image() -> Image.Image:
    """Return a wide image as it is stored, with a red mark at its top left."""
    made = Image.new("RGB", (WIDTH, HEIGHT), (40, 120, 160))
    made.paste((255, 20, 10), (0, 0, 16, 16))
    return made


def file(kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image().save(out, kind, **options)
    return out.getvalue()


def position(pixels: PixelArray) -> int:
    """Return by which orientation the stored image was turned to stand as in these pixels."""
    height, width = pixels.shape[:2]
    y, x = np.argwhere(pixels[..., 0] > 150).mean(axis=0)
    return _MARKED["tb"[int(y > height / 2)] + "lr"[int(x > width / 2)], int(height > width)]


def pillow(data: bytes) -> PixelArray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


def opencv(data: bytes, flags: int = cv2.IMREAD_COLOR) -> PixelArray | None:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    return None if pixels is None else np.asarray(pixels[..., 2::-1])


def tiff(value: int = 6, kind: int = 3, order: str = "<", count: int = 1, is_big: bool = False) -> bytes:
    """Return a TIFF structure with one entry, the orientation."""
    parts = (value, 1) if kind in (5, 10) else (ord(str(value)),) if kind == 2 else (value,)
    raw = struct.pack(order + _SIZES[kind], *parts) * max(count, 1)
    mark = {"<": b"II", ">": b"MM"}[order]
    if is_big:
        entry = struct.pack(f"{order}HHQ", 0x0112, kind, count) + raw[:8].ljust(8, b"\0")
        return mark + struct.pack(f"{order}HHHQQ", 43, 8, 0, 16, 1) + entry + bytes(8)
    head = mark + struct.pack(f"{order}HIH", 42, 8, 1) + struct.pack(f"{order}HHI", 0x0112, kind, count)
    if len(raw) <= 4:
        return head + raw.ljust(4, b"\0") + bytes(4)
    return head + struct.pack(f"{order}I", 26) + bytes(4) + raw


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg(*segments: bytes, **options: Any) -> bytes:
    """Return a JPEG with these segments behind JFIF."""
    data = file("JPEG", quality=95, **options)
    return data[:20] + b"".join(segments) + data[20:]


def exif(block: bytes) -> bytes:
    return segment(0xE1, b"Exif\0\0" + block)


def xmp(value: int = 6, form: str = '<rdf:Description tiff:Orientation="{}"/>') -> bytes:
    return b"<x:xmpmeta>" + form.format(value).encode() + b"</x:xmpmeta>"


def jpeg_xmp(packet: bytes) -> bytes:
    return segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet)


def extended_xmp(packet: bytes, size: int = 20) -> bytes:
    start, parts = b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32, b""
    for at in range(0, len(packet), size):
        parts += segment(0xE1, start + struct.pack(">II", len(packet), at) + packet[at : at + size])
    return parts


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(*chunks: bytes, behind: bytes = b"") -> bytes:
    """Return a PNG with these chunks behind IHDR, and others behind IDAT."""
    data = file("PNG")
    return data[:33] + b"".join(chunks) + data[33:-12] + behind + data[-12:]


def profile(name: str, content: bytes) -> bytes:
    """Return the text that ImageMagick writes for EXIF or XMP."""
    return f"\n{name}\n{len(content):8d}\n{content.hex()}\n".encode()


def riff(*chunks: tuple[bytes, bytes], flags: int | None) -> bytes:
    """Return a lossless WebP with these chunks behind the image; no VP8X chunk where `flags` is None."""
    pixels = file("WEBP", lossless=True)[12:]
    head = b"" if flags is None else struct.pack("<4sIB3x", b"VP8X", 10, flags) + _u24(WIDTH - 1) + _u24(HEIGHT - 1)
    body = b"WEBP" + head + pixels
    for name, own in chunks:
        body += name + struct.pack("<I", len(own)) + own + b"\0" * (len(own) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _u24(value: int) -> bytes:
    return value.to_bytes(3, "little")


def tiff_file(
    value: int = 6, kind: int = 3, order: str = "<", count: int = 1, packet: bytes = b"", twice: int = 0
) -> bytes:
    """Return an uncompressed TIFF with an orientation of any type, or an XMP packet, or a second orientation."""
    pixels = np.asarray(image()).tobytes()
    rest = bytearray()
    tail = 8 + 2 + 12 * 12 + 4

    def entry(tag: int, code: int, number: int, raw: bytes) -> bytes:
        if len(raw) > 4:
            place = tail + len(rest)
            rest.extend(raw)
            raw = struct.pack(f"{order}I", place)
        return struct.pack(f"{order}HHI", tag, code, number) + raw.ljust(4, b"\0")

    def short(tag: int, number: int) -> bytes:
        return entry(tag, 3, 1, struct.pack(f"{order}H", number))

    def long(tag: int, number: int) -> bytes:
        return entry(tag, 4, 1, struct.pack(f"{order}I", number))

    parts = (value, 1) if kind in (5, 10) else (ord(str(value)),) if kind == 2 else (value,)
    turn = struct.pack(order + _SIZES[kind], *parts) * max(count, 1)
    bits = entry(258, 3, 3, struct.pack(f"{order}3H", 8, 8, 8))
    entries = [long(256, WIDTH), long(257, HEIGHT), bits, short(259, 1), short(262, 2), long(273, 4096)]
    entries += [entry(274, kind, count, turn)] if value else []
    entries += [short(274, twice)] if twice else []
    entries += [short(277, 3), long(278, HEIGHT), long(279, len(pixels)), short(284, 1)]
    entries += [entry(700, 1, len(packet), packet)] if packet else []
    mark = {"<": b"II", ">": b"MM"}[order]
    head = mark + struct.pack(f"{order}HIH", 42, 8, len(entries)) + b"".join(entries) + bytes(4)
    return (head.ljust(tail, b"\0") + bytes(rest)).ljust(4096, b"\0") + pixels


def stated() -> Iterator[tuple[str, int, bytes]]:
    """Yield (name, the orientation that the file means, the file)."""
    for kind in _SIZES:
        for order in "<>":
            for count in (0, 1, 2, 3):
                meant = 6 if kind in INTEGERS or kind in (5, 10, 11, 12) else 1
                name = f"type {kind} {'little' if order == '<' else 'big'} count {count}"
                yield f"JPEG {name}", meant, jpeg(exif(tiff(6, kind, order, count)))
                if count == 1:
                    yield f"PNG {name}", meant, png(chunk(b"eXIf", tiff(6, kind, order)))
                    yield f"WEBP {name}", meant, riff((b"EXIF", tiff(6, kind, order)), flags=8)
                    yield f"TIFF {name}", meant, tiff_file(6, kind, order)
    block, packet = tiff(6, 4), xmp()
    yield "JPEG BigTIFF", 6, jpeg(exif(tiff(6, 3, "<", 1, True)))
    yield (
        "JPEG behind other segments",
        6,
        jpeg(segment(0xE2, b"ICC"), segment(0xFE, b"c"), exif(block), segment(0xED, b"x")),
    )
    yield "JPEG progressive", 6, jpeg(exif(block), progressive=True)
    yield "JPEG two blocks 1, 6", 1, jpeg(exif(tiff(1)), exif(tiff(6)))
    yield "JPEG two blocks 6, 1", 6, jpeg(exif(tiff(6)), exif(tiff(1)))
    yield "JPEG two blocks 3, 8", 3, jpeg(exif(tiff(3)), exif(tiff(8)))
    yield "JPEG block without the tag, then 6", 1, jpeg(exif(b"II*\0" + struct.pack("<IHI", 8, 0, 0)), exif(tiff(6)))
    late = b"II*\0" + struct.pack("<I", 40) + bytes(32) + block[8:]
    yield "JPEG block cut in two", 6, jpeg(exif(late[:20]), exif(late[20:]))
    yield "JPEG number in the wrong byte order", 6, jpeg(exif(b"II\0*" + block[4:]))
    yield "JPEG zeros before the block", 6, jpeg(exif(b"\0\0" + block))
    yield "JPEG 255 behind Exif", 1, jpeg(segment(0xE1, b"Exif\0\xff" + block))
    yield "JPEG small exif", 1, jpeg(segment(0xE1, b"exif\0\0" + block))
    yield "JPEG XMP attribute", 6, jpeg(jpeg_xmp(packet))
    yield "JPEG XMP element", 6, jpeg(jpeg_xmp(xmp(6, "<tiff:Orientation>{}</tiff:Orientation>")))
    yield "JPEG XMP in single quotes", 6, jpeg(jpeg_xmp(xmp(6, "<a tiff:Orientation = '{}'/>")))
    yield "JPEG XMP 60", 6, jpeg(jpeg_xmp(xmp(60)))
    yield "JPEG XMP 06", 1, jpeg(jpeg_xmp(xmp(6, "<a tiff:Orientation='0{}'/>")))
    yield "JPEG XMP in UTF-16", 6, jpeg(jpeg_xmp(packet.decode().encode("utf-16")))
    yield "JPEG extended XMP", 6, jpeg(jpeg_xmp(xmp(6, "<a/>")), extended_xmp(packet))
    yield "JPEG EXIF 1, XMP 6", 1, jpeg(exif(tiff(1)), jpeg_xmp(packet))
    yield "JPEG EXIF 8, XMP 6", 8, jpeg(exif(tiff(8)), jpeg_xmp(packet))
    yield "PNG eXIf with a prefix", 6, png(chunk(b"eXIf", b"Exif\0\0" + block))
    yield "PNG eXIf behind IDAT", 6, png(behind=chunk(b"eXIf", block))
    yield "PNG two eXIf 1, 6", 6, png(chunk(b"eXIf", tiff(1)), chunk(b"eXIf", tiff(6)))
    yield "PNG two eXIf 6, 1", 1, png(chunk(b"eXIf", tiff(6)), chunk(b"eXIf", tiff(1)))
    yield "PNG text exif", 6, png(chunk(b"tEXt", b"exif\0" + block))
    for name in ("exif", "APP1"):
        for start in (b"", b"Exif\0\0"):
            text, key = profile(name, start + block), f"Raw profile type {name}\0".encode()
            tag = f"PNG raw {name} {len(start)}"
            yield f"{tag} tEXt", 6, png(chunk(b"tEXt", key + text))
            yield f"{tag} zTXt", 6, png(chunk(b"zTXt", key + b"\0" + zlib.compress(text)))
            yield f"{tag} iTXt", 6, png(chunk(b"iTXt", key + b"\0\0\0\0" + text))
            yield f"{tag} packed iTXt", 6, png(chunk(b"iTXt", key + b"\1\0\0\0" + zlib.compress(text)))
            yield f"{tag} behind IDAT", 6, png(behind=chunk(b"zTXt", key + b"\0" + zlib.compress(text)))
    yield "PNG XMP", 6, png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet))
    yield "PNG packed XMP", 6, png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(packet)))
    yield "PNG raw XMP", 6, png(chunk(b"tEXt", b"Raw profile type xmp\0" + profile("xmp", packet)))
    yield "WEBP prefix", 6, riff((b"EXIF", b"Exif\0\0" + block), flags=8)
    yield "WEBP without the flag", 1, riff((b"EXIF", block), flags=0)
    yield "WEBP without VP8X", 1, riff((b"EXIF", block), flags=None)
    yield "WEBP two blocks", 6, riff((b"EXIF", tiff(6)), (b"EXIF", tiff(3)), flags=8)
    yield "WEBP XMP", 6, riff((b"XMP ", packet), flags=4)
    yield "TIFF XMP", 6, tiff_file(0, packet=packet)
    yield "TIFF tag 1, XMP 6", 1, tiff_file(1, packet=packet)
    yield "TIFF twice 6, 1", 1, tiff_file(6, twice=1)
    yield "TIFF twice 1, 6", 6, tiff_file(1, twice=6)
    gif = file("GIF")
    trailer = b"!\xff\x0bXMP DataXMP" + packet + bytes([1, *range(255, -1, -1)]) + b"\0"
    at = 13 + 3 * 2 ** (1 + (gif[10] & 7))
    yield "GIF XMP", 1, gif[:at] + trailer + gif[at:]
    if features.check("avif"):
        for value in range(2, 9):
            turned = Image.Exif()
            turned[0x0112] = value
            yield f"AVIF irot and imir {value}", value, file("AVIF", exif=turned, quality=90)
        other = tiff(6).replace(struct.pack("<HH", 0x0112, 3), struct.pack("<HH", 0x0131, 3))
        data = file("AVIF", exif=other, quality=90)  # because Pillow would turn the tag into properties
        yield "AVIF EXIF alone", 1, data.replace(struct.pack("<HH", 0x0131, 3), struct.pack("<HH", 0x0112, 3))
        yield "AVIF XMP", 6, file("AVIF", xmp=packet, quality=90)
