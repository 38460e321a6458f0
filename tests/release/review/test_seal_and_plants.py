"""The sealed truth about planted faces, and the faces themselves."""

from __future__ import annotations

import base64
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from review_releases import Made, make_release

from anon_batch.anonymize.faces.donors import DonorBank
from anon_batch.release.review.draw import ReviewSettings, draw_sample
from anon_batch.release.review.items import make_items
from anon_batch.release.review.plants import largest_px, plant_faces
from anon_batch.release.review.seal import is_caught, review_id, seal, unseal

BOX = st.tuples(*[st.floats(0, 5000, width=32)] * 4)
SETTINGS = ReviewSettings(claim=0.2, allow_uncaught=0)


@given(st.integers(0, 2**64 - 1), st.lists(st.none() | BOX))
def test_the_truth_comes_back(number: int, planted: list[tuple[float, float, float, float] | None]) -> None:
    identity = f"{number:016x}"
    assert unseal(identity, seal(identity, planted)) == planted


def test_equal_truths_do_not_look_equal() -> None:
    sealed = base64.b64decode(seal("0123456789abcdef", [None, (1.0, 2.0, 3.0, 4.0)] * 100))
    flags = sealed[::17]
    assert len(set(flags)) > 60
    assert abs(sum(flag & 1 for flag in flags[1::2]) - 50) < 25, "the lowest bit does not say it either"


@pytest.mark.parametrize("sealed", ["not base64!", base64.b64encode(b"short").decode()])
def test_damaged_seals_are_refused(sealed: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        unseal("0123456789abcdef", sealed)


def test_a_mark_without_a_box_or_with_one_that_touches_finds_the_planted_face() -> None:
    face = (10.0, 10.0, 20.0, 20.0)
    assert is_caught(face, [])
    assert is_caught(face, [(50.0, 50.0, 60.0, 60.0), (19.0, 19.0, 30.0, 30.0)])
    assert not is_caught(face, [(20.0, 10.0, 30.0, 20.0)])


def test_faces_are_planted_in_other_outputs_and_the_sample_stays_as_it_is(
    made: Callable[[str], Made], bank: DonorBank
) -> None:
    own = made("files")
    sample = draw_sample(own.release, SETTINGS)
    items = make_items(own.release, sample, bank)
    sampled = [item for item in items if item.planted is None]
    planted = [item for item in items if item.planted is not None]
    assert sorted(item.output.image_id for item in sampled) == sorted(own.image_id for own in sample.outputs)
    assert len(planted) == sample.plan.planted > 0
    assert {item.output.image_id for item in planted}.isdisjoint(item.output.image_id for item in sampled)
    for item in planted:
        x1, y1, x2, y2 = item.planted or (0, 0, 0, 0)
        assert 0 <= x1 < x2 <= item.output.width
        assert 0 <= y1 < y2 <= item.output.height
        for (left, top, right, bottom), *_ in item.output.regions:
            assert x2 <= left or x1 >= right or y2 <= top or y1 >= bottom, "a region would hide it"
    order = [item.planted is not None for item in items]
    assert order != sorted(order), "planted ones are not at an end"
    assert items == make_items(own.release, sample, bank), "the same command makes the same page"


def test_planted_faces_change_the_pixels_and_have_many_sizes(made: Callable[[str], Made], bank: DonorBank) -> None:
    own = made("files")
    sample = draw_sample(own.release, SETTINGS)
    sides = []
    for planted in plant_faces(own.release, sample, bank):
        x1, y1, x2, y2 = (round(edge) for edge in planted.box)
        inside = np.zeros(planted.pixels.shape[:2], bool)
        inside[y1:y2, x1:x2] = True
        assert planted.pixels.shape == (96, 120, 3)
        sides.append(max(x2 - x1, y2 - y1))
    assert len(set(sides)) > 3
    assert max(sides) <= largest_px(sample.outputs)


def test_a_small_release_plants_in_its_own_outputs_again(
    tmp_path_factory: pytest.TempPathFactory, bank: DonorBank
) -> None:
    own = make_release(tmp_path_factory.mktemp("small"), count=1)
    sample = draw_sample(own.release, ReviewSettings(claim=0.5, allow_uncaught=0))
    items = make_items(own.release, sample, bank)
    assert sum(item.planted is not None for item in items) == sample.plan.planted > len(sample.spare)


def test_the_id_depends_on_the_truth_and_the_order(made: Callable[[str], Made]) -> None:
    sample = draw_sample(made("files").release, SETTINGS)
    box = (1.0, 2.0, 3.0, 4.0)
    ids = {
        review_id(sample, ["a", "b"], [None, box]),
        review_id(sample, ["a", "b"], [box, None]),
        review_id(sample, ["b", "a"], [None, box]),
    }
    assert len(ids) == 3
