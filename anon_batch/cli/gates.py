"""Prints the gates of a release."""

from __future__ import annotations

import dataclasses
from typing import Any

from anon_batch.cli.console import out
from anon_batch.formats import layout
from anon_batch.formats.gates_json import GateResult, Gates
from anon_batch.units import format_share


def show_gates(gates: Gates | None) -> None:
    """Print one line for each gate; nothing for a run that is not finished."""
    for result in () if gates is None else gates.results:
        out.print(_line(result), markup=False)


def gates_for_machines(gates: Gates | None) -> dict[str, Any]:
    """Return the keys `gates_passed` and `gates` of the JSON output; null for a run that is not finished."""
    if gates is None:
        return {"gates_passed": None, "gates": None}
    return {"gates_passed": gates.passed, "gates": [dataclasses.asdict(result) for result in gates.results]}


def _line(result: GateResult) -> str:
    verdict = "passed  " if result.passed else "EXCEEDED"
    bound = "at most" if result.kind == "at_most" else "at least"
    value = "" if result.value is None else f"{format_share(result.value)}, "
    source = "" if result.evidence in ("", layout.STATS) else f"; {result.evidence}"
    limit = f"(limit: {bound} {format_share(result.limit)}{source})"
    return f"gate     {verdict} {result.name}: {value}{result.note} {limit}"
