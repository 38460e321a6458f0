"""Whether somebody who knows the people finds them again in the release.

An attacker has one picture of each person under a name (the gallery) and another picture from the release (the probe). They
know where the face was and in which pose, so probes are aligned by the original's landmarks. The stronger attacker treats
the gallery by the same method, under a key of their own, as the run's key is secret: the parrot attack of McPherson, Shokri,
Shmatikov 2016, "Defeating image obfuscation with deep learning", here without training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from anon_batch.evaluate import recognition
from anon_batch.evaluate.recognition import Values
from anon_batch.records import FloatArray

FALSE_ACCEPT_RATES = (1e-2, 1e-3)


@dataclass(frozen=True, slots=True, eq=False)
class PairFeatures:
    """Features of each person's two pictures.

    Args:
        neutral: (N, D); a row of NaN where there is no output.
        smiling: (N, D); likewise.
    """

    neutral: FloatArray
    smiling: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class _Direction:
    hits: Values
    genuine: Values
    impostor: Values


def attack(gallery: PairFeatures, probes: PairFeatures) -> dict[str, Any]:
    """Both directions of recognition together: neutral gallery with smiling probes, and the reverse.

    Persons without an output in the gallery or among the probes are left out of that direction.

    Args:
        gallery: one person a row.
        probes: the same persons.

    Returns:
        `probes`, `rank_1` and its 95 % interval, `chance` of a guess, mean similarity of genuine and impostor pairs, and
        `tar_at_far_...`. The interval takes both probes of a person for one, as they are not independent.
    """
    parts = [_direction(gallery.neutral, probes.smiling), _direction(gallery.smiling, probes.neutral)]
    hits = np.concatenate([part.hits for part in parts])
    genuine = np.concatenate([part.genuine for part in parts])
    impostor = np.concatenate([part.impostor for part in parts])
    if not len(hits):
        return {"probes": 0}
    persons = len(hits) / 2
    low, high = recognition.wilson_interval(float(hits.mean()) * persons, persons)
    figures: dict[str, Any] = {
        "probes": len(hits),
        "rank_1": float(hits.mean()),
        "rank_1_interval": [low, high],
        "chance": 1 / len(gallery.neutral),
        "impostor_pairs": len(impostor),
        "genuine": recognition.spread(genuine),
        "impostor": recognition.spread(impostor),
        "equal_error_rate": recognition.equal_error_rate(genuine, impostor),
    }
    for rate in FALSE_ACCEPT_RATES:
        figures[f"tar_at_far_{rate:g}"] = recognition.true_accept_rate(genuine, impostor, rate)
    return figures


def _direction(gallery: FloatArray, probes: FloatArray) -> _Direction:
    there = np.isfinite(gallery).all(axis=1) & np.isfinite(probes).all(axis=1)
    similarity = recognition.cosines(probes[there], gallery[there])
    own = np.eye(len(similarity), dtype=np.bool_)
    hits = recognition.rank_one_hits(similarity, np.arange(len(similarity)))
    return _Direction(hits, similarity[own], similarity[~own])
