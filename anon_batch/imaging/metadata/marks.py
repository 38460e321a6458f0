"""Judge the marks of generated content that an inspection met."""

from __future__ import annotations

from collections.abc import Sequence

MARK = "mark of generated content"
"""What an inspector yields for the exact packet at its place; every other XMP is a finding of its own."""


def judge_marks(findings: Sequence[str], *, is_expected: bool) -> list[str]:
    """Return the findings with those about the mark: it is missing, there without reason, or there more than once."""
    count = findings.count(MARK)
    others = [finding for finding in findings if finding != MARK]
    if count == is_expected:
        return others
    if count > 1:
        return [*others, f"{count} marks of generated content"]
    return [*others, f"a {MARK}, but nothing generated" if count else f"no {MARK}"]
