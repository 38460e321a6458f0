"""Standard output for results, standard error for everything else."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console

from anon_batch.errors import ExitCode
from anon_batch.records import STATUSES
from anon_batch.redaction import redact

UNFINISHED = "not finished (running or interrupted; run the same command to resume)"

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def fail(message: str, exit_code: ExitCode) -> int:
    """Print an error without the credentials that an address in it may hold; return the exit code for `sys.exit`."""
    err.print(f"anon-batch: {redact(message)}", markup=False, style="red" if err.is_terminal else None)
    return int(exit_code)


def print_json(value: Any) -> None:
    """Print one JSON document."""
    print(json.dumps(value, indent=1))  # noqa: T201  because rich would wrap and color it


def statuses_line(statuses: dict[str, int]) -> str:
    """Return e.g. `1,200 anonymized, 34 clean, 0 withheld, 2 failed`."""
    return ", ".join(f"{statuses.get(status, 0):,} {status}" for status in STATUSES)
