"""The marker segments of a JPEG file (ITU-T T.81, annex B): its header, and the file without what bears no
pixels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from anon_batch.errors import FailedError
from anon_batch.imaging.metadata.orientation import orientation_exif, read_orientation

SOI, EOI, SOS, DQT, DHT, DAC, DRI = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xCC, 0xDD
APP0, APP1, APP14 = 0xE0, 0xE1, 0xEE
SOF = frozenset(range(0xC0, 0xD0)) - {DHT, 0xC8, DAC}
_KEPT = SOF | {DQT, DHT, DAC, DRI, SOS, EOI}  # as they are
_FIRST_LOOK_BYTES = 1 << 15
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_ENDS_SCAN = np.ones(256, np.bool_)  # whether a byte after FF does: not a byte of data, a restart, a fill byte
_ENDS_SCAN[[0x00, *range(0xD0, 0xD8), 0xFF]] = False
_ZIGZAG = [
    0,
    1,
    8,
    16,
    9,
    2,
    3,
    10,
    17,
    24,
    32,
    25,
    18,
    11,
    4,
    5,
    12,
    19,
    26,
    33,
    40,
    48,
    41,
    34,
    27,
    20,
    13,
    6,
    7,
    14,
    21,
    28,
    35,
    42,
    49,
    56,
    57,
    50,
    43,
    36,
    29,
    22,
    15,
    23,
    30,
    37,
    44,
    51,
    58,
    59,
    52,
    45,
    38,
    31,
    39,
    46,
    53,
    60,
    61,
    54,
    47,
    55,
    62,
    63,
]


class Segment(NamedTuple):
    """One segment: `data[start:end]` from the marker's FF on; of a scan with its entropy-coded data."""

    marker: int
    start: int
    end: int


class Component(NamedTuple):
    """One colour component of the frame header."""

    id: int
    horizontal: int
    vertical: int
    table: int


@dataclass(slots=True)
class JpegHeader:
    """What the segments say of the picture.

    Args:
        width, height: as stored, px.
        precision: bits a sample.
        sof: marker of the frame header, 0xC0 baseline, 0xC2 progressive, ...
        components: of the frame, in its order.
        tables: quantisation tables by id, 64 values in row order.
        jfif, adobe_transform: of APP0 and APP14; None where there is no APP14.
        orientation: EXIF orientation 1..8.
    """

    width: int = 0
    height: int = 0
    precision: int = 8
    sof: int = 0
    components: tuple[Component, ...] = ()
    tables: dict[int, tuple[int, ...]] = field(default_factory=dict)
    jfif: bool = False
    adobe_transform: int | None = None
    orientation: int = 1

    @property
    def is_rgb(self) -> bool:
        """Whether three components are R, G, B instead of Y, Cb, Cr, by the rules of libjpeg."""
        if len(self.components) != 3 or self.jfif:
            return False
        if self.adobe_transform is not None:
            return self.adobe_transform == 0
        return bytes(c.id for c in self.components) == b"RGB"


def segments(data: bytes) -> Iterator[Segment]:
    """The segments from SOI to the first EOI.

    Raises:
        FailedError: `truncated` when the data ends before EOI, `decode` when something else stands where a
            marker must be.
    """
    yield Segment(SOI, 0, 2)
    at = 2
    while True:
        start = at
        while data[at : at + 2] == b"\xff\xff":
            at += 1
        if at + 2 > len(data):
            raise FailedError("truncated", f"the JPEG ends at byte {len(data)}, before its end marker")
        if data[at] != 0xFF or data[at + 1] in (0, 1, SOI):
            raise FailedError("decode", f"JPEG: {data[at : at + 2].hex()} at {at}, where a marker must be")
        marker = data[at + 1]
        if marker == EOI:
            yield Segment(EOI, at, at + 2)
            return
        if 0xD0 <= marker <= 0xD7:
            raise FailedError("decode", f"JPEG: a restart marker at {at}, outside a scan")
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        end = at + 2 + length
        if length < 2:
            raise FailedError("decode", f"JPEG: a segment of length {length} at {start}")
        if marker == SOS:
            end = _end_of_scan(data, end)
        if end > len(data):
            raise FailedError("truncated", f"the JPEG ends at byte {len(data)}, in the segment at {start}")
        yield Segment(marker, at, end)
        at = end


