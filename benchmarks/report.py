"""Contenders in turn, round after round, and a table of their rates and of ratios within rounds."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple


class Result(NamedTuple):
    """What a contender did in one round.

    Args:
        images_per_s: images a second in its steady part, models loaded and every worker busy.
        cpu_ms: CPU time of all its processes an image, start included.
        peak_mib: of all its processes together.
    """

    images_per_s: float
    cpu_ms: float
    peak_mib: float


Contender = Callable[[], Result]
Results = dict[str, list[Result]]


def play(contenders: Mapping[str, Contender], rounds: int) -> Results:
    """Run every contender once a round; each round begins with another one, because machines slow down and speed up."""
    names, results = list(contenders), {name: [] for name in contenders}  # type: tuple[list[str], Results]
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            results[name].append(contenders[name]())
            print(
                f"round {number + 1}/{rounds}: {name}: {results[name][-1].images_per_s:.2f} images/s", file=sys.stderr
            )
    return results


def table(title: str, results: Results, pairs: Iterable[tuple[str, str]]) -> str:
    """Return text: a line a contender with min / median / max over the rounds, then the ratios of the pairs.

    A ratio is taken within each round, then its min / median / max, because what else the machine does changes between
    rounds.
    """
    width = max(len(name) for name in results)
    lines = [title, f"  {'':{width}}  {'images/s':>22}  {'CPU ms an image':>22}  {'peak MiB':>22}"]
    for name, rounds in results.items():
        columns = (_spread([getattr(result, field) for result in rounds]) for field in Result._fields)
        lines.append(f"  {name:{width}}  " + "  ".join(f"{column:>22}" for column in columns))
    for upper, lower in pairs:
        each = zip(results[upper], results[lower], strict=True)
        ratios = [tuple(a / b if b else 0.0 for a, b in zip(mine, other, strict=True)) for mine, other in each]
        speed, cpu, memory = (_spread(list(column)) for column in zip(*ratios, strict=True))
        lines.append(f"  {upper} / {lower}: images/s {speed}, CPU {cpu}, peak memory {memory}")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    digits = 0 if min(values) >= 100 else 2
    return " / ".join(f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values)))


def medians(results: Results) -> dict[str, dict[str, float]]:
    """Return the median of each figure of each contender, for JSON."""
    return {
        name: {field: statistics.median(getattr(result, field) for result in rounds) for field in Result._fields}
        for name, rounds in results.items()
    }
