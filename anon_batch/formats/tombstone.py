"""The row that an erased row becomes: it keeps its place in its part, and nothing of the image."""

from __future__ import annotations

import hashlib
import re

ERASED = "erased"
LEFT_OF_ERASED = frozenset(
    {"image_id", "status", "reason", "models", "run_id", "tool_version"}
)  # columns; all others are empty
_ERASED_ID = re.compile(r"^erased/(\d+)\Z", re.ASCII)


def erased_id(row: int) -> str:
    """Return the id of an erased row, from its number in the release."""
    return f"{ERASED}/{row}"


def parse_erased_id(image_id: str) -> int | None:
    """Return the row number in the id of an erased row; None for any other id."""
    match = _ERASED_ID.match(image_id)
    return int(match[1]) if match else None


def digest_of(sha256: str) -> str:
    """Return the digest by which a tombstone names an output: the sha256 of its sha256 (32 bytes), in hexadecimal digits.

    Because an output without regions and metadata is byte for byte its original, its own sha256 would stay for ever.
    """
    return hashlib.sha256(bytes.fromhex(sha256)).hexdigest()
