"""Count the verdicts of judges on blind sheets.

A verdict is a text file with a line for each cell: its number and letter, and what the judge says, as in `12a natural`.
Lines that start with # are comments.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from anon_batch.errors import ConfigError
from anon_batch.stats.intervals import wilson

WORDS = ("natural", "passable", "pasted")


def tally(pairs: Sequence[tuple[Path, Path]]) -> str:
    """Return a table of verdicts by variant.

    Args:
        pairs: key and verdict of each sheet.

    Raises:
        ConfigError: a verdict names a cell that the key lacks, or another word, or judges a cell twice.
    """
    counts: dict[str, Counter[str]] = {}
    for key, verdict in pairs:
        names = json.loads(key.read_text("utf-8"))
        for cell, word in _lines(verdict):
            if cell not in names:
                raise ConfigError(f"{verdict}: cell {cell!r} is not in {key}")
            counts.setdefault(names[cell], Counter())[word] += 1
    width = max((len(name) for name in counts), default=4)
    rows = [f"{'':{width}}  {'judged':>6}" + "".join(f"{word:>20}" for word in WORDS)]
    for name, own in sorted(counts.items()):
        total = own.total()
        cells = []
        for word in WORDS:
            low, high = wilson(own[word], total) or (0.0, 1.0)
            cells.append(f"{own[word]} ({low:.0%} - {high:.0%})")
        rows.append(f"{name:{width}}  {total:>6}" + "".join(f"{cell:>20}" for cell in cells))
    return "\n".join(rows)


def _lines(verdict: Path) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for line in verdict.read_text("utf-8").splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 2 or words[1] not in WORDS:
            raise ConfigError(
                f"{verdict}: {line!r}; expected a cell and one of {', '.join(WORDS)}, as in `12a natural`"
            )
        if words[0] in found:
            raise ConfigError(f"{verdict}: cell {words[0]!r} is judged twice")
        found[words[0]] = words[1]
    return list(found.items())
