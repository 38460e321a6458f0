"""How far two reviewers agree.

Source: J. Cohen, A coefficient of agreement for nominal scales, Educational and Psychological Measurement 20 (1960), 37-46; its
approximate standard error is formula 7 there.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

from anon_batch.stats.figure import Figure

_Z = 1.959964


def cohens_kappa(one: Sequence[Hashable], other: Sequence[Hashable], unit: str) -> Figure:
    """Return Cohen's kappa of two raters: 1 where they always agree, 0 for the agreement of chance.

    Args:
        one: verdicts of one rater.
        other: those of the other on the same things, in the same order.
        unit: what they judged.

    Raises:
        ValueError: they judged different numbers of things.
    """
    if len(one) != len(other):
        raise ValueError(f"{len(one)} and {len(other)} verdicts, expected as many")
    n = len(one)
    if not n:
        return Figure.missing(f"no two reviewers judged the same {unit}")
    agreed = sum(a == b for a, b in zip(one, other, strict=True)) / n
    first, second = Counter(one), Counter(other)
    expected = sum(first[name] * second[name] for name in first) / n**2
    if expected == 1:
        return Figure.missing(
            f"both reviewers gave all {n} {unit} one and the same verdict; kappa needs two different ones"
        )
    kappa = (agreed - expected) / (1 - expected)
    half = _Z * math.sqrt(agreed * (1 - agreed) / n) / (1 - expected)
    note = f"Cohen's kappa; they agreed on {100 * agreed:.1f} %; approximate 95 % interval"
    return Figure(kappa, max(-1.0, kappa - half), min(1.0, kappa + half), n, unit, note)
