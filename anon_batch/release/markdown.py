"""Text of users inside Markdown."""

from __future__ import annotations

from anon_batch.release.report.words import clean

_MARKUP = "\\`*_{}[]<>#|!&~$"


def plain(text: object) -> str:
    """Return text that Markdown shows as it is, on one line."""
    safe = " ".join(clean(str(text)).split())
    return "".join(f"\\{char}" if char in _MARKUP else char for char in safe)


def prose(text: str) -> str:
    """Return sentences that Markdown shows as they are, on one line, with what stands between backticks as code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return plain(text)
    return "".join(
        f"`{' '.join(clean(part).split())}`" if at % 2 else _with_edges(part) for at, part in enumerate(parts)
    )


def _with_edges(part: str) -> str:
    """Return the text as `plain` does, with the space around it."""
    start, end = (" " if part[:1].isspace() else ""), (" " if part[-1:].isspace() and part.strip() else "")
    return f"{start}{plain(part)}{end}"
