"""Measures of utility on data whose answer is known: canary, distances, groups of generated faces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from anon_batch.evaluate.utility.canary import Canary, measure_canary
from anon_batch.evaluate.utility.distances import frechet_figure, kernel_distance
from anon_batch.evaluate.utility.findings import utility_findings
from anon_batch.evaluate.utility.groups import found_again, gap_figure, group_rows
from anon_batch.evaluate.utility.linear_probe import LinearProbe
from anon_batch.evaluate.utility.paired_tests import change_interval, holm, mcnemar
from anon_batch.evaluate.utility.sampled_rows import Columns, SampledRows
from anon_batch.evaluate.utility.state import UtilityState


def _classes(seed: int, classes: int = 8, each: int = 40, size: int = 24, apart: float = 1.0) -> tuple[Any, Any]:
    """Codes in random order, and features around the means of their classes."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.repeat(np.arange(classes), each))
    return codes, rng.normal(size=(classes, size))[codes] * apart + rng.normal(size=(len(codes), size))


def _names(codes: Any) -> Any:
    return np.array([f"class {code}" for code in codes])


def test_a_class_whose_cue_is_destroyed_is_flagged_and_no_other() -> None:
    """What made class 3 is gone: its anonymized images look like none."""
    rng = np.random.default_rng(1)
    codes, before = _classes(0)
    after = before + 0.1 * rng.normal(size=before.shape)
    after[codes == 3] -= before[codes == 3].mean(axis=0)
    found = measure_canary(_names(codes), codes == 3, before, after)
    assert isinstance(found, Canary)
    assert found.classes[0].name == "class 3"
    assert [own.name for own in found.classes if own.flagged] == ["class 3"]
    worst = found.classes[0].change
    assert worst.rows == 40
    assert worst.before > 0.9 > 0.6 > worst.after
    assert worst.interval[1] < -0.2
    assert (found.classes[0].changed, found.classes[-1].changed) == (1.0, 0.0)
    assert found.on_originals.change == pytest.approx(-(1 - worst.after) / 8, abs=0.06)  # the mean hides it


def test_anonymization_that_adds_a_shortcut_fails_on_originals_alone() -> None:
    codes, before = _classes(2, classes=2, apart=0.2)
    after = before.copy()
    after[:, 0] += np.where(codes == 0, 8, -8)
    found = measure_canary(_names(codes), codes >= 0, before, after)
    assert isinstance(found, Canary)
    assert found.on_anonymized.after > 0.95
    assert found.on_originals.after < found.on_anonymized.after - 0.15


def test_equal_images_change_nothing() -> None:
    codes, before = _classes(3)
    found = measure_canary(_names(codes), codes < 0, before, before)
    assert isinstance(found, Canary)
    assert (found.on_originals.change, found.on_originals.p) == (0, 1)
    assert not any(own.flagged for own in found.classes)


def test_flags_are_rarely_false() -> None:
    """Originals and outputs are equally noisy views of the same thing, so that every flag is false: at most 1 set in 20."""
    false = overall = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        codes, clean = _classes(seed, apart=0.5)
        before, after = (clean + rng.normal(size=clean.shape) for _ in range(2))
        found = measure_canary(_names(codes), codes >= 0, before, after)
        assert isinstance(found, Canary)
        false += any(own.flagged for own in found.classes)
        overall += found.on_anonymized.p < 0.05
    assert false <= 6
    assert overall <= 8


def test_classes_with_few_images_are_left_out() -> None:
    codes, before = _classes(4, classes=3, each=10)
    labels = _names(codes)
    labels[np.flatnonzero(codes == 2)[:7]] = "class 0"
    found = measure_canary(labels, codes >= 0, before, before)
    assert isinstance(found, Canary)
    assert ([own.name for own in found.classes], found.left_out) == (["class 0", "class 1"], 1)
    assert "2 classes" in str(measure_canary(labels[:4], codes[:4] >= 0, before[:4], before[:4]))


