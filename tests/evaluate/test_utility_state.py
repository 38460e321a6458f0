"""States of utility: the same numbers however the images are split, merged or ordered."""

from __future__ import annotations

from functools import cache, reduce
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anon_batch.evaluate.utility.detection_kept import DetectionKept
from anon_batch.evaluate.utility.findings import utility_findings
from anon_batch.evaluate.utility.meter import SeenImage, UtilityMeter
from anon_batch.evaluate.utility.sampled_rows import KEY, SampledRows
from anon_batch.evaluate.utility.state import UtilityState
from anon_batch.geometry import regions_of
from anon_batch.records import Detections, FloatArray, GroundTruth, PixelArray

SIDE = 96


class _Colours:
    """Stands for a network: means of quarters of the image."""

    name = "colours"
    dimensions = 12

    def of(self, images: Any) -> FloatArray:
        return np.array([_quarters(image) for image in images], np.float32).reshape(len(images), 12)


class _FaceColours:
    name = "detector"

    def of(self, crop: PixelArray) -> Any:
        return _quarters(crop)


def _quarters(image: PixelArray) -> Any:
    height, width = image.shape[0] // 2, image.shape[1] // 2
    parts = [image[:height, :width], image[:height, width:], image[height:, :width], image[height:, width:]]
    return np.concatenate([part.mean(axis=(0, 1)) for part in parts]) / 64


def _detections(*boxes: Any, score: float = 0.9) -> Detections:
    own = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(
        own, np.full(len(own), score, np.float32), np.full((len(own), 5, 2), np.nan, np.float32), ("d",) * len(own)
    )


@cache
def _image(number: int) -> SeenImage:
    rng = np.random.default_rng(number)
    original = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    box = np.array([20, 20, 60, 62], np.float32) + rng.integers(0, 20)
    found = _detections(box)
    regions = regions_of(found, SIDE, SIDE, 1.2, "ellipse")
    output = original.copy()
    output[30:60, 30:60] //= 2
    traits = {0: {"age": "young" if number % 2 else "old", "sex": "f", "skin": str(1 + number % 3)}}
    again = _detections(box) if number % 4 else Detections.empty()
    truth = GroundTruth(box[None], np.zeros(1, np.bool_), ("face",))
    return SeenImage(
        f"image-{number}", original, None if number % 11 == 10 else output, regions, traits, truth, f"c{number % 2}",
        (found, again),
    )  # fmt: skip


def _state(numbers: Any, capacity: int = 5000) -> UtilityState:
    meter = UtilityMeter([_Colours()], [_FaceColours()])  # type: ignore[list-item]
    state = UtilityState(SampledRows(capacity), SampledRows(capacity))
    for number in numbers:
        meter.add(state, _image(number))
    return state


def _same(one: UtilityState, other: UtilityState) -> None:
    for a, b in ((one.images, other.images), (one.faces, other.faces)):
        assert a.columns().keys() == b.columns().keys()
        for name, column in a.columns().items():
            np.testing.assert_array_equal(column, b.columns()[name])
    assert (one.detection, one.seen, one.withheld) == (other.detection, other.seen, other.withheld)


@settings(max_examples=12, deadline=None)
@given(st.permutations(range(12)), st.lists(st.integers(0, 12), max_size=3).map(sorted), st.sampled_from([3, 10, 5000]))
def test_any_split_order_and_grouping_gives_the_same_state(order: Any, cuts: Any, capacity: int) -> None:
    parts = [order[a:b] for a, b in zip([0, *cuts], [*cuts, 12], strict=True)]
    merged = reduce(UtilityState.merge, [_state(part, capacity) for part in parts])
    from_the_right = reduce(lambda a, b: b.merge(a), [_state(part, capacity) for part in reversed(parts)])
    whole = _state(range(12), capacity)
    _same(merged, whole)
    _same(from_the_right, whole)
    _same(UtilityState(SampledRows(capacity), SampledRows(capacity)).merge(whole), whole)


def test_the_same_numbers_for_any_sharding() -> None:
    whole = utility_findings(_state(range(150)), ("colours",))
    parts = reduce(UtilityState.merge, [_state(range(at, 150, 7)) for at in range(7)])
    assert utility_findings(parts, ("colours",)) == whole
    missing = {name for name, figure in whole.figures.items() if figure.value is None}
    assert missing == {"naturalness.probe.noise", "groups.gap"}  # no such features; only 150 faces
    assert set(whole.tables) == {"utility.classes", "groups.age", "groups.sex", "groups.skin"}
    assert whole.figures["utility.ap_kept"].value == pytest.approx(0.7, abs=0.1)  # a quarter is not found again


@pytest.mark.parametrize("numbers", [(), (1,), range(9)])
def test_few_images_give_reasons_instead_of_figures(numbers: Any) -> None:
    found = utility_findings(_state(numbers), ("colours",))
    for name in ("utility.canary", "utility.kernel", "naturalness.probe", "naturalness.seam", "groups.gap"):
        assert found.figures[name].value is None
        assert found.figures[name].note.startswith("not measured")


def test_a_network_that_is_missing_is_named() -> None:
    found = utility_findings(_state(range(30)))
    assert "--features FILE" in found.figures["utility.canary"].note
    assert "--features FILE" in found.figures["utility.frechet"].note


@given(st.lists(st.integers(0, 2**64 - 1), unique=True, max_size=40), st.integers(1, 8))
def test_the_sample_holds_the_smallest_hashes(keys: list[int], capacity: int) -> None:
    rows = SampledRows(capacity)
    for key in keys:
        rows.add(key, {"double": 2.0 * key})
    kept = rows.columns()
    assert [int(key) for key in kept.get(KEY, ())] == sorted(keys)[:capacity]
    assert len(rows) == min(capacity, len(keys))
    assert all(not rows.wants(key) for key in sorted(keys)[capacity:])


def test_samples_of_different_kinds_do_not_merge() -> None:
    one, other, third = SampledRows(4), SampledRows(4), SampledRows(5)
    one.add(1, {"a": 1.0})
    other.add(2, {"b": 1.0})
    with pytest.raises(ValueError, match="columns"):
        one.merge(other)
    with pytest.raises(ValueError, match="capacity"):
        one.merge(third)


@pytest.mark.full
def test_the_interval_of_precision_kept_covers_the_truth() -> None:
    """Images with few or many faces, of which some are lost together; the truth is that of very many images."""

    def kept(images: int, seed: int) -> Any:
        rng, state = np.random.default_rng(seed), DetectionKept()
        for _ in range(images):
            faces, lost = int(rng.integers(1, 6)), rng.choice([0.05, 0.4])
            boxes = np.array([[40 * at, 0, 40 * at + 30, 30] for at in range(faces)], np.float32)
            scores = rng.uniform(0.3, 1, faces).astype(np.float32)
            found = Detections(boxes, scores, np.full((faces, 5, 2), np.nan, np.float32), ("d",) * faces)
            truth = GroundTruth(boxes, np.zeros(faces, np.bool_), ("face",) * faces)
            state.add(int(rng.integers(0, 2**63)), found, found.take(rng.random(faces) >= lost), truth)
        return state.figure()

    truth = kept(5_000, 1).value
    figures = [kept(100, seed) for seed in range(2, 102)]
    covered = np.mean([own.low <= truth <= own.high for own in figures])
    assert covered >= 0.88
