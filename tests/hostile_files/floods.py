"""Files that are long lists: of segments, chunks, scans, tags, directories, frames, blocks."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from hostile_files import CANARY, HostileImage
from hostile_files.ordinary import encode, grey_tiff, insert_png, png_chunk


def files(_: int) -> Iterator[HostileImage]:
    """Yield files that make readers loop, recurse or keep a list of everything."""

    def flood(name: str, data: bytes, *reasons: str) -> HostileImage:
        return HostileImage("flood of small parts", name, data, frozenset(reasons))

    jpeg = encode("JPEG")
    yield flood("comments.jpg", jpeg[:2] + (b"\xff\xfe\0\2") * 400_000 + jpeg[2:], "decode")
    yield flood("fill-bytes.jpg", jpeg[:2] + b"\xff" * 2_000_000 + jpeg[2:])
    yield flood("scans.jpg", _many_scans(20_000), "decode")
    yield flood("tables.jpg", jpeg[:2] + (jpeg[jpeg.index(b"\xff\xdb") :][:69]) * 20_000 + jpeg[2:], "decode")
    plain = encode("PNG")
    yield flood(
        "chunks.png",
        insert_png(plain, b"".join(png_chunk(b"a%03d" % (n % 1000), b"") for n in range(300_000))),
        "decode",
    )
    yield flood("idats.png", _split_idat(plain))
    webp = encode("WEBP")
    body = webp[8:] + (b"JUNK" + struct.pack("<I", 0)) * 300_000
    yield flood("chunks.webp", b"RIFF" + struct.pack("<I", len(body)) + body, "decode")
    gif = encode("GIF", mode="P")
    yield flood("comments.gif", gif[:-1] + (b"\x21\xfe\x01a\0") * 300_000 + b"\x3b")
    yield flood("many-frames.gif", _many_frames(30_000), "multi_frame")
    entries = [(n, 4, 1, 7) for n in range(1000, 60_000)]
    yield flood("tags.tif", grey_tiff(8, 8, bytes(64), *entries))
    overlapping = [(n, 7, 400_000, 8) for n in range(1000, 40_000)]
    yield flood("overlapping-tags.tif", grey_tiff(8, 8, bytes(64), *overlapping))
    yield flood("directories.tif", _many_directories(60_000), "multi_frame")
    yield flood("directory-loop.tif", grey_tiff(8, 8, bytes(64), next_ifd=8))
    yield flood("strips.tif", _many_strips(500_000))
    bits = grey_tiff(8, 8, CANARY * 100_000)
    at = bits.index(struct.pack("<HHII", 258, 3, 1, 8))
    yield flood("bits-per-sample.tif", bits[:at] + struct.pack("<HHII", 258, 3, 800_000, 150) + bits[at + 12 :])
    avif = encode("AVIF")
    yield flood("boxes.avif", avif + struct.pack(">I4s", 8, b"free") * 300_000)
    yield flood("nested-boxes.avif", avif + _nested_boxes(100_000))


def _many_scans(count: int) -> bytes:
    data = encode("JPEG", progressive=True)
    at = data.rindex(b"\xff\xda")
    return data[:at] + data[at:-2] * count + b"\xff\xd9"


def _split_idat(data: bytes) -> bytes:
    at = data.index(b"IDAT") - 4
    length = int.from_bytes(data[at : at + 4], "big")
    body = data[at + 8 : at + 8 + length]
    chunks = (png_chunk(b"IDAT", body[n : n + 1]) + png_chunk(b"IDAT", b"") * 4 for n in range(length))
    return data[:at] + b"".join(chunks) + png_chunk(b"IEND", b"")


def _many_frames(count: int) -> bytes:
    gif = encode("GIF", mode="P")
    at = 13 + 3 * 2 ** ((gif[10] & 7) + 1)
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x08\x02\x00\x01\x00\x00"
    return gif[:at] + frame * count + b"\x3b"


def _many_directories(count: int) -> bytes:
    first = grey_tiff(8, 8, bytes(64))
    start = len(first)
    chain = b"".join(struct.pack("<HI", 0, start + 6 * (n + 1) if n + 1 < count else 0) for n in range(count))
    at = len(first) - 64 - 4
    return first[:at] + struct.pack("<I", start) + first[at + 4 :] + chain


def _many_strips(count: int) -> bytes:
    data = grey_tiff(8, 8, bytes(8 * count))
    for tag in (273, 279):
        at = data.index(struct.pack("<HHI", tag, 4, 1))
        data = data[: at + 4] + struct.pack("<II", count, 150) + data[at + 12 :]
    return data


def _nested_boxes(depth: int) -> bytes:
    return b"".join(struct.pack(">I4s", 8 * (depth - n), b"moov") for n in range(depth))
