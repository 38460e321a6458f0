"""Plans of samples and the bounds that reviews prove: known figures, exact small cases, and coverage by simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from anon_batch.manifest.sampling import draw
from anon_batch.stats.exact import upper_bound
from anon_batch.stats.sample_plan import corrected_bound, missed_bound, plan_sample

_STRATA = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 3000), min_size=1)


@pytest.mark.parametrize(("claim", "images"), [(0.01, 299), (0.005, 598), (0.001, 2995), (0.0005, 5990)])
def test_a_large_release_needs_what_is_known(claim, images):
    plan = plan_sample({"all": 100_000_000}, claim, planted=0)
    assert (plan.total, plan.planted) == (images, 0)
    assert missed_bound(0, plan.images, plan.strata) <= claim


@pytest.mark.parametrize(
    ("claim", "images", "planted", "of_1000"),
    [(0.01, 407, 36, 239), (0.005, 795, 48, 394), (0.001, 3814, 109, 777), (0.0005, 7549, 159, 950)],
)
def test_the_table_of_the_guide_is_right(claim, images, planted, of_1000):
    plan = plan_sample({"all": 100_000_000}, claim)
    assert (plan.total, plan.planted) == (images, planted)
    assert plan_sample({"all": 1000}, claim, planted=0).total == of_1000


@pytest.mark.parametrize("missed", [0, 1, 5])
def test_in_a_large_release_the_bound_is_that_of_clopper_and_pearson(missed):
    assert missed_bound(missed, {"all": 700}, {"all": 10**9}) == pytest.approx(upper_bound(missed, 700), rel=1e-6)


@pytest.mark.parametrize(("images", "needed"), [(10, 10), (100, 78), (1000, 239), (10_000, 293), (1_281_167, 299)])
def test_a_small_release_needs_fewer_images_and_never_more_than_all(images, needed):
    plan = plan_sample({"all": images}, 0.01, planted=0)
    assert plan.total == needed <= images
    # The exact distribution of a single stratum: it refutes the claim with this sample, and could with hardly any less.
    too_many = images // 100 + 1
    assert hypergeom.pmf(0, images, too_many, needed) <= 0.05 < hypergeom.pmf(0, images, too_many, needed - 3)


def test_when_everything_is_reviewed_the_bound_is_what_was_found():
    assert missed_bound(3, {"a": 40, "b": 10}, {"a": 40, "b": 10}) == 3 / 50
    assert missed_bound(0, {"a": 40}, {"a": 40}) == 0


def test_what_was_not_looked_at_may_hold_anything():
    assert missed_bound(0, {"a": 40}, {"a": 40, "b": 60}) == 0.6
    assert corrected_bound(0, {"a": 300}, 0, 0, {"a": 10_000}) == 1
    assert corrected_bound(0, {"a": 300}, 0, 30, {"a": 10_000}) == 1


def test_a_reviewer_who_overlooks_planted_faces_proves_less():
    bounds = [corrected_bound(0, {"a": 400}, caught, 40, {"a": 10**6}) for caught in (40, 36, 20)]
    assert missed_bound(0, {"a": 400}, {"a": 10**6}) < bounds[0] < bounds[1] < bounds[2]
    assert bounds[0] == pytest.approx(upper_bound(0, 400, 0.975) / 0.025 ** (1 / 40), rel=0.01)


def test_planted_faces_and_images_are_as_few_as_possible_together():
    plan = plan_sample({"all": 10**7}, 0.01)
    assert (plan.total, plan.planted) == (407, 36)
    for planted in (20, 36, 38, 80):
        assert plan_sample({"all": 10**7}, 0.01, planted=planted).total + planted >= 443
    assert plan_sample({"all": 10**7}, 0.01, missed=1).total > plan.total
    assert plan_sample({"all": 10**7}, 0.01, uncaught=1).planted > plan.planted


@settings(max_examples=60, deadline=None)
@given(_STRATA, st.sampled_from([0.1, 0.01, 0.003]), st.sampled_from([None, 0, 30]))
def test_a_clean_review_of_the_plan_proves_its_claim(strata, claim, planted):
    try:
        plan = plan_sample(strata, claim, planted=planted)
    except ValueError:  # so few images that so few planted faces prove nothing, even if all of them are reviewed
        assert planted
        assert corrected_bound(0, strata, planted, planted, strata) > claim
        return
    assert sum(plan.strata.values()) == sum(strata.values())
    assert all(0 < plan.images[name] <= number for name, number in plan.strata.items())
    bound = (
        corrected_bound(0, plan.images, plan.planted, plan.planted, plan.strata)
        if plan.planted
        else missed_bound(0, plan.images, plan.strata)
    )
    assert bound <= claim


def test_strata_too_small_for_an_image_are_reviewed_together():
    plan = plan_sample({f"class {n}": 1300 for n in range(1000)}, 0.01, planted=0)
    assert plan.images == {"other": 299}
    assert plan.stratum("class 7") == "other"
    plan = plan_sample({"large": 100_000, "small": 9, "tiny": 2}, 0.01, planted=0)
    assert plan.images == {"large": 298, "other": 1}


def test_an_empty_release_needs_no_review():
    plan = plan_sample({"all": 0}, 0.01)
    assert (plan.total, plan.images) == (0, {})
    assert missed_bound(0, {}, {}) == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda: plan_sample({"a": 10}, 0),
        lambda: plan_sample({"a": -1}, 0.1),
        lambda: plan_sample({"a": 100}, 0.01, missed=2),
        lambda: plan_sample({"a": 100}, 0.05, planted=1),
        lambda: missed_bound(2, {"a": 1}, {"a": 5}),
        lambda: missed_bound(0, {"a": 6}, {"a": 5}),
        lambda: missed_bound(0, {"b": 1}, {"a": 5}),
        lambda: corrected_bound(0, {"a": 5}, 4, 3, {"a": 5}),
    ],
)
def test_what_cannot_be_is_refused(call):
    with pytest.raises(ValueError, match=r"must|expected|fewer|proves"):
        call()


_POPULATIONS = [  # stratum -> (images, images with a missed face)
    {"a": (3000, 31)},  # a little above 1 %, all alike
    {"a": (2900, 0), "b": (100, 31)},  # all in one small stratum
    {"a": (1000, 4), "b": (1000, 9), "c": (1000, 18)},
    {"a": (30, 1), "b": (30, 0), "c": (40, 1)},
]


@pytest.mark.parametrize("catch_rate", [1.0, 0.85])
@pytest.mark.parametrize("strata", _POPULATIONS)
@pytest.mark.parametrize("claim", [0.01, 0.03])
def test_bounds_of_simulated_reviews_hold_in_95_of_100(strata, catch_rate, claim):
    """The planted share of misses, in strata: with proportional allocation the bound is at most too cautious."""
    rng = np.random.default_rng(7)
    sizes = {name: images for name, (images, _) in strata.items()}
    truth = sum(missed for _, missed in strata.values()) / sum(sizes.values())
    plan = plan_sample(sizes, claim, planted=0 if catch_rate == 1 else 40)
    runs = 2000
    found = sum(
        rng.hypergeometric(missed, images - missed, plan.images[name], runs)
        for name, (images, missed) in strata.items()
    )
    found, caught = rng.binomial(found, catch_rate), rng.binomial(plan.planted, catch_rate, runs)
    pairs, times = np.unique(np.stack([found, caught]), axis=1, return_counts=True)
    covered = 0
    for (missed, seen), number in zip(pairs.T, times, strict=True):
        bound = (
            corrected_bound(int(missed), plan.images, int(seen), plan.planted, sizes)
            if plan.planted
            else missed_bound(int(missed), plan.images, sizes)
        )
        covered += int(number) * (bound >= truth)
    assert covered / runs >= 0.95 - 3 * (0.05 * 0.95 / runs) ** 0.5


@given(st.sets(st.text(min_size=1, max_size=4), max_size=60), st.integers(0, 2**64), st.data())
@settings(deadline=None)
def test_a_draw_does_not_depend_on_how_the_rows_are_cut_up(ids, seed, data):
    rows = [(name, data.draw(st.sampled_from("ab"))) for name in sorted(ids)]
    numbers = {"a": 5, "b": 2}
    whole = draw(rows, numbers, seed)
    cut = data.draw(st.integers(0, len(rows)))
    pieces = [*draw(rows[cut:], numbers, seed), *draw(rows[:cut], numbers, seed)]
    assert draw(pieces, numbers, seed) == whole
    for stratum, number in numbers.items():
        own = [name for name, of in rows if of == stratum]
        assert sum(of == stratum for _, of in whole) == min(number, len(own))


def test_every_row_is_drawn_equally_often():
    rows = [(f"{n}.jpg", "a") for n in range(50)]
    times = np.zeros(50)
    for seed in range(600):
        for name, _ in draw(rows, {"a": 10}, seed):
            times[int(name.removesuffix(".jpg"))] += 1
    assert abs(times - 120).max() < 5 * (600 * 0.2 * 0.8) ** 0.5
