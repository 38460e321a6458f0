"""What an audit finds, as records of measures.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from anon_batch.evaluate.attacks import error_rates
from anon_batch.evaluate.attacks.chance import SIGNIFICANT, least_recognisable, p_values
from anon_batch.evaluate.attacks.error_rates import FALSE_MATCH_RATES, FALSE_POSITIVE_RATES
from anon_batch.evaluate.attacks.scores import Scores
from anon_batch.stats.exact import clopper_pearson
from anon_batch.stats.figure import Figure

Attacker = tuple[str, str]  # attack and embedder


@dataclass(frozen=True, slots=True)
class AttackerMeasures:
    """One attacker.

    Args:
        attack: see `attackers.NAMES`.
        embedder: the recogniser.
        rank_1: share of persons whose probe is named as theirs, with an exact interval that counts each person once.
        p_value: of finding so many by a guess, corrected for all attackers of the scene.
        false_non_match: false match rate, such as "0.01" -> FNMR; without a value below the resolution.
        open_set: false positive rate -> FNIR, with half of the persons missing in the gallery; likewise.
    """

    attack: str
    embedder: str
    rank_1: Figure
    p_value: float
    false_non_match: Mapping[str, Figure]
    open_set: Mapping[str, Figure]


@dataclass(frozen=True, slots=True)
class SceneMeasures:
    """All attackers in one scene.

    Args:
        persons: with a probe.
        chance: rank 1 of a guess.
        resolution: least false match rate that the number of persons allows; None if there is none.
        least_recognisable: smallest rank 1 of one attacker that would be called above chance; None with too few persons.
        attackers: the strongest first: by rank 1, then by FNMR.
        det: points (FMR, FNMR) of the strongest one.
    """

    persons: int
    chance: float
    resolution: float | None
    least_recognisable: float | None
    attackers: tuple[AttackerMeasures, ...]
    det: tuple[tuple[float, float], ...]

    @property
    def strongest(self) -> AttackerMeasures | None:
        """The attacker who recognises most persons."""
        return self.attackers[0] if self.attackers else None

    @property
    def above_chance(self) -> bool | None:
        """Whether the strongest attacker does better than a guess; None where too few persons cannot show it."""
        if self.strongest is None or self.least_recognisable is None:
            return None
        return self.strongest.p_value < SIGNIFICANT


@dataclass(frozen=True, slots=True)
class Reidentification:
    """Attacks on one method, or on originals.

    Args:
        face_alone: what the anonymized face itself gives away, see `scenes`.
        whole_image: what the image gives away, hair, clothes and background included.
        surroundings: the same with each face erased: what no method for faces can hide. None for originals.
        skipped: attack -> why it was not made.
    """

    face_alone: SceneMeasures
    whole_image: SceneMeasures
    surroundings: SceneMeasures | None = None
    skipped: Mapping[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """One of `chance`, `above chance` and `too few persons`, about the face alone."""
        found = self.face_alone.above_chance
        return "too few persons" if found is None else "above chance" if found else "chance"


def measure(scores: Mapping[Attacker, Scores], seed: int) -> SceneMeasures:
    """Measure all attackers of a scene.

    Args:
        scores: of each attacker; all have the same persons.
        seed: of permutations, splits and bootstrap.
    """
    found = [own.found() for own in scores.values()]
    corrected = p_values(found, seed)
    attackers = [
        (_attacker(name, own, p_value, seed), own)
        for (name, own), p_value in zip(scores.items(), corrected, strict=True)
    ]
    attackers.sort(key=lambda pair: _strength(pair[0]))
    persons = max((attacker.rank_1.n or 0 for attacker, _ in attackers), default=0)
    gallery = max((own.persons for own in scores.values()), default=0)
    return SceneMeasures(
        persons=persons,
        chance=1 / gallery if gallery else 1.0,
        resolution=max((least for _, own in attackers[:1] if (least := error_rates.resolution(own))), default=None),
        least_recognisable=least_recognisable(persons),
        attackers=tuple(attacker for attacker, _ in attackers),
        det=tuple(error_rates.trade_off(attackers[0][1])) if attackers else (),
    )


def rank_1(hits: Sequence[float] | np.ndarray) -> Figure:
    """Return the share of persons found, with the exact interval of a whole number of them on either side."""
    persons, total = len(hits), float(np.sum(hits))
    if not persons:
        return Figure.missing("no output to attack: every image of these persons was withheld")
    below = clopper_pearson(int(np.floor(total + 1e-9)), persons)
    above = clopper_pearson(int(np.ceil(total - 1e-9)), persons)
    low, high = (below or (0.0, 1.0))[0], (above or (0.0, 1.0))[1]
    return Figure(total / persons, low, high, persons, "persons", "exact interval, each person counted once")


def _attacker(name: Attacker, scores: Scores, p_value: float, seed: int) -> AttackerMeasures:
    return AttackerMeasures(
        *name,
        rank_1(scores.hits()),
        p_value,
        {f"{rate:g}": error_rates.false_non_match(scores, rate, seed) for rate in FALSE_MATCH_RATES},
        {f"{rate:g}": error_rates.open_set(scores, rate, seed).missed for rate in FALSE_POSITIVE_RATES},
    )


def _strength(own: AttackerMeasures) -> tuple[float, float]:
    rejected = own.false_non_match[f"{FALSE_MATCH_RATES[0]:g}"].value
    return -(own.rank_1.value or 0.0), 1.0 if rejected is None else rejected
