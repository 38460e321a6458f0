"""Parse the marker segments of a JPEG file (ITU-T T.81, annex B)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from anon_batch.errors import FailedError
from anon_batch.imaging.jpeg.orientation import read_jpeg_orientation
from anon_batch.imaging.jpeg.scans import check_complete
from anon_batch.imaging.sniff import count_parts

SOI, EOI, SOS, DQT, DHT, DAC, DRI = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xCC, 0xDD
DNL = 0xDC
APP0, APP1, APP14 = 0xE0, 0xE1, 0xEE
SOF = frozenset(range(0xC0, 0xD0)) - {DHT, 0xC8, DAC}
_REGEX_BYTES = 1 << 15
_MAX_SCANS = 200  # because a decoder goes over the whole image for each; encoders write about ten
_MAX_TABLES_BYTES = 4 * 129 * _MAX_SCANS  # new ones for each scan
_PADDING_BYTES = 16  # so many zeros in a row are hardly coded data
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]", re.DOTALL)  # neither data nor TEM, a restart or a fill byte
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_ENDS_SCAN = np.ones(256, np.bool_)  # whether a byte after FF ends a scan: not if it is data, a restart or a fill byte
_ENDS_SCAN[[0x00, *range(0xD0, 0xD8), 0xFF]] = False
# Where in row order the 64 values of a quantisation table go, which it lists in zigzag order (T.81, figure A.6).
_ZIGZAG = sorted(range(64), key=lambda at: (at // 8 + at % 8, at // 8 if (at // 8 + at % 8) % 2 else at % 8))


class Segment(NamedTuple):
    """One segment, `data[start:end]` from the marker's FF on; a scan includes its entropy-coded data."""

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
    """What the segments say about the image.

    Args:
        width, height: px, as stored, not turned.
        precision: bits a sample.
        sof: marker of the frame header, 0xC0 baseline, 0xC2 progressive, ...
        components: of the frame, in its order.
        tables: quantisation tables by id, 64 values in row order.
        jfif: whether there is a JFIF segment (APP0).
        adobe_transform: colour transform of APP14; None without APP14.
        orientation: 1..8 as Pillow takes it.
        others: orientations that other readers may take.
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
    others: frozenset[int] = frozenset()

    @property
    def is_rgb(self) -> bool:
        """Return whether three components are R, G, B instead of Y, Cb, Cr, by the rules of libjpeg."""
        if len(self.components) != 3 or self.jfif:
            return False
        if self.adobe_transform is not None:
            return self.adobe_transform == 0
        return bytes(c.id for c in self.components) == b"RGB"


def iter_segments(data: bytes) -> Iterator[Segment]:
    """Yield the segments from SOI to the first EOI, without the bytes and markers between them that decoders skip.

    Where there is a scan but no EOI, an empty one stands where the last segment ends; `read_jpeg_header` then checks that
    nothing is missing.

    Raises:
        FailedError: `truncated` when the data ends before the first scan, `decode` for a second SOI or a segment of
            no length before it, and for too many segments.
    """
    return count_parts(_iter_segments(data), "JPEG")


def _iter_segments(data: bytes) -> Iterator[Segment]:
    yield Segment(SOI, 0, 2)
    at, scans = 2, 0
    while (start := _find_marker(data, at)) is not None:
        marker = data[start + 1]
        length = int.from_bytes(data[start + 2 : start + 4], "big")
        end = start + 2 + length
        if marker == EOI:
            yield Segment(EOI, start, start + 2)
            return
        if marker == SOI or length < 2 or end > len(data):
            break
        if marker == SOS:
            end = _end_of_scan(data, end)
            end = end if end <= len(data) else _end_of_last_scan(data, start + 2 + length)
        scans += marker == SOS
        yield Segment(marker, start, end)
        at = end
    if not scans:
        if start is None or start + 2 + length > len(data):
            raise FailedError("truncated", f"the JPEG ends at byte {len(data)}, before its first scan")
        raise FailedError("decode", f"JPEG: marker FF{marker:02X} of length {length} at {start}, before the first scan")
    yield Segment(EOI, at, at)


def _find_marker(data: bytes, at: int) -> int | None:
    """Return where the next marker begins that may begin a segment, as libjpeg finds it; None where there is none."""
    found = _MARKER.search(data, at)
    return None if found is None else found.start()


def _end_of_scan(data: bytes, start: int) -> int:
    """Return where the marker after a scan's entropy-coded data begins, its fill bytes (further FFs) included.

    The result lies beyond the data where there is no such marker.
    """
    if (found := _SCAN_END.search(data, start, start + _REGEX_BYTES)) is not None:
        return _before_fill(data, start, found.start())
    # A regular expression is faster on a small scan, comparing all bytes at once on a large one.
    at, length = start + _REGEX_BYTES - 1, 4 * _REGEX_BYTES
    while at < len(data) - 1:
        part = np.frombuffer(data, np.uint8, min(length + 1, len(data) - at), at)
        # Because nearly every FF is followed by 0, drop those here: finding places costs more than comparing bytes.
        leads = np.flatnonzero((part[:-1] == 0xFF) & (part[1:] != 0))
        ends = leads[_ENDS_SCAN[part[leads + 1]]]
        if len(ends):
            return _before_fill(data, start, at + int(ends[0]))
        at, length = (
            at + length,
            4 * length,
        )  # so that a file of many short scans is not searched whole for each of them
    return len(data) + 1


def _end_of_last_scan(data: bytes, start: int) -> int:
    """Return where a scan ends that no marker ends, without the padding of a file that was not written to its end."""
    end = max(len(data.rstrip(b"\xff")), start)
    coded = max(len(data[:end].rstrip(b"\0")), start)
    coded += data[coded - 1 : coded + 1] == b"\xff\0"  # which stands for a byte FF
    return coded if end - coded >= _PADDING_BYTES else end


def _before_fill(data: bytes, start: int, at: int) -> int:
    while at > start and data[at - 1] == 0xFF:
        at -= 1
    return at


def read_jpeg_header(data: bytes, segments: Sequence[Segment] | None = None) -> JpegHeader:
    """Read the header from a JPEG's segments.

    Args:
        data: a JPEG file.
        segments: its segments, if they are known.

    Raises:
        FailedError: as `iter_segments`; `decode` for a file without a frame or scan.
    """
    every = tuple(iter_segments(data) if segments is None else segments)
    listed = until_last_scan(every)
    _check_counts(listed)
    header, scans = JpegHeader(), list[bytes]()
    for marker, start, end in listed:
        body = data[start + 4 : end]
        if marker in SOF:
            if header.sof:
                raise FailedError("decode", "JPEG: a second frame header")
            _read_frame(header, marker, body)
            if not header.height and any(segment.marker == DNL for segment in every):
                raise FailedError("unsupported_mode", "JPEG whose height stands after its first scan (DNL)")
        elif marker == DQT:
            _read_tables(header, body)
        elif marker == APP0 and body.startswith(b"JFIF\0"):
            header.jfif = True
        elif marker == APP14 and body.startswith(b"Adobe") and len(body) >= 12:
            header.adobe_transform = body[11]
        elif marker == SOS:
            scans.append(body)
    if not header.sof or not scans:
        raise FailedError("decode", "JPEG: no frame header or no scan")
    if listed[-1].start == listed[-1].end:
        check_complete(header.sof, [c.id for c in header.components], scans)
    header.orientation, header.others = read_jpeg_orientation(data, listed)
    return header


def _check_counts(segments: Sequence[Segment]) -> None:
    """Raise FailedError `decode` for a small file that would keep a decoder busy for hours."""
    sizes = {SOS: 0, DQT: 0}
    for marker, start, end in segments:
        if marker in sizes:
            sizes[marker] += 1 if marker == SOS else end - start
    if sizes[SOS] > _MAX_SCANS or sizes[DQT] > _MAX_TABLES_BYTES:
        raise FailedError("decode", f"JPEG of {sizes[SOS]} scans and {sizes[DQT]} bytes of quantisation tables")


def until_last_scan(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """Drop what lies between the last scan and EOI, because no decoder needs it."""
    last = max((at for at, segment in enumerate(segments) if segment.marker == SOS), default=len(segments))
    return (*segments[: last + 1], segments[-1]) if last + 1 < len(segments) else segments


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
