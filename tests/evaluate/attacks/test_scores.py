"""What scores say about whom an attacker finds, with a perfect, a random and a blind recogniser."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anon_batch.evaluate.attacks import error_rates
from anon_batch.evaluate.attacks.chance import SIGNIFICANT, least_recognisable, p_values
from anon_batch.evaluate.attacks.measures import measure, rank_1
from anon_batch.evaluate.attacks.scores import PairFeatures, Scores, compare

PERSONS = 40
ONES = np.eye(PERSONS, dtype=np.float32)


def _noise(seed: int, persons: int = PERSONS) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(persons, 64)).astype(np.float32)


def _random(seed: int, persons: int = PERSONS) -> Scores:
    first, second = (
        PairFeatures(_noise(seed, persons), _noise(seed + 1, persons)),
        PairFeatures(*[_noise(seed + 2, persons)] * 2),
    )
    return compare(first, second)


def test_a_perfect_recogniser_finds_everybody() -> None:
    scene = measure({("naive", "eye"): compare(PairFeatures(ONES, ONES), PairFeatures(ONES, ONES))}, seed=0)
    best = scene.strongest
    assert (scene.persons, scene.chance, scene.above_chance) == (PERSONS, 1 / PERSONS, True)
    assert best.rank_1.value == 1
    assert (best.rank_1.low, best.rank_1.high) == pytest.approx((0.912, 1.0), abs=1e-3)  # 40 of 40, not 80 of 80
    assert best.p_value == 1e-4
    assert best.false_non_match["0.01"].value == 0
    assert "a false positive rate of 0.1 needs 50" in best.open_set["0.1"].note
    assert "below the resolution" in best.false_non_match["0.001"].note


def test_a_method_that_makes_everybody_the_same_leaves_chance() -> None:
    scene = measure(
        {("naive", "eye"): compare(PairFeatures(ONES, ONES), PairFeatures(*[np.ones_like(ONES)] * 2))}, seed=0
    )
    assert scene.strongest.rank_1.value == pytest.approx(scene.chance)
    assert scene.strongest.false_non_match["0.01"].value == 1
    assert scene.above_chance is False


def test_the_directions_are_gallery_of_one_image_and_probe_of_the_other() -> None:
    swapped = np.roll(ONES, 1, axis=0)
    gallery, probes = PairFeatures(ONES, swapped), PairFeatures(swapped, ONES)
    assert compare(gallery, probes).hits().mean() == 1
    assert compare(gallery, gallery).hits().mean() == 0


def test_persons_without_an_output_are_skipped() -> None:
    lacking = ONES.copy()
    lacking[3] = np.nan
    half = compare(PairFeatures(ONES, ONES), PairFeatures(lacking, ONES))
    assert len(half.hits()) == PERSONS
    assert half.hits().mean() == 1
    none = np.full_like(ONES, np.nan)
    scene = measure({("naive", "eye"): compare(PairFeatures(ONES, ONES), PairFeatures(none, none))}, seed=0)
    assert (scene.persons, scene.above_chance) == (0, None)
    assert "withheld" in scene.strongest.rank_1.note


def test_the_best_of_many_guesses_is_no_proof() -> None:
    """Without the correction, the best of 30 random attackers would look significant in most of these audits."""
    corrected, uncorrected = [], []
    for audit in range(20):
        found = [_random(1000 * audit + 10 * one).found() for one in range(30)]
        corrected.append(min(p_values(found, seed=0, permutations=999)))
        uncorrected.append(min(p_values([one], seed=0, permutations=999)[0] for one in found))
    assert np.mean(np.array(uncorrected) < 0.05) > 0.5
    assert np.mean(np.array(corrected) < 0.05) <= 0.2


@pytest.mark.parametrize("persons", [10, 51, 200])
def test_the_smallest_leak_that_shows_does_show(persons: int) -> None:
    least = least_recognisable(persons)
    count = round(least * persons)
    found = np.full((persons, persons), 0.0)
    wrong = (np.arange(persons) + 1) % persons
    found[np.arange(persons), np.where(np.arange(persons) < count, np.arange(persons), wrong)] = 1
    assert p_values([found], seed=0)[0] < 2.5 * SIGNIFICANT
    assert least_recognisable(3) is None


def test_the_resolution_follows_from_the_number_of_persons() -> None:
    assert error_rates.persons_for(1e-3) == 51
    assert error_rates.persons_for(1e-2) == 17
    assert error_rates.false_non_match(_random(0, 51), 1e-3, 0).value is not None
    missing = error_rates.false_non_match(_random(0, 50), 1e-3, 0)
    assert missing.value is None
    assert missing.note.startswith("below the resolution: 50 persons give 4,900 pairs")
    assert error_rates.resolution(_random(0, 51)) == pytest.approx(5 / 5100)
    assert error_rates.open_set(_random(0, 51), 0.01, 0).missed.note.startswith("below the resolution")


def test_random_scores_give_the_diagonal_of_the_curve() -> None:
    points = np.array(error_rates.trade_off(_random(5, 120)))
    assert (np.diff(points[:, 0]) > 0).all()
    assert (np.diff(points[:, 1]) <= 0).all()
    assert np.abs(points[:, 1] - (1 - points[:, 0])).max() < 0.2
    figure = error_rates.false_non_match(_random(5, 120), 0.01, 0)
    assert figure.low < figure.value <= figure.high
    assert figure.value == pytest.approx(0.99, abs=0.03)
    identified = error_rates.open_set(_random(5, 120), 0.1, 0).missed
    assert identified.value > 0.9


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.integers(0, 10_000))
def test_whom_an_attacker_names_is_a_distribution(persons: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    squares = [rng.integers(0, 3, (persons, persons)).astype(float) for _ in range(2)]
    for square in squares:
        square[rng.random(persons) < 0.2] = np.nan
        square[:, rng.random(persons) < 0.2] = np.nan
    found = Scores((squares[0], squares[1])).found()
    present = np.isfinite(found[:, 0])
    np.testing.assert_allclose(found[present].sum(axis=1), 1)
    assert np.isnan(found[~present]).all()


def test_the_interval_of_rank_1_counts_persons_and_rounds_outwards() -> None:
    figure = rank_1([1, 0.5, 0, 0, 0, 0, 0, 0, 0, 0])
    assert figure.value == pytest.approx(0.15)
    assert (figure.low, figure.high) == pytest.approx((0.0025, 0.556), abs=1e-3)
