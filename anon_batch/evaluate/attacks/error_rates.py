"""Error rates of verification and of identification in an open set, with intervals by bootstrap over persons.

FMR and FNMR are the false match and false non-match rates, FPIR and FNIR the false positive and false negative identification
rates of ISO/IEC 19795-1:2021 and of the Face Recognition Vendor Test (Grother, Ngan, Hanaoka 2019, NISTIR 8271, section 3).
For the attacker a low FNMR or FNIR is a success.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anon_batch.evaluate.attacks.scores import Scores
from anon_batch.evaluate.recognition import MIN_FALSE_ACCEPTS, Values
from anon_batch.stats.figure import Figure

FALSE_MATCH_RATES = (1e-2, 1e-3)
FALSE_POSITIVE_RATES = (1e-1, 1e-2)
SPLITS = 20  # of the persons into those in the gallery and those missing
_DRAWS = 400
_POINTS = 48  # of the curve


def false_non_match(scores: Scores, rate: float, seed: int) -> Figure:
    """Return the share of images of one person that a threshold rejects, which lets at most `rate` of other persons pass.

    The interval draws persons with replacement, because pairs that share a person are dependent.
    """
    genuine, impostor = scores.genuine(), scores.impostor()
    pairs = int(np.isfinite(impostor).sum())
    allowed = math.floor(rate * pairs + 1e-9)
    persons = int(np.isfinite(genuine).any(axis=0).sum())
    if allowed < MIN_FALSE_ACCEPTS:
        return Figure.missing(
            f"below the resolution: {persons} persons give {pairs:,} pairs of different persons, a false match rate of {rate:g} "
            f"needs {math.ceil(MIN_FALSE_ACCEPTS / rate):,}, that is {persons_for(rate)} persons"
        )
    own = _Pairs(impostor)

    def rejected(weights: npt.NDArray[np.int64]) -> float:
        return _rejected(genuine, own.threshold(rate, weights), weights) if weights.any() else math.nan

    value = rejected(np.ones(scores.persons, np.int64))
    rng = np.random.default_rng(seed)
    drawn = (rng.integers(scores.persons, size=scores.persons) for _ in range(_DRAWS))
    draws = [rejected(np.bincount(persons_drawn, minlength=scores.persons)) for persons_drawn in drawn]
    low, high = np.nanpercentile(draws, (2.5, 97.5))
    note = "interval by bootstrap over persons"
    return Figure(value, float(low), float(high), persons, "persons", note)


def persons_for(rate: float) -> int:
    """Return the least number of persons, two images of each, that can show a false match rate."""
    needed = MIN_FALSE_ACCEPTS / rate
    return math.ceil(0.5 + math.sqrt(0.25 + needed / 2) - 1e-9)


def resolution(scores: Scores) -> float | None:
    """Return the least false match rate that the number of persons allows; None without pairs of different persons."""
    pairs = int(np.isfinite(scores.impostor()).sum())
    return MIN_FALSE_ACCEPTS / pairs if pairs >= MIN_FALSE_ACCEPTS else None


def trade_off(scores: Scores) -> list[tuple[float, float]]:
    """Return points (FMR, FNMR) of the DET curve, by rising FMR from the resolution on (Martin et al. 1997)."""
    genuine, impostor = _flat(scores.genuine()), _flat(scores.impostor())
    least = resolution(scores)
    if least is None or not len(genuine):
        return []
    rates = np.unique(np.geomspace(least, 1.0, _POINTS))
    thresholds = _thresholds(impostor, rates)
    ordered = np.sort(genuine)
    rejected = np.searchsorted(ordered, thresholds, side="right") / len(ordered)
    return [(float(rate), float(share)) for rate, share in zip(rates, rejected, strict=True)]


@dataclass(frozen=True, slots=True)
class OpenSet:
    """One rate of the open set.

    Args:
        rate: FPIR: the share of probes of persons outside the gallery for which somebody is named.
        missed: FNIR: the share of probes of persons in the gallery who are not named, or somebody else is.
    """

    rate: float
    missed: Figure


def open_set(scores: Scores, rate: float, seed: int) -> OpenSet:
    """Return FNIR at FPIR `rate`, mean over splits in which half of the persons, drawn at random, are missing in the gallery.

    The interval is that of the means of persons. A trained attacker has seen the missing persons too, as people whom it need not
    name, which favours the attacker a little.
    """
    persons = scores.persons
    outside = persons // 2
    if math.floor(rate * 2 * outside + 1e-9) < MIN_FALSE_ACCEPTS:
        needed = 2 * math.ceil(MIN_FALSE_ACCEPTS / rate / 2)
        why = f"below the resolution: {persons} persons, a false positive rate of {rate:g} needs {needed}"
        return OpenSet(rate, Figure.missing(why))
    rng = np.random.default_rng(seed)
    missed, seen = np.zeros(persons), np.zeros(persons)
    for _ in range(SPLITS):
        known = np.zeros(persons, np.bool_)
        known[rng.permutation(persons)[outside:]] = True
        parts = [_identify(part, known) for part in scores.directions]
        top = np.concatenate([part[1] for part in parts])
        if not len(top):
            continue
        threshold = _thresholds(top, np.array([rate]))[0]
        for (own, _), square in zip(parts, scores.directions, strict=True):
            present = known & np.isfinite(np.diagonal(square))
            missed[present] += ~(own[present] > threshold)
            seen[present] += 1
    present = seen > 0
    if not present.any():
        return OpenSet(rate, Figure.missing("no probe of a person in the gallery"))
    means = missed[present] / seen[present]
    drawn = rng.integers(len(means), size=(_DRAWS, len(means)))
    low, high = np.percentile(means[drawn].mean(axis=1), (2.5, 97.5))
    note = f"half of the persons missing in the gallery, {SPLITS} splits; interval by bootstrap over persons"
    return OpenSet(rate, Figure(float(means.mean()), float(low), float(high), len(means), "persons", note))


def _identify(square: Values, known: np.ndarray) -> tuple[Values, Values]:
    """Return the score of the own person where it is the first, else -inf, (N,); and the first scores of persons outside."""
    inside = np.where(known[None, :] & np.isfinite(square), square, -np.inf)
    top = inside.max(axis=1)
    own = np.where(known & np.isfinite(np.diagonal(square)), np.diagonal(square), -np.inf)
    probes = np.isfinite(square).any(axis=1)
    return np.where(own >= top, own, -np.inf), top[~known & probes]


class _Pairs:
    """Pairs of different persons by falling similarity, sorted once for all draws of persons."""

    def __init__(self, impostor: Values) -> None:
        present = np.isfinite(impostor)
        _, one, other = np.nonzero(present)
        order = np.argsort(-impostor[present], kind="stable")
        self._values, self._one, self._other = impostor[present][order], one[order], other[order]

    def threshold(self, rate: float, weights: npt.NDArray[np.int64]) -> float:
        """Return the threshold that at most this share of pairs exceeds, where `weights` counts each person."""
        passed = np.cumsum(weights[self._one] * weights[self._other])
        at = int(np.searchsorted(passed, rate * passed[-1] + 1e-9, side="right"))
        return float(self._values[at]) if at < len(passed) else -math.inf


def _rejected(genuine: Values, threshold: float, weights: npt.NDArray[np.int64]) -> float:
    """Return FNMR where `weights` counts each person."""
    present = np.isfinite(genuine)
    counts = np.broadcast_to(weights, genuine.shape)[present]
    return float((counts * (genuine[present] <= threshold)).sum() / counts.sum()) if counts.any() else math.nan


def _thresholds(impostor: Values, rates: Values) -> Values:
    """Return for each rate the threshold that at most this share of impostors exceeds."""
    falling = np.sort(impostor)[::-1]
    allowed = np.floor(rates * len(falling) + 1e-9).astype(np.int64)
    padded = np.append(falling, -np.inf)
    return np.asarray(padded[np.minimum(allowed, len(falling))], np.float64)


def _flat(values: Values) -> Values:
    return values[np.isfinite(values)]
