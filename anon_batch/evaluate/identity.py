"""Whether a seed makes an identity: one that looks the same in two pictures, unlike other seeds', unlike the original.

Similarities are cosines of a recogniser's features. The two pictures of a person are two contexts. As treated pictures of
one person may be alike for what is left around the face, or of it, seed and person are varied apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from anon_batch.evaluate import recognition
from anon_batch.evaluate.recognition import Values
from anon_batch.records import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class IdentityFeatures:
    """Features (N, D), person by person, of outputs under seed i (of person i) or i + 1; NaN where there is no output.

    Args:
        neutral: person i's neutral picture under seed i.
        smiling: person i's smiling picture under seed i.
        shifted: person i's smiling picture under seed i + 1.
        original_neutral: as it was.
        original_smiling: as it was.
    """

    neutral: FloatArray
    smiling: FloatArray
    shifted: FloatArray
    original_neutral: FloatArray
    original_smiling: FloatArray


def identity_figures(features: IdentityFeatures) -> dict[str, Any]:
    """Distributions of similarity, and how well they part.

    Returns:
        Each a `recognition.spread`:
        `same_seed`: two contexts, one person; `same_seed_other_person`: two contexts, two persons;
        `other_seed_same_person`: what is alike without the seed's doing; `other_seed`: two seeds, two persons;
        `own_original`: output and its own original; `own_other_original`: output and the person's other original;
        `stranger_original`: originals of two persons. And
        `equal_error_rate` of `same_seed` against `other_seed`: 0 when a seed is an identity;
        `equal_error_rate_of_seed` of `same_seed_other_person` against `other_seed`: the same by the seed's doing alone, 0.5
        for a method that draws nothing from it;
        `like_original_share`: outputs more like their own original than 99 % of strangers are.
    """
    neutral, smiling, shifted = features.neutral, features.smiling, features.shifted
    same_seed = _present(_rowwise(neutral, smiling))
    across = recognition.cosines(neutral, smiling)
    other_seed = _present(across[~np.eye(len(across), dtype=np.bool_)])
    alone = _present(_rowwise(neutral[1:], shifted[:-1]))
    own = _present(
        np.concatenate([_rowwise(neutral, features.original_neutral), _rowwise(smiling, features.original_smiling)])
    )
    crossed = np.concatenate(
        [_rowwise(neutral, features.original_smiling), _rowwise(smiling, features.original_neutral)]
    )
    originals = recognition.cosines(features.original_neutral, features.original_smiling)
    strangers = originals[~np.eye(len(originals), dtype=np.bool_)]
    like = float((own > np.percentile(strangers, 99)).mean()) if len(own) and len(strangers) else None
    return {
        "same_seed": recognition.spread(same_seed),
        "same_seed_other_person": recognition.spread(alone),
        "other_seed_same_person": recognition.spread(_present(_rowwise(neutral, shifted))),
        "other_seed": recognition.spread(other_seed),
        "own_original": recognition.spread(own),
        "own_other_original": recognition.spread(_present(crossed)),
        "stranger_original": recognition.spread(strangers),
        "equal_error_rate": recognition.equal_error_rate(same_seed, other_seed),
        "equal_error_rate_of_seed": recognition.equal_error_rate(alone, other_seed),
        "like_original_share": like,
    }


def _rowwise(a: FloatArray, b: FloatArray) -> Values:
    """(N,) cosines of rows of the same number."""
    return np.asarray((recognition.unit(a) * recognition.unit(b)).sum(axis=1), np.float64)


def _present(values: Values) -> Values:
    return values[np.isfinite(values)]
