"""Add an XMP packet to a TIFF by writing its directory again."""

from __future__ import annotations

import struct

XMP_TAG = 700
_BYTE, _LONG = 1, 4
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_INTEGERS = {3: "H", 4: "I"}
_OFFSETS = {273: 279, 324: 325}  # of strips and tiles -> their lengths


def mark_tiff(data: bytes, packet: bytes) -> bytes:
    """Return the TIFF with the same samples and tags, and tag 700 (XMP specification part 3, "TIFF").

    The strips or tiles come first, then the directory, then the values that do not fit in it, each at an even offset (TIFF
    6.0, section 2).

    Args:
        data: a plain TIFF (no BigTIFF) of one image.
        packet: the XMP packet.

    Raises:
        ValueError, KeyError, struct.error: the file is another one.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}[data[:4]]
    tags = _read_tags(data, order)
    if XMP_TAG in tags:
        raise ValueError("the TIFF holds XMP already")
    out = bytearray(8)
    for offsets, lengths in _OFFSETS.items():
        if offsets in tags:
            places = _move(data, out, _integers(tags[offsets], order), _integers(tags[lengths], order))
            tags[offsets] = _LONG, struct.pack(f"{order}{len(places)}I", *places)
    tags[XMP_TAG] = _BYTE, packet
    _align(out)
    out[:8] = data[:4] + struct.pack(f"{order}I", len(out))
    return bytes(out + _directory(tags, len(out), order))


def _read_tags(data: bytes, order: str) -> dict[int, tuple[int, bytes]]:
    """Return tag -> (type, values as they are stored) of the only directory."""
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    tags: dict[int, tuple[int, bytes]] = {}
    for at in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from(f"{order}HHI", data, at)
        size = _SIZES[kind] * number
        place = at + 8 if size <= 4 else struct.unpack_from(f"{order}I", data, at + 8)[0]
        tags[tag] = kind, data[place : place + size]
    if struct.unpack_from(f"{order}I", data, start + 2 + 12 * count)[0]:
        raise ValueError("the TIFF holds a further image")
    return tags


def _integers(values: tuple[int, bytes], order: str) -> tuple[int, ...]:
    kind, raw = values
    return struct.unpack(f"{order}{len(raw) // _SIZES[kind]}{_INTEGERS[kind]}", raw)


def _move(data: bytes, out: bytearray, offsets: tuple[int, ...], lengths: tuple[int, ...]) -> list[int]:
    """Append strips or tiles, and return where they are now."""
    places = []
    for offset, length in zip(offsets, lengths, strict=True):
        _align(out)
        places.append(len(out))
        out += data[offset : offset + length]
    return places


def _directory(tags: dict[int, tuple[int, bytes]], start: int, order: str) -> bytes:
    """Return a directory that lies at `start`, and behind it the values that it does not hold itself."""
    entries, values = bytearray(struct.pack(f"{order}H", len(tags))), bytearray()
    behind = start + 2 + 12 * len(tags) + 4
    for tag, (kind, raw) in sorted(tags.items()):
        entries += struct.pack(f"{order}HHI", tag, kind, len(raw) // _SIZES[kind])
        if len(raw) <= 4:
            entries += raw.ljust(4, b"\0")
        else:
            entries += struct.pack(f"{order}I", behind + len(values))
            values += raw
            _align(values)
    return bytes(entries + bytes(4) + values)


def _align(out: bytearray) -> None:
    out += bytes(len(out) % 2)
