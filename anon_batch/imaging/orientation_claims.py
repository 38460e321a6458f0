"""Find every orientation that a file states, because readers disagree about which statement counts.

Pillow turns by any number in the first EXIF block, else by XMP; OpenCV by two bytes of the first block, whatever their type;
browsers by a SHORT alone. The value taken is the one that Pillow's `exif_transpose` takes, and an integer of any other type.
All values that another reader may take are kept beside it, so that faces can be looked for in each of those positions.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from typing import NamedTuple

from anon_batch.imaging.tiff import Entry, first_directory

TAG = 0x0112
XMP_TAG = 700
SHORT = 3
_TIFF_START = re.compile(rb"(?:II|MM)(?:[*+]\0|\0[*+])")
_PLAIN_STARTS = (b"II*\0", b"MM\0*")  # the others are BigTIFF, or a number in the wrong byte order
_XMP = re.compile(rb"Orientation\s*(?:=\s*[\"']|>)\s*([0-9]+)")
_PREFIX_BYTES = 64  # where the TIFF structure of an EXIF block begins at the latest
_HEAD_BYTES = 6  # Exif and two zeros
_FORMATS = {
    1: "B",
    3: "H",
    4: "I",
    5: "II",
    6: "b",
    8: "h",
    9: "i",
    10: "ii",
    11: "f",
    12: "d",
    13: "I",
    16: "Q",
    17: "q",
}
_UPRIGHT = 1


class Orientation(NamedTuple):
    """What a file says about its orientation.

    Args:
        value: EXIF orientation 1..8 to turn by.
        others: what other readers may turn by, without `value`.
    """

    value: int = _UPRIGHT
    others: frozenset[int] = frozenset()

    def doubted(self) -> Orientation:
        """Return the same statement where some readers do not look for it."""
        return Orientation(self.value, (self.others | {_UPRIGHT}) - {self.value})


def read_exif(block: bytes) -> Orientation | None:
    """Return what an EXIF block says, with or without bytes before its TIFF structure; None without the tag."""
    start = _TIFF_START.search(block, 0, _PREFIX_BYTES)
    own = None if start is None else read_tiff(block[start.start() :])
    if own is None or start is None or (start[0] in _PLAIN_STARTS and start.start() in (0, _HEAD_BYTES)):
        return own
    return own.doubted()


def read_tiff(tiff: bytes) -> Orientation | None:
    """Return what the first directory of a TIFF structure says; None without the tag."""
    found = [_read_entry(tiff, entry) for entry in first_directory(tiff) if entry.tag == TAG]
    return settle(reversed(found)) if found else None  # because Pillow takes the last one


def read_xmp(packet: bytes) -> Orientation | None:
    """Return what an XMP packet says, as an attribute or an element, in UTF-8 or UTF-16; None without the property."""
    numbers = [match[1][:3] for match in _XMP.finditer(packet.replace(b"\0", b""))]
    values = [_legal(int(number)) for own in numbers for number in (own[:1], own)]  # because Pillow takes one digit
    return Orientation(values[0], frozenset(values[1:]) - {values[0]}).doubted() if values else None


def settle(statements: Iterable[Orientation | None], doubtful: Iterable[Orientation | None] = ()) -> Orientation:
    """Return one statement from many: the value of the first, and all the others beside it.

    Args:
        statements: in the order in which Pillow would take them; None says nothing.
        doubtful: what Pillow does not look at, but another reader may.
    """
    known = [statement for statement in statements if statement is not None]
    first, *rest = known or [Orientation()]
    rest += [statement for statement in doubtful if statement is not None]
    # Whether a reader looks for what agrees with the first does not matter.
    others = {*first.others, *(own.value for own in rest), *(o for own in rest for o in own.others if o != _UPRIGHT)}
    return Orientation(first.value, frozenset(others) - {first.value})


def _read_entry(tiff: bytes, entry: Entry) -> Orientation:
    raw = tiff[entry.place : entry.place + 4]
    short = struct.unpack(f"{entry.order}H", raw[:2])[0]
    if entry.kind == SHORT and entry.number == 1:
        return Orientation(_legal(short))
    texts = (entry.read(tiff, 1), raw[:1])  # because a byte, or a digit, may stand for a number
    loose = [short, *(text[0] for text in texts if text), *(int(text) for text in texts if text.isdigit())]
    others = frozenset({_UPRIGHT, *map(_legal, loose)})
    kind = _FORMATS.get(entry.kind)
    if kind is None:
        return Orientation(_UPRIGHT, others - {_UPRIGHT})
    stored = entry.read(tiff, struct.calcsize(f"={kind}"))
    value = _UPRIGHT
    if len(stored) == struct.calcsize(f"={kind}"):
        top, *bottom = struct.unpack(entry.order + kind, stored)
        if not bottom or bottom[0]:
            value = _legal(top / bottom[0] if bottom else top)
    return Orientation(value, others - {value})


def _legal(value: float) -> int:
    """Return an orientation 1..8; 1 for any other number, as readers do."""
    return int(value) if value in range(1, 9) else _UPRIGHT
