"""Truncated and bit-flipped files of every format."""

from __future__ import annotations

import random
from collections.abc import Iterator

from hostile_files import HostileImage
from hostile_files.ordinary import ordinary_files

_CUTS = 12
_FLIPS = 16


def files(seed: int) -> Iterator[HostileImage]:
    """Yield each ordinary file cut at 12 places, and with 1 to 24 bits flipped 16 times."""
    rng = random.Random(seed)
    for name, data in ordinary_files().items():
        stem, suffix = name.split(".")
        for at in sorted({*range(_CUTS // 2), *(len(data) * n // _CUTS for n in range(_CUTS)), len(data) - 1}):
            yield HostileImage("truncated", f"cut-{stem}-{at}.{suffix}", data[:at])
        for number in range(_FLIPS):
            yield HostileImage("bits flipped", f"flip-{stem}-{number}.{suffix}", _flip(data, rng))


def _flip(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4, 24])):
        limit = rng.choice([64, 200, len(data)])  # the structure lies at the start
        out[rng.randrange(min(limit, len(data)))] ^= 1 << rng.randrange(8)
    return bytes(out)
