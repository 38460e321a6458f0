"""Re-identification: whether a recogniser finds known people in the release.

An attacker has one named image of each person (the gallery) and another image from the release (the probe). The attacker
knows position and pose of the face, so probes are aligned by the original's landmarks. A stronger attacker anonymizes the
gallery with the same method and a key of their own, because the run's key is secret: the parrot attack of McPherson, Shokri,
Shmatikov 2016, "Defeating image obfuscation with deep learning", here without training.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from anon_batch.evaluate import recognition
from anon_batch.evaluate.recognition import Spread, Values
from anon_batch.records import FloatArray
from anon_batch.stats.intervals import wilson

FALSE_ACCEPT_RATES = (1e-2, 1e-3)


@dataclass(frozen=True, slots=True, eq=False)
class PairFeatures:
    """Features of the two images of each person.

    Args:
        neutral: (N, D); a row of NaN if there is no output.
        smiling: likewise.
    """

    neutral: FloatArray
    smiling: FloatArray


@dataclass(frozen=True, slots=True)
class AttackMeasures:
    """How well a recogniser finds the persons of a gallery among the probes.

    Args:
        probes: number of probe images; the other figures are None without any.
        rank_1: share of probes whose most similar gallery entry is their own.
        rank_1_interval: its 95 % interval, which counts both probes of a person as one, because they are not independent.
        chance: rank 1 of a guess.
        impostor_pairs: pairs of different persons.
        genuine, impostor: similarities of pairs of one person, and of different persons.
        equal_error_rate: see `recognition.equal_error_rate`.
        true_accept_rates: false accept rate, such as "0.01" -> true accept rate; None if there are too few pairs.
    """

    probes: int
    rank_1: float | None = None
    rank_1_interval: tuple[float, float] | None = None
    chance: float | None = None
    impostor_pairs: int = 0
    genuine: Spread | None = None
    impostor: Spread | None = None
    equal_error_rate: float | None = None
    true_accept_rates: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reidentification:
    """All attackers.

    Args:
        original_gallery: the gallery contains originals.
        anonymized_gallery: the attacker anonymized the gallery with another key; None for the originals themselves.
        released_gallery: the gallery is a part of the release, with its key, whose persons the attacker knows; likewise.
    """

    original_gallery: AttackMeasures
    anonymized_gallery: AttackMeasures | None = None
    released_gallery: AttackMeasures | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Direction:
    hits: Values
    genuine: Values
    impostor: Values


def attack(gallery: PairFeatures, probes: PairFeatures) -> AttackMeasures:
    """Measure recognition in both directions: neutral gallery with smiling probes, and the reverse.

    Persons without an output in the gallery or among the probes are skipped in that direction.

    Args:
        gallery: one person in each row.
        probes: the same persons.
    """
    parts = [_direction(gallery.neutral, probes.smiling), _direction(gallery.smiling, probes.neutral)]
    hits = np.concatenate([part.hits for part in parts])
    genuine = np.concatenate([part.genuine for part in parts])
    impostor = np.concatenate([part.impostor for part in parts])
    if not len(hits):
        return AttackMeasures(0)
    persons = len(hits) / 2
    return AttackMeasures(
        probes=len(hits),
        rank_1=float(hits.mean()),
        rank_1_interval=wilson(float(hits.mean()) * persons, persons),
        chance=1 / len(gallery.neutral),
        impostor_pairs=len(impostor),
        genuine=recognition.spread(genuine),
        impostor=recognition.spread(impostor),
        equal_error_rate=recognition.equal_error_rate(genuine, impostor),
        true_accept_rates={
            f"{rate:g}": recognition.true_accept_rate(genuine, impostor, rate) for rate in FALSE_ACCEPT_RATES
        },
    )


def _direction(gallery: FloatArray, probes: FloatArray) -> _Direction:
    present = np.isfinite(gallery).all(axis=1) & np.isfinite(probes).all(axis=1)
    similarity = recognition.cosines(probes[present], gallery[present])
    own = np.eye(len(similarity), dtype=np.bool_)
    hits = recognition.rank_one_hits(similarity, np.arange(len(similarity)))
    return _Direction(hits, similarity[own], similarity[~own])
