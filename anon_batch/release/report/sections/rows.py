"""Rows: how they ended, and why some have no output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from anon_batch.reasons import REASONS
from anon_batch.records import STATUSES
from anon_batch.release.report.document import Block, Section, Text, table
from anon_batch.units import format_count

MOST_REASONS = 40
_MEANINGS = {
    "anonymized": "every detection is anonymized",
    "clean": "nothing was detected; published as it is, without metadata",
    "withheld": "no output passed all checks, so there is none",
    "failed": "the source could not be read",
}


def rows_section(summary: Mapping[str, Any]) -> Section:
    """Return how all rows of the manifest ended."""
    rows = int(summary["rows"])
    counts = {status: int(summary["statuses"].get(status, 0)) for status in STATUSES}
    shares = {status: count / rows if rows else 0.0 for status, count in counts.items()}
    title = f"How the {format_count(rows)} rows of the manifest ended"
    blocks: list[Block] = [
        *table(
            "statuses",
            title,
            {"status": "text", "rows": "count", "share": "share", "meaning": "text"},
            [(status, count, shares[status], _MEANINGS[status]) for status, count in counts.items()],
        ),
        *_reasons(summary["reasons"], rows),
    ]
    return Section("rows", "Rows", tuple(blocks))


def _reasons(reasons: Mapping[str, Any], rows: int) -> Iterator[Block]:
    flat: list[tuple[int, str, str]] = []
    for status, inner in reasons.items():
        if isinstance(inner, Mapping):
            flat += [(int(count), str(status), str(code)) for code, count in inner.items()]
        else:
            flat.append((int(inner), "", str(status)))
    flat.sort(key=lambda own: (-own[0], own[1:]))
    if not flat:
        yield Text("Every row has an output.")
        return
    shown = flat[:MOST_REASONS]
    rest = sum(count for count, _, _ in flat[MOST_REASONS:])
    note = f"The {MOST_REASONS} most frequent of {format_count(len(flat))} reasons; the others have {format_count(rest)} rows."
    yield from table(
        "reasons",
        "Failures by reason: why rows have no output",
        {
            "reason": "code",
            "status": "text",
            "rows": "count",
            "share": "share",
            "what happened": "text",
            "what to do": "text",
        },
        [(code, status, count, count / rows if rows else 0.0, *_explained(code)) for count, status, code in shown],
        note if len(flat) > MOST_REASONS else "",
    )


def _explained(code: str) -> tuple[str, str]:
    reason = REASONS.get(code)
    return (
        ("reasons beyond the number that statistics keep", "see the provenance")
        if reason is None
        else (reason.meaning, reason.fix)
    )
