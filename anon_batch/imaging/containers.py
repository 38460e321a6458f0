"""Decide from what a PNG, WebP, TIFF, AVIF or GIF says about its orientation in several places.

The places are those in which readers look, in the order in which Pillow takes them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from anon_batch.imaging.orientation_claims import (
    XMP_TAG,
    Orientation,
    read_exif,
    read_tiff,
    read_xmp,
    settle,
)
from anon_batch.imaging.tiff import first_directory

_MOST_STARTS = 16  # of TIFF structures in an AVIF file
_EXIF_BYTES = 1 << 16
_WEBP_METADATA = 0x08 | 0x04  # EXIF, XMP


def settle_png(profiles: Sequence[tuple[bytes, bytes]]) -> Orientation:
    """Return what (keyword, content) of chunks say: EXIF before its text forms before XMP, the last of each first."""
    last_first = profiles[::-1]
    chunks = [
        own if keyword == b"eXIf" and body[:2] in (b"II", b"MM") else own.doubted()
        for keyword, body in last_first
        if keyword.lower() == b"exif" and (own := read_exif(body)) is not None
    ]
    texts = [
        own.doubted() for keyword, body in last_first if b"raw" in keyword and (own := read_exif(body)) is not None
    ]
    return settle([*chunks, *texts, *(read_xmp(body) for keyword, body in last_first if keyword.lower() != b"exif")])


def settle_webp(bodies: Mapping[bytes, Sequence[bytes]]) -> Orientation:
    """Return what the chunks EXIF and XMP of a WebP say, by their names; doubtful where its VP8X does not announce them."""
    stated = settle([*map(read_exif, bodies[b"EXIF"]), *map(read_xmp, bodies[b"XMP "])])
    if any(body[:1] and body[0] & _WEBP_METADATA for body in bodies[b"VP8X"]):
        return stated
    return settle([], [stated])


def settle_tiff(data: bytes) -> Orientation:
    """Return what the tag and the XMP of a TIFF say."""
    packets = [entry.read(data, entry.number) for entry in first_directory(data) if entry.tag == XMP_TAG]
    return settle([read_tiff(data), *map(read_xmp, packets)])


def settle_avif(data: bytes, info: Mapping[Any, Any]) -> Orientation:
    """Return what the properties irot and imir say, which Pillow's `info` gives as EXIF; the file's own EXIF is doubtful."""
    turned = read_exif(info.get("exif", b""))
    starts = [at.start() for at in islice(re.finditer(rb"II\*\0|MM\0\*", data), _MOST_STARTS)]
    own = [read_exif(data[start : start + _EXIF_BYTES]) for start in starts]
    return settle([turned and Orientation(turned.value), read_xmp(info.get("xmp", b""))], own)


def settle_gif(data: bytes) -> Orientation:
    """Return what XMP says, which few readers look for in a GIF."""
    start = data.find(b"XMP DataXMP")
    return settle([], [read_xmp(data[start:])] if start >= 0 else [])
