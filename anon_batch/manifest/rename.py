"""Read columns under other names, or not at all, because the same name means different things in different tables."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from anon_batch.errors import ManifestError

Renames = Mapping[str, str | None]  # column -> the name that it is read under; None ignores it


def read_names(names: Sequence[str], renames: Renames) -> list[tuple[str, str]]:
    """Return (name in the file, name that it is read under) of the columns that are read, in the file's order."""
    pairs = ((name, renames.get(name, name)) for name in names)
    return [(name, read) for name, read in pairs if read is not None]


def require_columns(names: Sequence[str], renames: Renames, where: str) -> None:
    """Check that the file has the renamed columns.

    Raises:
        ManifestError: it has not; suggests the nearest name.
    """
    for name in renames:
        if name not in names:
            nearest = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean `{nearest[0]}`? " if nearest else ""
            raise ManifestError(f"{where}: no column `{name}` to rename or ignore; {hint}columns: {', '.join(names)}")
