"""Inspect formats that are always encoded again: GIF, BMP, TIFF."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from anon_batch.imaging.metadata.mark import GIF_EXTENSION, PACKET
from anon_batch.imaging.metadata.marks import MARK

# TIFF 6.0 tags that describe the samples: size, depth, compression, photometry, strips, tiles, planes,
# resolution, palette, predictor, extra samples, sample format.
_TIFF_TAGS = frozenset(
    [
        254,
        *range(256, 260),
        262,
        266,
        273,
        *range(277, 280),
        *range(282, 285),
        296,
        317,
        320,
        *range(322, 326),
        338,
        339,
    ]
)
_XMP_TAG = 700
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_TIFF_DATA = {273: 279, 324: 325}


def inspect_gif(data: bytes) -> Iterator[str]:
    """Yield comments, application and text extensions, further frames, bytes after the trailer."""
    at, frames = _after_table(13, data[10]), 0
    while data[at] != 0x3B:
        if data[at] == 0x2C:
            frames += 1
            at = _after_blocks(data, _after_table(at + 10, data[at + 9]) + 1)
        elif data[at] == 0x21:
            label, start = data[at + 1], at
            at = _after_blocks(data, at + 2)
            if data[start:at] == GIF_EXTENSION:
                yield MARK
            elif label != 0xF9 or at - start != 8:
                yield f"GIF extension {label:02X} ({at - start} bytes)"
        else:
            raise ValueError(f"GIF block {data[at]:#04x} at {at}")
    if frames != 1:
        yield f"{frames} frames"
    if at + 1 != len(data):
        yield f"{len(data) - at - 1} bytes after the GIF trailer"


def _after_table(at: int, flags: int) -> int:
    return at + (3 * 2 ** (1 + (flags & 7)) if flags & 0x80 else 0)


def _after_blocks(data: bytes, at: int) -> int:
    while data[at]:
        at += 1 + data[at]
    return at + 1


def inspect_bmp(data: bytes) -> Iterator[str]:
    """Yield an embedded profile, gaps before the samples, bytes after them."""
    _, _, start, header, width, height, _, bits, compression = struct.unpack_from("<IIIIiiHHI", data, 2)
    colours = struct.unpack_from("<I", data, 46)[0]
    masks = 12 if header == 40 and compression == 3 else 0
    palette = 4 * (colours or (1 << bits)) if bits <= 8 else 4 * colours
    if header not in (40, 52, 56, 64):
        yield f"BMP header of {header} bytes"
    if compression not in (0, 3):
        yield f"BMP compression {compression}"
    if start != 14 + header + masks + palette:
        yield "bytes between the BMP header and its samples"
    if len(data) != start + (width * bits + 31) // 32 * 4 * abs(height):
        yield "bytes after the BMP samples"


def inspect_tiff(data: bytes) -> Iterator[str]:
    """Yield tags that do not describe samples, further directories, bytes that no tag refers to."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    covered = [(0, 8), (start, start + 6 + 12 * count)]
    values: dict[int, tuple[int, ...]] = {}
    for at in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from(f"{order}HHI", data, at)
        size = _TIFF_SIZES.get(kind, 1) * number
        place = at + 8 if size <= 4 else struct.unpack_from(f"{order}I", data, at + 8)[0]
        if tag == _XMP_TAG and kind == 1 and data[place : place + size] == PACKET:
            yield MARK
        elif tag not in _TIFF_TAGS:
            yield f"TIFF tag {tag} ({number} values)"
        if size > 4:
            covered.append((place, place + size))
        if kind in (3, 4):
            values[tag] = struct.unpack_from(f"{order}{number}{'H' if kind == 3 else 'I'}", data, place)
    for offsets, lengths in _TIFF_DATA.items():
        pairs = zip(values.get(offsets, ()), values.get(lengths, ()), strict=True)
        covered += [(offset, offset + length) for offset, length in pairs]
    if struct.unpack_from(f"{order}I", data, start + 2 + 12 * count)[0]:
        yield "2 or more frames"
    reached = 0
    for low, high in sorted(covered):
        if any(data[reached:low]) or low - reached > 3:  # up to three zeros align the next value
            yield f"{low - reached} bytes at {reached} that no TIFF tag refers to"
        reached = max(reached, high)
    if any(data[reached:]) or len(data) - reached > 3:
        yield f"{len(data) - reached} bytes after the TIFF's last value"