def _end_of_scan(data: bytes, start: int) -> int:
    """Where the marker after a scan's entropy-coded data begins, fill bytes (further FFs) included; beyond the data where
    there is none.
    """
    if (found := _SCAN_END.search(data, start, start + _FIRST_LOOK_BYTES)) is not None:
        return _before_fill(data, start, found.start())
    # A small scan costs less that way, a large one less with all bytes compared at once.
    at, length = start + _FIRST_LOOK_BYTES - 1, 4 * _FIRST_LOOK_BYTES
    while at < len(data) - 1:
        part = np.frombuffer(data, np.uint8, min(length + 1, len(data) - at), at)
        # Nearly every FF is followed by 0: left out here, as finding places costs more than comparing all bytes.
        leads = np.flatnonzero((part[:-1] == 0xFF) & (part[1:] != 0))
        ends = leads[_ENDS_SCAN[part[leads + 1]]]
        if len(ends):
            return _before_fill(data, start, at + int(ends[0]))
        at, length = at + length, 4 * length  # a file of many short scans is not looked through for each of them
    return len(data) + 1


def _before_fill(data: bytes, start: int, at: int) -> int:
    while at > start and data[at - 1] == 0xFF:
        at -= 1
    return at


def read_header(data: bytes, found: Sequence[Segment] | None = None) -> JpegHeader:
    """Reads a whole JPEG's segments; see `segments` for what it raises, and `decode` for a file without a
    frame or scan.

    Args:
        data: a JPEG file.
        found: its segments, where they are known.
    """
    header, exif, scans = JpegHeader(), False, 0
    for marker, start, end in segments(data) if found is None else found:
        body = data[start + 4 : end]
        if marker in SOF:
            if header.sof:
                raise FailedError("decode", "JPEG: a second frame header")
            _read_frame(header, marker, body)
        elif marker == DQT:
            _read_tables(header, body)
        elif marker == APP0 and body.startswith(b"JFIF\0"):
            header.jfif = True
        elif marker == APP1 and body.startswith(b"Exif\0") and not exif:
            header.orientation, exif = read_orientation(body), True
        elif marker == APP14 and body.startswith(b"Adobe") and len(body) >= 12:
            header.adobe_transform = body[11]
        scans += marker == SOS
    if not header.sof or not scans:
        raise FailedError("decode", "JPEG: no frame header or no scan")
    return header


def strip_jpeg(data: bytes, orientation: int | None = None) -> bytes:
    """The file with its pixel-bearing segments alone, up to the first EOI.

    JFIF's APP0 stays without its thumbnail and Adobe's APP14 as it says which colours the components are. An
    EXIF block with the orientation alone follows where that is not 1.

    Args:
        data: a JPEG file.
        orientation: what the EXIF block is to say; None takes the file's own.
    """
    return stripped(data, segments(data), orientation)[0]


def stripped(
    data: bytes, found: Iterable[Segment], orientation: int | None = None
) -> tuple[bytes, tuple[Segment, ...]]:
    """`strip_jpeg` of a file whose segments are known, and the result's segments: nobody has to look through its scans
    again.
    """
    parts: list[tuple[int, bytes | memoryview]] = []
    view, jfif, adobe = memoryview(data), False, False  # a view is not copied twice
    for marker, start, end in found:
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
        elif marker == APP1 and body.startswith(b"Exif\0") and orientation is None:
            orientation = read_orientation(body)
    if (orientation or 1) != 1:
        body = b"Exif\0\0" + orientation_exif(orientation or 1)
        # JFIF must come first; everything else may follow the EXIF block.
        place = 1 if parts and parts[0][0] == APP0 else 0
        parts.insert(place, (APP1, b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body))
    parts.insert(0, (SOI, b"\xff\xd8"))
    out: list[Segment] = []
    at = 0
    for marker, part in parts:
        out.append(Segment(marker, at, at + len(part)))
        at += len(part)
    return b"".join(part for _, part in parts), tuple(out)


def _read_frame(header: JpegHeader, marker: int, body: bytes) -> None:
    if len(body) < 6 or len(body) < 6 + 3 * body[5] or body[5] == 0:
        raise FailedError("decode", "JPEG: a frame header that is too short")
    header.sof, header.precision = marker, body[0]
    header.height, header.width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    header.components = tuple(
        Component(body[at], body[at + 1] >> 4, body[at + 1] & 15, body[at + 2]) for at in range(6, 6 + 3 * body[5], 3)
    )


def _read_tables(header: JpegHeader, body: bytes) -> None:
    at = 0
    while at < len(body):
        wide, number = body[at] >> 4, body[at] & 15
        size = 2 if wide else 1
        values = body[at + 1 : at + 1 + 64 * size]
        if len(values) < 64 * size:
            raise FailedError("decode", "JPEG: a quantisation table that is too short")
        table = np.empty(64, np.int64)
        table[_ZIGZAG] = np.frombuffer(values, f">u{size}")
        header.tables[number] = tuple(table.tolist())
        at += 1 + 64 * size
