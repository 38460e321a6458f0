"""The seam: closed, outside the mask, within reach, and where old and new pixels differ least."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replacement_scenes import crop_of, plain_crop, regions, scenery, turned

from anon_batch.anonymize.faces import seam
from anon_batch.anonymize.faces.seam import FEATHER, RAYS, STEPS, find_alpha

SIDE = 96
REACH = 10.0  # px of the crop


def full(value, side=SIDE):
    return np.full((side, side), value, np.float32)


def everywhere(side=SIDE):
    return np.ones((side, side), bool)


def real_crop(degrees=20, box=(60, 50, 130, 150), size=200):
    (region,) = regions(box, width=size, height=size, shape="face", expansion=1.15, points=[turned(box, degrees)])
    return crop_of(scenery(size, size, seed=2), region)


def contour(crop, alpha):
    """Distances from the mask at which the new face's share is a half."""
    half = (alpha[:, :-1] >= 0.5) != (alpha[:, 1:] >= 0.5)
    return crop.distance[:, :-1][half]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.floats(0.2, 24), st.sampled_from([48, 96, 160]), st.floats(0, 1))
def test_alpha_is_one_in_the_mask_and_nothing_beyond_reach(seed, reach, side, hole):
    rng = np.random.default_rng(seed)
    crop = plain_crop(120, side)
    difference = rng.uniform(0, 60, (side, side)).astype(np.float32)
    valid = rng.random((side, side)) > hole
    alpha = find_alpha(crop, difference, valid, reach)
    assert alpha.dtype == np.float32
    assert alpha.min() >= 0
    assert alpha.max() <= 1
    assert (alpha[crop.unknown & (crop.distance <= 0)] == 1).all()
    assert not alpha[crop.distance > reach + 1e-4].any()
    assert not alpha[~valid & ~crop.unknown].any(), "where the donor's image does not reach, the old pixels stay"


@pytest.mark.parametrize("crop", [real_crop(), real_crop(-35, (-20, 40, 60, 150)), real_crop(0, (150, 140, 215, 230))])
def test_turned_and_cut_faces_have_a_seam(crop):
    difference = np.random.default_rng(0).uniform(0, 60, crop.distance.shape).astype(np.float32)
    alpha = find_alpha(crop, difference, everywhere(crop.side), 0.1 * crop.side)
    assert (alpha[crop.unknown & (crop.distance <= 0)] == 1).all()
    assert not alpha[crop.distance > 0.1 * crop.side].any()
    assert ((alpha > 0) & (alpha < 1)).mean() > 0.01


@pytest.mark.parametrize("level", [0.0, 25.0])
def test_without_a_better_place_the_seam_stays_at_the_mask(level):
    crop = plain_crop(120)
    where = contour(crop, find_alpha(crop, full(level), everywhere(), REACH))
    assert np.abs(where).max() < 2


def test_the_seam_goes_out_to_where_pixels_agree():
    crop = plain_crop(120)
    difference = np.where(crop.distance < 5, np.float32(40), np.float32(1))
    where = contour(crop, find_alpha(crop, difference, everywhere(), REACH))
    assert 4 < where.mean() < 8


def test_the_seam_goes_out_on_one_side_alone():
    crop = plain_crop(120)
    right = np.arange(SIDE)[None, :] > SIDE * 0.6
    difference = np.where((crop.distance < 5) & right, np.float32(40), np.float32(1))
    alpha = find_alpha(crop, difference, everywhere(), REACH)
    row = alpha[SIDE // 2] >= 0.5
    reached = [crop.distance[SIDE // 2, at] for at in (np.flatnonzero(row)[0], np.flatnonzero(row)[-1])]
    assert reached[0] < 2
    assert reached[1] > 3.5


def test_the_seam_avoids_places_without_donor():
    crop = plain_crop(120)
    difference = np.where(crop.distance < 5, np.float32(40), np.float32(1))
    valid = crop.distance < 3
    where = contour(crop, find_alpha(crop, difference, valid, REACH))
    assert where.max() < 3


def test_alpha_fades_over_the_feather():
    for side in (96, 160):
        crop = plain_crop(120, side)
        alpha = find_alpha(crop, full(1, side), everywhere(side), 0.1 * side)
        line = alpha[side // 2, : side // 2]
        assert (np.diff(line) >= -1e-6).all()
        fading = np.count_nonzero((line > 0) & (line < 1))
        assert 1 <= fading <= FEATHER * side + 2


@pytest.mark.parametrize("reach", [3.0, 8.0, 14.0])
def test_the_seam_has_no_jump_around_the_face(reach):
    crop = plain_crop(120)
    rng = np.random.default_rng(4)
    alpha = find_alpha(crop, rng.uniform(0, 40, (SIDE, SIDE)).astype(np.float32), everywhere(), reach)
    turn = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    y, x = (crop.unknown.any(axis=1).sum() / 2, crop.unknown.any(axis=0).sum() / 2)
    steps = np.linspace(0.85, 1.6, 120)[:, None]
    px = (SIDE / 2 + steps * x * np.cos(turn)).astype(int).clip(0, SIDE - 1)
    py = (SIDE / 2 + steps * y * np.sin(turn)).astype(int).clip(0, SIDE - 1)
    inside = alpha[py, px] >= 0.5
    outermost = np.array(
        [crop.distance[py[k, i], px[k, i]] for i, k in enumerate(120 - 1 - inside[::-1].argmax(axis=0))]
    )
    jumps = np.abs(np.diff(np.append(outermost, outermost[0])))
    assert jumps.max() < 4.5, "also from the last ray to the first"


def closed_cost(cost, bend, path):
    return sum(cost[ray, path[ray]] + bend * abs(path[ray] - path[ray - 1]) for ray in range(len(path)))


@pytest.mark.parametrize("seed", range(12))
def test_the_path_is_about_the_cheapest_closed_one(monkeypatch, seed):
    rays, steps, bend = 6, 3, 1.0
    monkeypatch.setattr(seam, "RAYS", rays)
    monkeypatch.setattr(seam, "STEPS", steps)
    cost = np.random.default_rng(seed).uniform(0, 3, (rays, steps)).astype(np.float32)
    path = seam._cheapest_cycle(cost, bend)
    best = min(closed_cost(cost, bend, other) for other in product(range(steps), repeat=rays))
    worst = max(closed_cost(cost, bend, other) for other in product(range(steps), repeat=rays))
    assert closed_cost(cost, bend, path) <= best + 0.12 * (worst - best)


@pytest.mark.parametrize("start", [0, 20, 31, 32, 50, 63])
def test_a_clear_valley_is_followed_wherever_it_begins(start):
    rng = np.random.default_rng(start)
    valley = np.clip(np.cumsum(rng.integers(-1, 2, RAYS // 2)), -3, 3)
    valley = np.roll(np.concatenate([valley, valley[::-1]]), start) + 4
    cost = np.full((RAYS, STEPS), 9, np.float32)
    cost[np.arange(RAYS), valley] = 0
    assert np.array_equal(seam._cheapest_cycle(cost, 0.5), valley)


def test_more_bend_makes_a_smoother_path():
    cost = np.random.default_rng(0).uniform(0, 3, (RAYS, STEPS)).astype(np.float32)
    lengths = []
    for bend in (0.0, 0.3, 3.0):
        path = seam._cheapest_cycle(cost, bend)
        lengths.append(np.abs(np.diff(np.append(path, path[0]))).sum())
    assert lengths[0] > lengths[1] > lengths[2]
    assert np.array_equal(seam._cheapest_cycle(cost, 0.0), cost.argmin(axis=1))