def test_the_probe_knows_classes_and_ignores_features_that_do_not_vary() -> None:
    codes, rows = _classes(5, apart=2.0)
    rows = np.hstack([rows, np.full((len(rows), 3), 7.0)])
    probe = LinearProbe(rows[::2], codes[::2], 9)  # class 8 has no rows
    assert (probe.predict(rows[1::2]) == codes[1::2]).mean() > 0.95
    assert (LinearProbe(np.ones((4, 3)), np.zeros(4, np.int64), 2).predict(np.ones((2, 3))) == 0).all()


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_binomial_test_of_one_half(lost: int, gained: int) -> None:
    expected = binomtest(lost, lost + gained, 0.5).pvalue if lost + gained else 1.0
    assert mcnemar(lost, gained) == pytest.approx(expected)


def test_holm_rejects_step_by_step() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # the method's own example
    assert holm([]) == []
    assert holm([0.5, 0.9]) == [1.0, 1.0]


@pytest.mark.parametrize(("lost", "gained"), [(0.05, 0.05), (0.15, 0.02), (0.4, 0.1)])
@pytest.mark.parametrize("rows", [30, 200])
def test_the_interval_of_a_change_covers_it(lost: float, gained: float, rows: int) -> None:
    rng = np.random.default_rng(0)
    draws = rng.multinomial(rows, [lost, gained, 1 - lost - gained], 2000)
    covered = [
        low <= gained - lost <= high for low, high in (change_interval(int(a), int(b), rows) for a, b, _ in draws)
    ]
    assert np.mean(covered) > 0.93


@pytest.mark.parametrize("shared", [0.0, 0.6, 0.99])
def test_the_kernel_distance_of_equal_distributions_is_0_on_average(shared: float) -> None:
    """Also of pairs: an output resembles its own original."""
    values, covered = [], 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(200, 12))
        figure = kernel_distance(x, shared * x + np.sqrt(1 - shared**2) * rng.normal(size=x.shape), "rows")
        assert figure.value is not None
        assert figure.low is not None
        assert figure.high is not None
        values.append(figure.value)
        covered += figure.low <= 0 <= figure.high
    assert abs(np.mean(values)) < 3 * np.std(values) / 10
    assert 88 <= covered <= 100


def test_intervals_of_distances_cover_those_of_many_rows() -> None:
    def rows(count: int, seed: int) -> tuple[Any, Any]:
        rng = np.random.default_rng(seed)
        return rng.normal(size=(count, 6)), rng.normal(size=(count, 6)) * 1.2 + 0.3

    truth = kernel_distance(*rows(20_000, 0), "rows").value
    kernel = frechet = 0
    for seed in range(1, 101):
        own = rows(600, seed)
        found = kernel_distance(*own, "rows")
        kernel += found.low <= truth <= found.high  # type: ignore[operator]
        found = frechet_figure(*own, "rows")
        frechet += found.low <= 6 * (0.3**2 + 0.2**2) <= found.high  # type: ignore[operator]
    assert kernel >= 88
    assert frechet >= 85


def test_a_frechet_distance_of_few_rows_says_that_it_is_too_large() -> None:
    rng = np.random.default_rng(0)
    found = frechet_figure(rng.normal(size=(120, 80)), rng.normal(size=(120, 80)), "faces")
    assert found.value is not None
    assert found.value > 5
    assert (found.low, found.n) == (None, 120)
    assert "trust it from 160" in found.note
    assert "needs at least 100" in frechet_figure(np.ones((99, 2)), np.ones((99, 2)), "faces").note


