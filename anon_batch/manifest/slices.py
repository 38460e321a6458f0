"""The private columns `slice_*` of a manifest: groups of images, whose figures the statistics show side by side.

No row of a release holds them. `publish.slices` checks them.
"""

from __future__ import annotations

from typing import Any

PREFIX = "slice_"
UNKNOWN = "unknown"


def is_slice(name: str) -> bool:
    """Return whether a column of this name is private and goes to the statistics alone."""
    return name.startswith(PREFIX)


def as_word(value: Any) -> str:
    """Return a value as the statistics show it."""
    if value is None or value == "":
        return UNKNOWN
    return str(value).lower() if isinstance(value, bool) else str(value)
