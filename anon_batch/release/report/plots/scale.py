"""Scales: values to places along an axis, and where its ticks are."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_STEPS = (1, 2, 2.5, 5, 10)
_DECADES = 7  # of a logarithmic axis that have a tick each


@dataclass(frozen=True, slots=True)
class Scale:
    """Map values from `low` to `high` to places from `start` to `end`.

    Args:
        low, high: ends of the axis, low < high; both above 0 on a logarithmic one.
        start, end: places of the ends, px.
        log: whether equal steps are equal ratios.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def place(self, value: float) -> float:
        """Return the place of a value; one outside the axis is put to its end."""
        value = min(max(value, self.low), self.high)
        if self.log:
            share = (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Return round values on the axis, about as many as asked for."""
        return _log_ticks(self.low, self.high) if self.log else _ticks(self.low, self.high, about)


def scale_over(values: Iterable[float], start: float, end: float, *, log: bool = False, zero: bool = False) -> Scale:
    """Return a scale that holds all values and ends at round ones.

    Args:
        values: finite; on a logarithmic scale those up to 0 are ignored.
        start: place of the low end, px.
        end: place of the high end, px.
        log: whether it is logarithmic.
        zero: whether 0 is on the axis.
    """
    found = [value for value in values if not log or value > 0]
    low, high = min(found, default=0.0), max(found, default=1.0)
    if log:
        low, high = (low, high) if found else (0.1, 1.0)
        low, high = 10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high))
        return Scale(low, high if high > low else 10 * low, start, end, True)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low <= abs(high) * 1e-12:
        low, high = (min(0.0, 2 * low), max(0.0, 2 * high)) if high else (-1.0, 1.0)
    step = _step((high - low) / 5)
    return Scale(math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step, start, end)


def _step(rough: float) -> float:
    """Return the smallest round number from `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in _STEPS if step * power >= rough * (1 - 1e-9))


def _ticks(low: float, high: float, about: int) -> list[float]:
    step = _step((high - low) / about)
    first = math.ceil(low / step - 1e-9)
    return [float(f"{index * step:.12g}") + 0.0 for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    stride = max(1, math.ceil((last - first) / _DECADES))
    ticks = [10.0**power for power in range(first, last + 1, stride)]
    if last - first <= 1:
        ticks += [factor * 10.0**power for power in range(first, last) for factor in (2, 5)]
    return sorted(ticks)
