"""Which images of a review show a planted face, sealed against a glance. It is no secret, because the page has to know."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Iterator, Sequence

from anon_batch.release.review.draw import Sample

Box = tuple[float, float, float, float]

_ITEM = struct.Struct("<B4f")  # flag, box
_FILLER = b"filler"


def review_id(sample: Sample, image_ids: Sequence[str], planted: Sequence[Box | None]) -> str:
    """Return the id of a review, 16 hex digits: of the sample, the order of images and the truth.

    Args:
        sample: of the release.
        image_ids: of all images that are shown, in their order.
        planted: for each the box of the planted face, or None.
    """
    content = [
        sample.run_id,
        sample.settings.to_json(),
        sample.sha256,
        list(image_ids),
        [own is not None for own in planted],
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def seal(identity: str, planted: Sequence[Box | None]) -> str:
    """Return the truth as base64, 17 bytes for each image: the lowest bit of the first says whether a face is planted.

    Args:
        identity: of the review.
        planted: for each image the box of the planted face, px of the upright output, or None.
    """
    filler = hashlib.shake_256(_FILLER + identity.encode()).digest(_ITEM.size * len(planted))
    out = bytearray()
    for index, box in enumerate(planted):
        noise = filler[_ITEM.size * index : _ITEM.size * (index + 1)]
        out += noise if box is None else _ITEM.pack(0, *box)
        out[_ITEM.size * index] = (noise[0] & 0xFE) | (box is not None)
    return base64.b64encode(bytes(a ^ b for a, b in zip(out, _keystream(identity), strict=False))).decode()


def unseal(identity: str, sealed: str) -> list[Box | None]:
    """Return what `seal` was given, boxes rounded to single precision.

    Raises:
        ValueError: it is not what `seal` returned.
    """
    data = bytes(a ^ b for a, b in zip(base64.b64decode(sealed, validate=True), _keystream(identity), strict=False))
    if len(data) % _ITEM.size:
        raise ValueError("the sealed list has a wrong length")
    items = list(_ITEM.iter_unpack(data))
    return [(x1, y1, x2, y2) if flag & 1 else None for flag, x1, y1, x2, y2 in items]


def is_caught(planted: Box, boxes: Sequence[Box]) -> bool:
    """Return whether a mark `missed` with these boxes found a planted face: no box is drawn, or one touches it."""
    return not boxes or any(touches(planted, box) for box in boxes)


def touches(one: Box, other: Box) -> bool:
    """Return whether two boxes have an area in common."""
    return max(one[0], other[0]) < min(one[2], other[2]) and max(one[1], other[1]) < min(one[3], other[3])


def _keystream(identity: str) -> Iterator[int]:
    """Yield bytes of a linear congruential generator modulo 2^32 (Numerical Recipes' constants), which the page repeats."""
    state = int(identity[:8], 16)
    while True:
        state = (1664525 * state + 1013904223) % 2**32
        yield state >> 24
