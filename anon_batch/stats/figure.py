"""A measured number with what a reader needs to judge it: its interval, of how many, and why it is missing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_KEYS = frozenset({"value", "low", "high", "n", "unit", "note"})


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a report.

    Args:
        value: the estimate; None if it was not measured, and then `note` says why.
        low, high: bounds of its interval, 95 % unless `note` says otherwise; None where there is none. A one-sided bound has
            only one of them.
        n: how many of `unit` it rests on.
        unit: what `n` counts, for example `labelled faces` or `persons`.
        note: what a reader must know: the kind of interval, a limit, or why there is no value.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    unit: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                raise ValueError(f"{name} is {number}, expected a finite number or None")
        if self.value is None and not self.note:
            raise ValueError("a figure without a value needs a note that says why")

    @classmethod
    def missing(cls, why: str) -> Figure:
        """Return a figure that was not measured."""
        return cls(None, note=why)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value; what is empty is left out, except `value`."""
        fields = {name: getattr(self, name) for name in ("value", "low", "high", "n", "unit", "note")}
        return {name: own for name, own in fields.items() if name == "value" or own not in (None, "")}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Figure:
        """Return what `to_json` wrote; ValueError, KeyError or TypeError for anything else."""
        if unknown := set(fields) - _KEYS:
            raise ValueError(f"unknown keys {sorted(unknown)}")
        for name in ("value", "low", "high"):
            if type(fields.get(name)) not in (int, float, type(None)):
                raise TypeError(f"{name} must be a number or null")
        if type(fields.get("n")) not in (int, type(None)):
            raise TypeError("n must be a whole number")
        if not all(isinstance(fields.get(name, ""), str) for name in ("unit", "note")):
            raise TypeError("unit and note must be text")
        return cls(**{"value": fields["value"], **fields})
