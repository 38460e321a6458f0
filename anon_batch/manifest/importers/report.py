"""What the importers found and left out. Every entry is listed, opened, used as a field, or skipped with a reason."""

from __future__ import annotations

import json
import posixpath
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from anon_batch.manifest.skip_reasons import SKIP_REASONS

NAMES_SHOWN = 20
_SHOWN_CHARACTERS = 300
_SUFFIXES_COUNTED = 200


class Progress(Protocol):
    """Hears about what is being listed."""

    def archive(self, uri: str, position: int, size_bytes: int) -> None:
        """Take the address of a remote archive, the position of the next request in it, and its size."""

    def rows(self, count: int) -> None:
        """Take the number of rows that are listed."""

    def lines(self, given: str, count: int) -> None:
        """Take the address of a joined table, and the number of its lines that are read."""


@dataclass
class ImportReport:
    """Counts what the importers found.

    Args:
        log: file that gets a JSON line for each skipped entry; None keeps only the counts.
        progress: hears what is being read.

    Attributes:
        found_count: files, members of archives and rows that were seen.
        opened_count: archives and tables among them, whose own entries are counted instead.
        fields_count: members that became columns of an image's row.
        skipped: reason -> number of entries.
        suffixes: suffix -> number of files that are not images.
        names: reason -> the first names.
        first_details: reason -> the first detail.
        renamed: column -> its new name, because the release writes its own column under the old one, or it has another meaning.
        dropped: columns left out, because they hold binary data or further addresses of the sources.
        differing: columns of joined tables whose classes have other names in some of the files.
        columns: names of all columns that were seen.
        source: the one that is being read, as the user wrote it.
        containers: archives and tables that a folder holds, not opened yet.
        outside_links: folders outside the sources that links of listed images lead to.
    """

    log: Path | None = None
    progress: Progress | None = None
    found_count: int = 0
    opened_count: int = 0
    fields_count: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    suffixes: dict[str, int] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    first_details: dict[str, str] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)
    differing: set[str] = field(default_factory=set)
    columns: set[str] = field(default_factory=set)
    containers: list[str] = field(default_factory=list)
    outside_links: dict[str, int] = field(default_factory=dict)
    source: str = ""
    _file: Any = field(default=None, repr=False)

    def skip(self, name: str, reason: str, detail: str = "") -> None:
        """Record an entry that is not in the manifest.

        Args:
            name: its path below the source, `ARCHIVE!MEMBER`, or `TABLE#row=N`.
            reason: a code of SKIP_REASONS.
            detail: what else is known.

        Raises:
            KeyError: no such reason.
        """
        self.skipped[SKIP_REASONS[reason].code] += 1
        if detail and reason not in self.names:
            self.first_details[reason] = printable(detail)
        shown = self.names.setdefault(reason, [])
        if len(shown) < NAMES_SHOWN:
            shown.append(printable(name))
        if reason == "not_an_image":
            self._count_suffix(name)
        if self.log is not None:
            if self._file is None:
                self._file = self.log.open("w", encoding="ascii")
            entry = {"source": self.source, "name": name, "reason": reason, **({"detail": detail} if detail else {})}
            self._file.write(json.dumps(entry) + "\n")

    def _count_suffix(self, name: str) -> None:
        label = posixpath.splitext(name.rpartition("!")[2])[1].lower() or "(no suffix)"
        if label not in self.suffixes and len(self.suffixes) >= _SUFFIXES_COUNTED:
            label = "(other suffixes)"
        label = printable(label)
        self.suffixes[label] = self.suffixes.get(label, 0) + 1

    def reading(self, uri: str, position: int, size_bytes: int) -> None:
        """Tell about a request for a part of a remote archive."""
        if self.progress is not None:
            self.progress.archive(uri, position, size_bytes)

    @property
    def skipped_count(self) -> int:
        return self.skipped.total()

    @property
    def losses(self) -> dict[str, int]:
        """Reason -> number of the skipped entries that may be images."""
        return {reason: count for reason, count in self.skipped.items() if SKIP_REASONS[reason].is_loss}

    def close(self) -> None:
        """Finish the log."""
        if self._file is not None:
            self._file.close()
            self._file = None


def printable(name: str) -> str:
    """Return a name that a terminal shows: a long one is cut, control characters and bytes that are not UTF-8 are escaped."""
    if len(name) > _SHOWN_CHARACTERS:
        name = f"{name[: _SHOWN_CHARACTERS - 3]}..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in name)
