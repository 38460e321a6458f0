"""Drop the segments of a JPEG that carry no pixels."""

from __future__ import annotations

from collections.abc import Iterable

from anon_batch.imaging.jpeg.markers import (
    APP0,
    APP1,
    APP14,
    DAC,
    DHT,
    DQT,
    DRI,
    EOI,
    SOF,
    SOI,
    SOS,
    Segment,
    iter_segments,
    until_last_scan,
)
from anon_batch.imaging.jpeg.orientation import read_jpeg_orientation
from anon_batch.imaging.orientation import orientation_exif

_KEPT = SOF | {DQT, DHT, DAC, DRI, SOS}  # unchanged


def strip_jpeg(data: bytes, orientation: int | None = None) -> bytes:
    """Return the file with only the segments that carry pixels, up to the first EOI.

    JFIF's APP0 stays without its thumbnail; Adobe's APP14 stays because it says which colours the components are. An
    EXIF block with nothing but the orientation follows where that is not 1.

    Args:
        data: a JPEG file.
        orientation: what the EXIF block says; None takes the file's own.
    """
    return strip_segments(data, iter_segments(data), orientation)[0]


def strip_segments(
    data: bytes, segments: Iterable[Segment], orientation: int | None = None
) -> tuple[bytes, tuple[Segment, ...]]:
    """Do as `strip_jpeg` with a file whose segments are known; return the result's segments too, to save parsing it."""
    parts: list[tuple[int, bytes | memoryview]] = []
    view, jfif, adobe = memoryview(data), False, False  # a view saves a copy
    listed = until_last_scan(tuple(segments))
    for marker, start, end in listed:
        if marker in _KEPT:
            parts.append((marker, view[start:end]))
            continue
        body = data[start + 4 : end]
        if marker == APP0 and body.startswith(b"JFIF\0") and len(body) >= 14 and not jfif:
            parts.append((APP0, b"\xff\xe0\x00\x10" + body[:12] + b"\0\0"))
            jfif = True
        elif marker == APP14 and body.startswith(b"Adobe") and len(body) >= 12 and not adobe:
            parts.append((APP14, b"\xff\xee\x00\x0e" + body[:12]))
            adobe = True
    parts.append((EOI, b"\xff\xd9"))
    if orientation is None:
        orientation = read_jpeg_orientation(data, listed).value
    if orientation != 1:
        body = b"Exif\0\0" + orientation_exif(orientation)
        # Because JFIF must come first, insert the EXIF block after it.
        place = 1 if parts and parts[0][0] == APP0 else 0
        parts.insert(place, (APP1, b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body))
    parts.insert(0, (SOI, b"\xff\xd8"))
    out: list[Segment] = []
    at = 0
    for marker, part in parts:
        out.append(Segment(marker, at, at + len(part)))
        at += len(part)
    return b"".join(part for _, part in parts), tuple(out)
