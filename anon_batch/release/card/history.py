"""The versions of a release, the newest first: what made each, when, and what it changed."""

from __future__ import annotations

from typing import NamedTuple

from anon_batch.formats.version_json import Version
from anon_batch.release.report.finished import FinishedRelease
from anon_batch.units import format_count, format_counted


class VersionLine(NamedTuple):
    """What a reader is to know about a version."""

    number: int
    made_at: str
    made_by: str
    changes: str
    tool_version: str


def list_versions(finished: FinishedRelease) -> tuple[VersionLine, ...]:
    """Return a line for each version; a release that nothing changed has one, that of its run."""
    record = finished.run
    made_at, rows = record.finished_at or record.created_at, format_counted(record.rows, "row")
    lines = [VersionLine(1, made_at, "run", rows, record.tool_version)]
    lines += [
        VersionLine(own.number, own.created_at, own.kind, _changes(own), own.tool_version)
        for own in finished.release.versions
        if own.kind != "run"
    ]
    return tuple(reversed(lines))


def _changes(version: Version) -> str:
    """Return e.g. `erased 2` or `anonymized 2, withheld 1`: what happened to how many rows."""
    return (
        ", ".join(f"{name.replace('_', ' ')} {format_count(number)}" for name, number in version.changes.items())
        or "nothing"
    )
