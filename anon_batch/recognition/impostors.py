"""How alike impostors, other people, look to a photograph, and from which similarity on somebody is hardly one.

Nearly all faces of a data set show other people than the photograph, so its own similarities to them say how alike impostors
look: between the median and the highest fifth they follow a normal distribution, whose tail is expected beyond. The highest fifth
does not count, because the wanted person is there. So no figure comes from studio portraits, which look less alike than the faces
of one data set.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

MIN_IMPOSTORS = 30  # because fewer scores have no tail that could be continued
_FROM, _TO = 0.5, 0.8  # quantiles of the scores that count
_DRAWS, _MOST_SCORES = 400, 20_000
_LEAST_SPREAD = 0.01  # of similarities from 512 bits

Array = npt.NDArray[np.float64]


class Expected(NamedTuple):
    """An expected number, with its 95 % interval."""

    value: float
    low: float
    high: float


class Impostors:
    """The similarities of one photograph to people that it does not show.

    Args:
        scores: (N,) similarities to all faces of a data set, at least `MIN_IMPOSTORS`; less than a fifth of them may be those of
            the wanted person.
    """

    def __init__(self, scores: Array) -> None:
        self.count = len(scores)
        draw = np.random.default_rng(0)
        some = scores if len(scores) <= _MOST_SCORES else draw.choice(scores, _MOST_SCORES, replace=False)
        drawn = np.stack([_fit(some[draw.integers(0, len(some), len(some))]) for _ in range(_DRAWS)], axis=1)
        self._centre, self._spread = _fit(scores)
        self._centres, self._spreads = drawn

    def expected(self, threshold: float) -> Expected:
        """Return how many impostors among all faces score at least so much. The interval is that of the fit, by the bootstrap."""
        value = float(self.count * ndtr((self._centre - threshold) / self._spread))
        drawn = self.count * ndtr((self._centres - threshold) / self._spreads)
        low, high = np.quantile(drawn, [0.025, 0.975])
        return Expected(value, min(float(low), value), max(float(high), value))

    def threshold(self, most: float) -> float:
        """Return the lowest similarity at which at most so many impostors are expected, by the upper bound of the interval."""
        beyond = -ndtri(min(0.5, most / self.count))
        drawn = float(np.quantile(self._centres + self._spreads * beyond, 0.975))
        return max(drawn, float(self._centre + self._spread * beyond))

    def chance(self, score: float) -> Expected:
        """Return the probability that an impostor scores at least so much, with its 95 % interval."""
        return Expected(*(own / self.count for own in self.expected(score)))


def _fit(scores: Array) -> Any:
    """Return centre and spread of the normal distribution with the same two quantiles."""
    low, high = np.quantile(scores, [_FROM, _TO])
    spread = max(float(high - low) / (ndtri(_TO) - ndtri(_FROM)), _LEAST_SPREAD)
    return float(low) - ndtri(_FROM) * spread, spread
