"""Inspect AVIF files (ISO/IEC 14496-12, 23008-12): the coded image, its alpha plane, the mark, and nothing else."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from anon_batch.imaging.metadata.mark import PACKET
from anon_batch.imaging.metadata.marks import MARK

_TOP = frozenset({b"ftyp", b"meta", b"mdat"})
_META = frozenset({b"hdlr", b"pitm", b"iloc", b"iinf", b"iref", b"iprp"})
_PROPERTIES = frozenset({b"ispe", b"pixi", b"av1C", b"colr", b"auxC", b"pasp"})
_XMP_ITEM = b"\0\0mimeXMP\0application/rdf+xml\0"  # behind its number: not protected, type, name, content type

Range = tuple[int, int]


def inspect_avif(data: bytes) -> Iterator[str]:
    """Yield boxes and items other than the coded image, its alpha plane and the mark, and data that no item refers to."""
    stored: list[Range] = []
    places: dict[int, list[Range]] = {}
    xmp: list[int] = []
    for name, start, end in _boxes(data, 0, len(data)):
        if name not in _TOP:
            yield f"AVIF box {name.decode('latin-1')} ({end - start} bytes)"
        if name == b"mdat":
            stored.append((start, end))
        if name != b"meta":
            continue
        for inner, at, stop in _boxes(data, start + 4, end):
            if inner not in _META:
                yield f"AVIF box {inner.decode('latin-1')} ({stop - at} bytes)"
            if inner == b"iinf":
                xmp += _xmp_items(data, at, stop)
                yield from _items(data, at, stop)
            if inner == b"iloc":
                places.update(_places(data, at))
            if inner == b"iprp":
                yield from _other_properties(data, at, stop)
    for number in xmp:
        content = b"".join(data[low:high] for low, high in places.get(number, []))
        yield MARK if content == PACKET else f"AVIF item mime ({len(content)} bytes)"
    yield from _unused(stored, [place for own in places.values() for place in own])


def _entries(data: bytes, start: int, end: int) -> Iterator[Range]:
    """Yield the bodies of the entries that describe the items."""
    for _, at, stop in _boxes(data, start + (6 if data[start] == 0 else 8), end):
        yield at, stop


def _is_xmp(data: bytes, at: int, stop: int) -> bool:
    return data[at : at + 4] == b"\2\0\0\0" and data[at + 6 : stop] == _XMP_ITEM


def _xmp_items(data: bytes, start: int, end: int) -> list[int]:
    """Return the numbers of the items that are XMP by their description."""
    own = [at for at, stop in _entries(data, start, end) if _is_xmp(data, at, stop)]
    return [int(struct.unpack_from(">H", data, at + 4)[0]) for at in own]


def _items(data: bytes, start: int, end: int) -> Iterator[str]:
    images = 0
    for at, stop in _entries(data, start, end):
        kind = data[at + 8 : at + 12] if data[at] == 2 else data[at + 10 : at + 14]
        images += kind == b"av01"
        if kind != b"av01" and not _is_xmp(data, at, stop):
            yield f"AVIF item {kind.decode('latin-1')}"
    if not 1 <= images <= 2:  # the image, and its alpha plane
        yield f"{images} AVIF images"


def _places(data: bytes, at: int) -> dict[int, list[Range]]:
    """Return number of an item -> where its bytes are, in the file (ISO/IEC 14496-12, 8.11.3).

    Raises:
        ValueError: an item lies elsewhere than in this file's own data.
    """
    version, offset_size, length_size = data[at], data[at + 4] >> 4, data[at + 4] & 15
    base_size, index_size = data[at + 5] >> 4, data[at + 5] & 15 if version else 0
    at, number_size = at + 6, 4 if version == 2 else 2

    def take(size: int) -> int:
        nonlocal at
        if at + size > len(data):
            raise ValueError("AVIF places of items are cut")
        at += size
        return int.from_bytes(data[at - size : at], "big")

    found: dict[int, list[Range]] = {}
    for _ in range(take(number_size)):
        number = take(number_size)
        if (version and take(2)) or take(2):
            raise ValueError(f"AVIF item {number} lies outside the file's data")
        base, extents = take(base_size), list[Range]()
        for _ in range(take(2)):
            take(index_size)
            low = base + take(offset_size)
            extents.append((low, low + take(length_size)))
        found[number] = extents
    return found


def _unused(stored: list[Range], used: list[Range]) -> Iterator[str]:
    """Yield bytes of the data that no item refers to, and items that lie elsewhere."""
    for start, end in stored:
        reached = start
        for low, high in sorted(place for place in used if start <= place[0] < end):
            if low > reached:
                yield f"{low - reached} bytes at {reached} that no AVIF item refers to"
            reached = max(reached, high)
        if reached != end:
            yield f"{end - reached} bytes at {reached} that no AVIF item refers to"
    for low, high in used:
        if not any(start <= low <= high <= end for start, end in stored):
            yield f"an AVIF item at {low} outside the file's data"


def _other_properties(data: bytes, start: int, end: int) -> Iterator[str]:
    for name, at, stop in _boxes(data, start, end):
        if name != b"ipco":
            continue
        for inner, begin, finish in _boxes(data, at, stop):
            if inner not in _PROPERTIES or (inner == b"colr" and data[begin : begin + 4] != b"nclx"):
                yield f"AVIF property {inner.decode('latin-1')} ({finish - begin} bytes)"


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, start of the body, end) of the boxes in a range (ISO/IEC 14496-12, 4.2)."""
    while at < end:
        size, name = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        stop = at + size if size else end
        if stop > end or stop < at + head:
            raise ValueError(f"AVIF box at {at} has {size} bytes")
        yield name, at + head, stop
        at = stop
