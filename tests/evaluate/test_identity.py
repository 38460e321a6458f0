"""Identity of fakes with the features of a perfect, a random and a seeded recogniser."""

from __future__ import annotations

import numpy as np
import pytest

from anon_batch.evaluate.identity import IdentityFeatures, measure_identity

PERSONS = 40
RNG = np.random.default_rng(11)


def _noise(count: int = PERSONS) -> np.ndarray:
    return RNG.normal(size=(count, 512)).astype(np.float32)


def test_seeds_that_are_identities() -> None:
    """The output depends on the seed alone."""
    seeds, originals = _noise(PERSONS + 1), _noise()
    figures = measure_identity(
        IdentityFeatures(seeds[:-1], seeds[:-1] * 2, seeds[1:], originals, originals + 0.1 * _noise())
    )
    assert figures.equal_error_rate == figures.equal_error_rate_of_seed == 0
    assert figures.same_seed.mean == pytest.approx(1)
    assert figures.same_seed_other_person.count == PERSONS - 1
    assert figures.same_seed_other_person.mean == pytest.approx(1)
    assert figures.other_seed.mean == pytest.approx(0, abs=0.02)
    assert figures.other_seed_same_person.mean == pytest.approx(0, abs=0.05)
    assert figures.own_original.mean == pytest.approx(0, abs=0.05)
    assert figures.like_original_share < 0.1


def test_a_method_that_changes_nothing() -> None:
    """Outputs resemble each other because of the person: the seed has no effect."""
    neutral = _noise()
    smiling = neutral + 0.1 * _noise()
    figures = measure_identity(IdentityFeatures(neutral, smiling, smiling, neutral, smiling))
    assert figures.equal_error_rate == 0
    assert figures.equal_error_rate_of_seed == pytest.approx(0.5, abs=0.15)
    assert figures.other_seed_same_person.mean > 0.98
    assert figures.own_original.mean == pytest.approx(1)
    assert figures.like_original_share == 1


def test_identity_without_any_output() -> None:
    originals, nothing = _noise(), np.full((PERSONS, 512), np.nan, np.float32)
    figures = measure_identity(IdentityFeatures(nothing, nothing, nothing, originals, originals))
    assert figures.equal_error_rate is None
    assert figures.same_seed.count == 0
    assert figures.like_original_share is None
    assert figures.different_originals.count == PERSONS * (PERSONS - 1)
