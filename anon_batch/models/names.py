"""Looking up a name that a user wrote."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from anon_batch.errors import UnknownNameError


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """The error for a name that nothing has: names the nearest legal one and lists all.

    Args:
        kind: what was looked for, e.g. "detector".
        name: what the user wrote.
        known: the legal names.
    """
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return UnknownNameError(f"unknown {kind} {name!r}.{hint} Known: {', '.join(names) or 'none'}.")
