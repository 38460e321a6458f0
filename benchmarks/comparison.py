"""Contenders in turn, round after round: ratios within a round, their median and their spread. Arithmetic alone.

A ratio is taken within a round, as what else the machine does changes between rounds.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

_Result = TypeVar("_Result")


class Rate(NamedTuple):
    """What a contender did in its steady stretch.

    Args:
        images_per_s: pictures a second.
        seconds: length of the stretch.
        cpu_ms: CPU time of all its processes for one picture; None where nobody watched.
    """

    images_per_s: float
    seconds: float
    cpu_ms: float | None = None


def play(
    contenders: Mapping[str, Callable[[int], _Result]], rounds: int, say: Callable[[str], None]
) -> dict[str, list[_Result]]:
    """Calls every contender once a round with the round's number; each round begins with another one.

    Args:
        contenders: name -> what it does.
        rounds: how often.
        say: hears how it goes.

    Returns:
        Name -> a result a round.
    """
    names = list(contenders)
    results: dict[str, list[_Result]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            results[name].append(contenders[name](number))
            say(f"round {number + 1} of {rounds}: {name}: {_said(results[name][-1])}")
    return results


def _said(result: object) -> str:
    return f"{result.images_per_s:.2f} images/s" if isinstance(result, Rate) else str(result)


def of_rates(
    results: Mapping[str, Sequence[Rate]],
    pairs: Iterable[tuple[str, str]],
    targets: Mapping[str, float] | None = None,
    by_cpu: Iterable[tuple[str, str]] = (),
) -> dict[str, Any]:
    """The figures of a comparison.

    Args:
        results: contender -> its rate in each round.
        pairs: contenders whose rates are divided, the first by the second.
        targets: name of a ratio (`a / b`) -> its least value.
        by_cpu: contenders whose pictures for a second of CPU time are divided too, where that was watched.

    Returns:
        `contenders`: name -> images/s and CPU ms a picture, each round's and the median; `ratios`: see `ratio`.
    """
    contenders = {
        name: {
            "images_per_s": [rate.images_per_s for rate in rates],
            "median_images_per_s": statistics.median(rate.images_per_s for rate in rates),
            "cpu_ms": [rate.cpu_ms for rate in rates],
            "median_cpu_ms": median_of([rate.cpu_ms for rate in rates]),
        }
        for name, rates in results.items()
    }
    known = targets or {}
    ratios = {}
    for upper, lower in pairs:
        name, fast, slow = f"{upper} / {lower}", results[upper], results[lower]
        ratios[name] = ratio(
            [rate.images_per_s for rate in fast], [rate.images_per_s for rate in slow], known.get(name)
        )
    for upper, lower in by_cpu:
        over, under = ([rate.cpu_ms for rate in results[name] if rate.cpu_ms] for name in (lower, upper))
        if len(over) == len(under) == len(results[upper]):
            ratios[f"{upper} / {lower} by CPU time"] = ratio(over, under)
    return {"contenders": contenders, "ratios": ratios}


def ratio(upper: Sequence[float], lower: Sequence[float], target: float | None = None) -> dict[str, Any]:
    """Quotients of the rounds' pairs: `each`, `median`, `least`, `most`; with a target also `target` and `met`.

    Raises:
        ValueError: not as many of the one as of the other.
    """
    each = [a / b for a, b in zip(upper, lower, strict=True)]
    found: dict[str, Any] = {
        "each": each,
        "median": statistics.median(each),
        "least": min(each),
        "most": max(each),
    }
    if target is not None:
        found |= {"target": target, "met": found["median"] >= target}
    return found


def check(value: float, limit: float, unit: str, *, at_most: bool) -> dict[str, Any]:
    """A figure with its limit: `value`, `limit`, `unit`, `at_most`, `met`."""
    met = value <= limit if at_most else value >= limit
    return {"value": value, "limit": limit, "unit": unit, "at_most": at_most, "met": met}


def median_of(values: Sequence[float | None]) -> float | None:
    """The median of those that are there; None where none is."""
    there = [value for value in values if value is not None]
    return statistics.median(there) if there else None


def missed(sections: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names of the ratios and checks of all sections that miss their target."""
    return [
        f"{section}: {name}"
        for section, figures in sections.items()
        for kind in ("ratios", "checks")
        for name, found in figures.get(kind, {}).items()
        if not found.get("met", True)
    ]
