"""Re-identification and identity with the features of a perfect, a random and a seeded recogniser."""

from __future__ import annotations

import numpy as np
import pytest

from anon_batch.evaluate.identity import IdentityFeatures, measure_identity
from anon_batch.evaluate.reidentification import AttackMeasures, PairFeatures, attack

PERSONS = 40
ONES = np.eye(PERSONS, dtype=np.float32)
RNG = np.random.default_rng(11)


def _noise(count: int = PERSONS) -> np.ndarray:
    return RNG.normal(size=(count, 512)).astype(np.float32)


def _pairs(features: np.ndarray) -> PairFeatures:
    return PairFeatures(features, features)


def test_a_perfect_recogniser_identifies_everybody() -> None:
    figures = attack(_pairs(ONES), _pairs(ONES))
    assert figures.probes == 2 * PERSONS
    assert figures.rank_1 == figures.true_accept_rates["0.01"] == 1
    assert figures.equal_error_rate == 0
    assert figures.chance == 1 / PERSONS
    assert figures.rank_1_interval == pytest.approx([0.9124, 1.0], abs=1e-3)  # 40 of 40, not 80 of 80
    assert figures.impostor_pairs == 2 * PERSONS * (PERSONS - 1)
    assert figures.true_accept_rates["0.001"] is None  # 3,120 pairs are too few


def test_a_method_that_makes_everybody_the_same_leaves_chance() -> None:
    figures = attack(_pairs(ONES), _pairs(np.ones_like(ONES)))
    assert figures.rank_1 == pytest.approx(figures.chance)
    assert figures.true_accept_rates["0.01"] == 0
    assert figures.equal_error_rate == pytest.approx(0.5)


def test_random_faces_are_found_by_chance() -> None:
    figures = attack(_pairs(_noise()), _pairs(_noise()))
    assert figures.rank_1_interval[0] < figures.chance < figures.rank_1_interval[1]
    assert figures.equal_error_rate == pytest.approx(0.5, abs=0.15)


def test_the_directions_are_gallery_of_one_expression_and_probe_of_the_other() -> None:
    swapped = np.roll(ONES, 1, axis=0)
    gallery, probes = PairFeatures(ONES, swapped), PairFeatures(swapped, ONES)
    assert attack(gallery, probes).rank_1 == 1
    assert attack(gallery, gallery).rank_1 == 0


def test_persons_without_an_output_are_skipped() -> None:
    lacking = ONES.copy()
    lacking[3] = np.nan
    figures = attack(_pairs(ONES), PairFeatures(lacking, ONES))
    assert (figures.probes, figures.rank_1) == (2 * PERSONS - 1, 1)
    nothing = np.full_like(ONES, np.nan)
    assert attack(_pairs(ONES), _pairs(nothing)) == AttackMeasures(0)


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
