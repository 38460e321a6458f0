"""Identity of fakes: whether outputs of one seed resemble each other, and neither other seeds' outputs nor the original.

Similarities are cosines of a recogniser's features. The two images of a person are two contexts. Seed and person are varied
separately, because outputs for one person may also resemble each other in what is left of the face and around it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anon_batch.evaluate import recognition
from anon_batch.evaluate.recognition import Spread, Values
from anon_batch.records import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class IdentityFeatures:
    """Features (N, D) of outputs for person i; NaN if there is no output.

    Args:
        neutral: of the neutral image with seed i.
        smiling: of the smiling image with seed i.
        shifted: of the smiling image with seed i + 1.
        original_neutral, original_smiling: of the originals.
    """

    neutral: FloatArray
    smiling: FloatArray
    shifted: FloatArray
    original_neutral: FloatArray
    original_smiling: FloatArray


@dataclass(frozen=True, slots=True)
class IdentityMeasures:
    """Similarities of outputs by seed and person, and how well they separate.

    Args:
        same_seed: two contexts, one person.
        same_seed_other_person: two contexts, two persons.
        other_seed_same_person: two seeds, one person: the baseline without the seed's effect.
        other_seed: two seeds, two persons.
        own_original: an output and its own original.
        own_other_original: an output and the person's other original.
        others_original: an output and another person's original, in the other context.
        different_originals: originals of two persons.
        equal_error_rate: of `same_seed` against `other_seed`: 0 if a seed is an identity.
        equal_error_rate_of_seed: of `same_seed_other_person` against `other_seed`: the effect of the seed alone, 0.5 for a
            method that does not use it.
        like_original_share: outputs more similar to their own original than 99 % of different persons are.
    """

    same_seed: Spread
    same_seed_other_person: Spread
    other_seed_same_person: Spread
    other_seed: Spread
    own_original: Spread
    own_other_original: Spread
    others_original: Spread
    different_originals: Spread
    equal_error_rate: float | None
    equal_error_rate_of_seed: float | None
    like_original_share: float | None


def measure_identity(features: IdentityFeatures) -> IdentityMeasures:
    """Compare outputs of equal and of different seeds and persons."""
    neutral, smiling, shifted = features.neutral, features.smiling, features.shifted
    same_seed = _present(_rowwise(neutral, smiling))
    across = recognition.cosines(neutral, smiling)
    other_seed = _present(_apart(across))
    seed_alone = _present(_rowwise(neutral[1:], shifted[:-1]))
    own = _present(
        np.concatenate([_rowwise(neutral, features.original_neutral), _rowwise(smiling, features.original_smiling)])
    )
    crossed = np.concatenate(
        [_rowwise(neutral, features.original_smiling), _rowwise(smiling, features.original_neutral)]
    )
    others = np.concatenate(
        [
            _apart(recognition.cosines(neutral, features.original_smiling)),
            _apart(recognition.cosines(smiling, features.original_neutral)),
        ]
    )
    different = _apart(recognition.cosines(features.original_neutral, features.original_smiling))
    like = float((own > np.percentile(different, 99)).mean()) if len(own) and len(different) else None
    return IdentityMeasures(
        same_seed=recognition.spread(same_seed),
        same_seed_other_person=recognition.spread(seed_alone),
        other_seed_same_person=recognition.spread(_present(_rowwise(neutral, shifted))),
        other_seed=recognition.spread(other_seed),
        own_original=recognition.spread(own),
        own_other_original=recognition.spread(_present(crossed)),
        others_original=recognition.spread(_present(others)),
        different_originals=recognition.spread(different),
        equal_error_rate=recognition.equal_error_rate(same_seed, other_seed),
        equal_error_rate_of_seed=recognition.equal_error_rate(seed_alone, other_seed),
        like_original_share=like,
    )


def _rowwise(a: FloatArray, b: FloatArray) -> Values:
    """Return the (N,) cosines of rows with equal index."""
    return np.asarray((recognition.unit(a) * recognition.unit(b)).sum(axis=1), np.float64)


def _apart(values: Values) -> Values:
    """Return the cosines (N, N) of rows with different index, in one dimension."""
    return values[~np.eye(len(values), dtype=np.bool_)]


def _present(values: Values) -> Values:
    return values[np.isfinite(values)]
