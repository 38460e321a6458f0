"""Read the first directory of a TIFF, and reduce a TIFF to what describes its samples before a decoder sees it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from anon_batch.errors import FailedError
from anon_batch.imaging.sniff import check_pixels

_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 322, 323
_LONG_TAGS = frozenset({273, 279, 320, 324, 325, 347})  # offsets and lengths of strips and tiles, palette, JPEG tables
# TIFF 6.0: size, depth, compression, photometry, fill order, strips, planes, resolution, options of fax, predictor, palette,
# tiles, inks, extra samples, sample format and range, JPEG tables, YCbCr.
_KEPT = _LONG_TAGS | {
    *range(254, 260),
    262,
    263,
    266,
    *range(277, 280),
    *range(282, 285),
    *(292, 293, 296, 317),
    *range(322, 324),
    *range(332, 343),
    *range(512, 522),
    *range(529, 533),
}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_MAX_ENTRIES = 65_535  # also in a BigTIFF
_MAX_VALUES = 4096  # of a tag that is not a long one
_MAX_LONG_VALUES = 1_000_000  # 200 megapixels in tiles of 16 x 16


class Entry(NamedTuple):
    """One entry of a TIFF directory.

    Args:
        tag, kind, number: its tag, its type, how many values it has.
        at: offset of the entry.
        order: `<` or `>`.
        is_big: whether counts and offsets have 8 bytes (BigTIFF) instead of 4.
    """

    tag: int
    kind: int
    number: int
    at: int
    order: str
    is_big: bool

    @property
    def place(self) -> int:
        """Offset of the field that holds the value, or where it is."""
        return self.at + (12 if self.is_big else 8)

    def read(self, tiff: bytes, size: int) -> bytes:
        """Return the first value, of `size` bytes, or fewer at the end of the data."""
        start = self._start(tiff, size)
        return tiff[start : start + size]

    def end(self, tiff: bytes, size: int) -> int:
        """Return where the values end, of `size` bytes each; perhaps beyond the data."""
        return self._start(tiff, size) + size * self.number

    def _start(self, tiff: bytes, size: int) -> int:
        if size * max(self.number, 1) <= (8 if self.is_big else 4):
            return self.place
        return int(struct.unpack_from(self.order + ("Q" if self.is_big else "I"), tiff, self.place)[0])

    def read_integer(self, tiff: bytes) -> int | None:
        """Return the first value; None if it is no integer or cut."""
        letter, size = _INTEGERS.get(self.kind), _SIZES.get(self.kind, 0)
        raw = self.read(tiff, size) if letter and self.number else b""
        return int(struct.unpack(self.order + str(letter), raw)[0]) if raw and len(raw) == size else None


class _Form(NamedTuple):
    """How a TIFF writes its numbers: byte order, formats of the number of entries, of an entry, of an offset."""

    order: str
    size: str
    entry: str
    offset: str
    first: int
    is_big: bool


def first_directory(tiff: bytes) -> Iterator[Entry]:
    """Yield the entries of the first directory of a TIFF structure, up to the end of the data."""
    if (form := _form(tiff)) is None:
        return
    start, count = _start(tiff, form)
    width = struct.calcsize(form.order + form.entry) + struct.calcsize(form.order + form.offset)
    for at in range(start, min(start + width * count, len(tiff) - width + 1), width):
        tag, kind, number = struct.unpack_from(form.order + form.entry, tiff, at)
        yield Entry(tag, kind, number, at, form.order, form.is_big)


def has_more_directories(tiff: bytes) -> bool:
    """Return whether another directory follows the first: a second page."""
    if (form := _form(tiff)) is None:
        return False
    start, count = _start(tiff, form)
    at = start + (struct.calcsize(form.order + form.entry) + struct.calcsize(form.order + form.offset)) * count
    if at + struct.calcsize(form.order + form.offset) > len(tiff):
        return False
    (following,) = struct.unpack_from(form.order + form.offset, tiff, at)
    (own,) = struct.unpack_from(form.order + form.offset, tiff, form.first)
    return bool(0 < following <= len(tiff) - struct.calcsize(form.order + form.size) and following != own)


def plain_tiff(data: bytes, max_pixels: int | None = None) -> bytes:
    """Return a TIFF that says only what describes the samples of its first image, once.

    So no EXIF block, profile, text or further directory reaches a decoder, and none turns the image by itself.

    Args:
        data: a TIFF.
        max_pixels: upper bound of the pixels of the image, and of its tiles, which a decoder unpacks whole.

    Raises:
        FailedError: `decode` for a directory that cannot be read, `too_many_pixels`.
    """
    form = _form(data)
    kept: dict[int, Entry] = {}
    for entry in first_directory(data):
        if entry.tag in _KEPT and entry.kind in _SIZES and entry.tag not in kept:
            kept[entry.tag] = _checked(data, entry)
    if form is None or _WIDTH not in kept or _HEIGHT not in kept:
        raise FailedError("decode", "TIFF without a size")
    _check_sizes(data, kept, max_pixels)
    field = struct.calcsize(form.order + form.offset)
    body = struct.pack(form.order + form.size, len(kept))
    for tag in sorted(kept):
        entry = kept[tag]
        head = struct.pack(form.order + form.entry, tag, entry.kind, entry.number)
        body += head + data[entry.place : entry.place + field]
    start = len(data) + len(data) % 2
    pointer = struct.pack(form.order + form.offset, start)
    head = data[: form.first] + pointer + data[form.first + field :]
    return head + b"\0" * (len(data) % 2) + body + bytes(field)


def _checked(data: bytes, entry: Entry) -> Entry:
    most = _MAX_LONG_VALUES if entry.tag in _LONG_TAGS else _MAX_VALUES
    if entry.number > most or entry.end(data, _SIZES[entry.kind]) > len(data):
        raise FailedError("decode", f"TIFF: tag {entry.tag} with {entry.number:,} values")
    return entry


def _check_sizes(data: bytes, kept: dict[int, Entry], max_pixels: int | None) -> None:
    sizes = {tag: kept[tag].read_integer(data) for tag in (_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT) if tag in kept}
    width, height = sizes[_WIDTH] or 0, sizes[_HEIGHT] or 0
    check_pixels(width, height, max_pixels)
    check_pixels(max(width, sizes.get(_TILE_WIDTH) or 0), max(height, sizes.get(_TILE_HEIGHT) or 0), max_pixels)


def _form(tiff: bytes) -> _Form | None:
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 16:
        return None
    is_big = 43 in (tiff[2], tiff[3])
    return _Form(order, "Q", "HHQ", "Q", 8, is_big) if is_big else _Form(order, "H", "HHI", "I", 4, is_big)


def _start(tiff: bytes, form: _Form) -> tuple[int, int]:
    """Return where the entries of the first directory begin, and how many it says that there are."""
    (start,) = struct.unpack_from(form.order + form.offset, tiff, form.first)
    if start + struct.calcsize(form.order + form.size) > len(tiff):
        return len(tiff), 0
    (count,) = struct.unpack_from(form.order + form.size, tiff, start)
    return start + struct.calcsize(form.order + form.size), min(count, _MAX_ENTRIES)
