"""Mark a file as partly made by a generating model, without coding it again.

The mark is one XMP packet, the same in every file, which names IPTC's digital source type. It says nothing else: no tool, no
time, no id. `metadata.inspect` knows where each format holds it and lets nothing else pass.

Sources: XMP specification part 3, 1.1 (JPEG, PNG, TIFF, GIF); WebP container specification, "Metadata"; IPTC NewsCodes
`digitalsourcetype`; IPTC Photo Metadata Standard, "Digital Source Type".
"""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

from anon_batch.imaging.metadata.mark_tiff import mark_tiff
from anon_batch.imaging.metadata.strip import join_webp, webp_chunks, webp_size

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
    f' Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}"/></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
).encode()
JPEG_BODY = b"http://ns.adobe.com/xap/1.0/\0" + PACKET
PNG_BODY = b"XML:com.adobe.xmp\0\0\0\0\0" + PACKET  # not compressed, no language, no translated keyword
# The packet is no sequence of GIF's sub-blocks. Whatever byte of it a reader takes for a length, the falling numbers behind it
# lead to the end of the extension.
GIF_EXTENSION = b"\x21\xff\x0bXMP DataXMP" + PACKET + bytes([1, *range(255, -1, -1), 0])
WEBP_FLAG = 0x04
UNMARKABLE = frozenset({"BMP"})
"""Formats that have no place for metadata."""

_WEBP_ALPHA = 0x10


def add_mark(data: bytes, format: str) -> bytes:  # noqa: A002  Pillow's word
    """Return the file with the mark; that of a format that cannot hold one as it is.

    Args:
        data: a file that this package wrote, without a mark.
        format: JPEG, PNG, WEBP, TIFF, GIF or BMP. An AVIF gets its mark from its encoder.

    Raises:
        KeyError: another format.
        ValueError: the file has no place for the mark.
    """
    if format in UNMARKABLE:
        return data
    kinds: dict[str, Callable[[bytes], bytes]] = {
        "JPEG": _mark_jpeg,
        "PNG": _mark_png,
        "WEBP": _mark_webp,
        "TIFF": lambda tiff: mark_tiff(tiff, PACKET),
        "GIF": _mark_gif,
    }
    return kinds[format](data)


def _mark_jpeg(data: bytes) -> bytes:
    """Insert a segment behind JFIF's and EXIF's, because readers expect those first."""
    at = 2
    for marker in (0xE0, 0xE1):
        if data[at : at + 2] == bytes([0xFF, marker]):
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data[:at] + b"\xff\xe1" + (len(JPEG_BODY) + 2).to_bytes(2, "big") + JPEG_BODY + data[at:]


def _mark_png(data: bytes) -> bytes:
    """Insert a text chunk behind the header, so that readers know it before the pixels."""
    at = 8 + 12 + 13
    checksum = crc32(b"iTXt" + PNG_BODY)
    chunk = len(PNG_BODY).to_bytes(4, "big") + b"iTXt" + PNG_BODY + checksum.to_bytes(4, "big")
    return data[:at] + chunk + data[at:]


def _mark_webp(data: bytes) -> bytes:
    """Append a chunk, and announce it in the extended header, which a plain file gets now."""
    chunks = list(webp_chunks(data))
    name, body = chunks[0]
    if name == b"VP8X":
        header = bytes([body[0] | WEBP_FLAG]) + body[1:]
        return join_webp({b"VP8X": header, **dict(chunks[1:]), b"XMP ": PACKET})
    if (size := webp_size(chunks[0])) is None:
        raise ValueError(f"WebP begins with {name!r}")
    has_alpha = name == b"VP8L" and body[4] & _WEBP_ALPHA
    sides = b"".join((side - 1).to_bytes(3, "little") for side in size)
    header = bytes([WEBP_FLAG | (_WEBP_ALPHA if has_alpha else 0), 0, 0, 0]) + sides
    return join_webp({b"VP8X": header, **dict(chunks), b"XMP ": PACKET})


def _mark_gif(data: bytes) -> bytes:
    """Insert an application extension behind the palette; only version 89a has extensions."""
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    return b"GIF89a" + data[6:at] + GIF_EXTENSION + data[at:]
