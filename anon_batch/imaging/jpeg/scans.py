"""Tell whether the scans of a JPEG without an end marker hold the whole image, and number their restarts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from anon_batch.errors import FailedError

_ARITHMETIC = frozenset(range(0xC9, 0xD0))
_RESTART = re.compile(rb"\xff+[\xd0-\xd7]")
PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})


def check_complete(sof: int, components: Sequence[int], scans: Sequence[bytes]) -> None:
    """Check that no scan is missing. Whether each scan's own data is whole shows when it is decoded.

    Args:
        sof: marker of the frame header.
        components: ids of the frame's components.
        scans: the scan headers, from the number of components on.

    Raises:
        FailedError: `truncated`.
    """
    if sof in _ARITHMETIC:  # because its decoders take missing data for zeros and do not say so
        raise FailedError("truncated", "JPEG: arithmetic coding without an end marker")
    bits: dict[int, list[int | None]] = {own: [None] * 64 for own in components}
    for scan in scans:
        count = scan[0] if scan else 0
        tail = scan[1 + 2 * count : 4 + 2 * count]
        if len(tail) < 3:
            raise FailedError("decode", "JPEG: a scan header that is too short")
        first, last, low = (tail[0], tail[1], tail[2] & 15) if sof in PROGRESSIVE else (0, 63, 0)
        for own in scan[1 : 1 + 2 * count : 2]:
            for at in range(first, min(last, 63) + 1) if own in bits else ():
                bits[own][at] = low
    if any(low != 0 for lows in bits.values() for low in lows):
        raise FailedError("truncated", "the JPEG ends before its last scan, and has no end marker")


def number_restarts(data: bytes, scans: Iterable[tuple[int, int]]) -> bytes:
    """Return the file with the restart markers of each scan numbered from 0 to 7 and over again.

    Args:
        data: the file.
        scans: where the coded data of each scan begins and ends.
    """
    out: list[bytes] = []
    at = 0
    for start, end in scans:
        pieces = _RESTART.split(data[start:end])
        out += [data[at:start], pieces[0]]
        out += [bytes([0xFF, 0xD0 + number % 8]) + piece for number, piece in enumerate(pieces[1:])]
        at = end
    return b"".join([*out, data[at:]])