def _faces(seed: int, count: int = 600, lost: float = 0.0, seam: float = 1.0, each: int = 1) -> Columns:
    """Faces of three ages, of which the old ones are found again less often by `lost`, and have this seam."""
    rng = np.random.default_rng(seed)
    ages = rng.choice(["young", "middle", "old"], count)
    old = ages == "old"
    found = rng.random(count) < 0.9 - lost * old
    seams = rng.lognormal(0, 0.2, (count, 2, 2))
    seams[:, 1, 0] *= np.where(old, seam, 1.0)
    untouched = rng.normal(size=(count, 4))
    return {
        "key": np.arange(count, dtype=np.uint64),
        "image": (np.arange(count) // each).astype(np.uint64),
        "side": rng.uniform(28, 200, count).astype(np.float32),
        "seam": seams,
        "found": np.stack([rng.random(count) < 0.95, found], axis=1).astype(np.int8),
        "age": ages,
        "detector before": untouched,
        "detector after": untouched + rng.normal(size=(count, 4)) + 1.0,
    }


def test_a_group_that_is_served_worse_is_seen() -> None:
    rows = {row.name: row for row in group_rows(_faces(0, lost=0.3, seam=1.6), "age", "detector", 0)}
    assert list(rows) == ["young", "middle", "old"]
    old = rows["old"]
    assert old.p["found again"] is not None
    assert old.p["found again"] < 0.01
    assert old.p["seam"] is not None
    assert old.p["seam"] < 0.01
    assert (old.worse, rows["young"].worse) == (("found again", "seam"), ())
    assert old.gaps["found again"] == pytest.approx(0.3, abs=0.1)
    assert min(row.gaps["found again"] for row in rows.values()) == 0  # type: ignore[type-var]
    assert old.figures["seam"].value == pytest.approx(1.6, abs=0.15)
    assert old.figures["found again"].high < rows["young"].figures["found again"].low  # type: ignore[operator]
    gap = gap_figure({"age": list(rows.values())})
    assert gap.value == pytest.approx(0.3, abs=0.1)
    assert "age old against" in gap.note


def test_groups_that_do_not_differ_are_rarely_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anon_batch.evaluate.utility.groups._DRAWS", 399)
    monkeypatch.setattr("anon_batch.evaluate.utility.naturalness._DRAWS", 20)
    flagged = 0
    for seed in range(40):
        rows = group_rows(_faces(seed, count=200, each=2), "age", "detector", seed)
        flagged += any((own or 1.0) < 0.05 for row in rows for own in row.p.values())
    assert flagged <= 6


def test_faces_of_one_image_widen_the_interval() -> None:
    faces = _faces(1, count=400)
    everyone = np.ones(400, np.bool_)
    alone = found_again(faces, everyone)
    faces["found"][:] = np.repeat(faces["found"][::8], 8, axis=0)  # all faces of an image are found or none
    faces["image"] = (np.arange(400) // 8).astype(np.uint64)
    together = found_again(faces, everyone)
    assert together.high - together.low > 1.8 * (alone.high - alone.low)  # type: ignore[operator]


def test_faces_without_traits_give_no_groups() -> None:
    faces = _faces(2, count=50)
    assert group_rows({**faces, "age": np.full(50, "")}, "age", "detector", 0) == []
    assert group_rows(faces, "skin", "detector", 0) == []


def test_class_names_stay_private_unless_the_column_is_published() -> None:
    state = UtilityState()
    codes, rows = _classes(6, classes=2)
    for key, (code, row) in enumerate(zip(codes, rows, strict=True)):
        values = {"label": f"secret {code}", "changed": True, "net before": row, "net after": row}
        state.images.add(key, values)
    hidden, shown = (utility_findings(state, ("net",), named=named) for named in (False, True))
    assert "secret" not in str(hidden)
    assert {row[0] for row in hidden.tables["utility.classes"].rows} == {"class 1", "class 2"}
    assert {row[0] for row in shown.tables["utility.classes"].rows} == {"secret 0", "secret 1"}


def test_too_many_classes_are_no_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anon_batch.evaluate.utility.findings.MOST_CLASSES", 3)
    state = UtilityState(SampledRows(50))
    for key in range(50):
        state.images.add(key, {"label": f"name {key % 4}", "changed": True, "net before": [1.0], "net after": [1.0]})
    assert "4 classes, at most 3" in utility_findings(state, ("net",)).figures["utility.canary"].note
