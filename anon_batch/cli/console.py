"""What the user reads: results to standard output, everything else to standard error."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console

from anon_batch.errors import ExitCode

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def fail(message: str, exit_code: ExitCode) -> int:
    """Print an error; return the exit code for `sys.exit`."""
    err.print(f"anon-batch: {message}", markup=False, style="red" if err.is_terminal else None)
    return int(exit_code)


def print_json(value: Any) -> None:
    """One JSON document for machines."""
    print(json.dumps(value, indent=1))  # noqa: T201  rich would wrap and colour it


def count(number: int) -> str:
    """A number with thousands separated."""
    return f"{number:,}"


def duration(seconds: float | None) -> str:
    """Hours, minutes and seconds as people say them."""
    if seconds is None:
        return "unknown"
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {secs:02} s" if minutes else f"{secs} s"


def statuses_line(statuses: dict[str, int]) -> str:
    """`1,200 anonymized, 34 clean, 0 withheld, 2 failed`."""
    return ", ".join(f"{count(statuses.get(s, 0))} {s}" for s in ("anonymized", "clean", "withheld", "failed"))
