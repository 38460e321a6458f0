"""Text of users inside Markdown."""

from __future__ import annotations

from anon_batch.release.report.words import clean


def plain(text: object) -> str:
    """Return text that Markdown shows as it is, on one line."""
    safe = " ".join(clean(str(text)).split())
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>#|!" else char for char in safe)
