"""The choice of a donor: exact whatever else is in the batch, among those that fit, and the seed's own."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn_donors import bank_tensors, encoder_tensors, faces, retrieval_of
from replacement_scenes import erased, model, regions
from shifted_memory import shifted

from anon_batch.anonymize.faces import cells, landmarks, retrieve, surroundings
from anon_batch.anonymize.faces.align import extract, frame_of
from anon_batch.anonymize.faces.cost_weights import CostWeights
from anon_batch.anonymize.faces.donors import DonorBank
from anon_batch.anonymize.faces.encoder import CODE, SurroundingsEncoder
from anon_batch.anonymize.faces.retrieve import Retrieval
from anon_batch.anonymize.faces.surroundings import describe
from anon_batch.errors import ConfigError

EXACT = 2**24  # below it float32 holds every whole number
IMAGES = 60
FREE = CostWeights(slack=0.0, widest=1e9, fewest=12, most=40)


@pytest.fixture(scope="module")
def retrieval():
    return retrieval_of(bank_tensors(IMAGES))


@pytest.fixture(scope="module")
def bundled():
    bank = DonorBank(model("donors"))
    return Retrieval(bank, SurroundingsEncoder(bank.tensors)), bank


@pytest.fixture(scope="module")
def many():
    return faces(16)


def parts(choice):
    return choice.donor, choice.tone.tobytes(), choice.cost, choice.best


def test_a_face_alone_and_in_any_batch_has_the_same_donor_to_the_bit(bundled, many):
    retrieval, _ = bundled
    batch = [many[i % 16] for i in range(200)]
    seeds = [i // 16 for i in range(200)]
    together = [parts(choice) for choice in retrieval.choose(batch, seeds)]
    assert len({donor for donor, *_ in together}) > 40
    order = np.random.default_rng(0).permutation(200)[:60]
    mixed = retrieval.choose([batch[i] for i in order], [seeds[i] for i in order])
    assert [parts(choice) for choice in mixed] == [together[i] for i in order]
    for at in (0, 3, 77, 150, 199):
        assert parts(retrieval.choose([batch[at]], [seeds[at]])[0]) == together[at]
    few = retrieval.choose(batch[30:37], seeds[30:37])
    assert [parts(choice) for choice in few] == together[30:37]


def test_nothing_to_choose_for_gives_nothing(retrieval):
    assert retrieval.choose([], []) == []
    assert retrieval.choose_by_seed([], []) == []


def test_the_choice_depends_on_neither_threads_nor_memory(bundled, many):
    retrieval, bank = bundled
    expected = [parts(choice) for choice in retrieval.choose(many[:4], [5, 6, 7, 8])]
    before = torch.get_num_threads()
    try:
        for threads, offset in ((1, 4), (3, 20), (4, 36)):
            torch.set_num_threads(threads)
            moved = [
                (
                    replace(crop, lab=shifted(crop.lab, offset)),
                    replace(place, lab=shifted(place.lab, offset), weight=shifted(place.weight, offset)),
                )
                for crop, place in many[:4]
            ]
            assert [parts(choice) for choice in retrieval.choose(moved, [5, 6, 7, 8])] == expected
    finally:
        torch.set_num_threads(before)
    again = Retrieval(bank, SurroundingsEncoder(bank.tensors))
    assert [parts(choice) for choice in again.choose(many[:4], [5, 6, 7, 8])] == expected


def extreme(seed):
    """Cells of a face whose values are the largest that they can be."""
    rng = np.random.default_rng(seed)
    count = int(cells.compared_cells().sum())
    most_weight, most_code = float(retrieve._WEIGHT_STEPS), float(retrieve._CODE_STEPS)

    def signs(*shape):
        return rng.choice(np.array([-1, 1], np.float32), shape)

    weight = np.full(count, most_weight, np.float32)
    return retrieve._Cells(
        lab=cells._LAB_MOST * signs(count, 3),
        weight=weight,
        skin=weight,
        slope=cells._SLOPE_MOST * signs(count, 2),
        slope_weight=weight,
        code=most_code * signs(CODE),
    )


def largest_sum(retrieval, places):
    """The largest that any sum of these faces' products could be, whatever the signs and the order."""
    found, product = [], retrieval._product

    def noted(name, columns):
        factors = np.abs(retrieval._matrices[name].numpy().astype(np.float64)), np.abs(np.stack(columns, 1))
        found.append(float((factors[0] @ factors[1]).max()))
        return product(name, columns)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "_product", noted)
        retrieval._multiply(places)
    assert len(found) >= 10
    return max(found)


def test_sums_of_the_largest_values_are_exact():
    tensors = bank_tensors(8)
    rng = np.random.default_rng(1)
    tensors["cells"] = (rng.choice([-1, 1], tensors["cells"].shape) * cells._LAB_MOST).astype(np.int8)
    tensors["slopes"] = (rng.choice([-1, 1], tensors["slopes"].shape) * cells._SLOPE_MOST).astype(np.int8)
    tensors["inside"][:] = 1
    tensors["codes"] = rng.choice([-1, 1], tensors["codes"].shape).astype(np.float32)
    retrieval = retrieval_of(tensors)
    places = [extreme(seed) for seed in range(5)]
    sums = retrieval._multiply(places)
    assert largest_sum(retrieval, places) < EXACT
    for at, own in enumerate(places):
        for name, values in (("colour", own.lab), ("slope", own.slope)):
            donors = retrieval._matrices[name].numpy().astype(np.int64).reshape(16, -1, values.shape[1])
            squared = ((donors - values.astype(np.int64)) ** 2).sum(axis=2)
            expected = (squared * own.weight.astype(np.int64)).sum(axis=1)
            assert np.array_equal(sums["ring" if name == "colour" else name][:, at], expected)
        codes = retrieval._matrices["code"].numpy().astype(np.int64) @ own.code.astype(np.int64)
        assert np.array_equal(sums["code"][:, at], codes / float(retrieve._CODE_STEPS) ** 2)


def test_no_sum_can_reach_what_float32_does_not_hold():
    count = int(cells.compared_cells().sum())
    weight, code = float(retrieve._WEIGHT_STEPS), float(retrieve._CODE_STEPS)
    colour = count * weight * float((cells._LAB_MOST**2).sum())
    slope = count * weight * 2 * float(cells._SLOPE_MOST) ** 2
    assert max(colour, slope, CODE * code**2) < EXACT
    assert colour > EXACT / 4  # so that the steps are not much coarser than they need to be


def test_all_that_is_multiplied_is_whole(retrieval, many, bundled):
    for name, matrix in {**retrieval._matrices, **bundled[0]._matrices}.items():
        assert torch.equal(matrix, matrix.round()), name
    for _, place in many:
        own = retrieval._quantise(place)
        for values in (own.lab, own.weight, own.skin, own.slope, own.slope_weight, own.code):
            assert values.dtype == np.float32
            assert np.array_equal(values, np.rint(values))
        assert own.weight.max() <= retrieve._WEIGHT_STEPS
        assert (own.skin <= own.weight).all()
        assert (own.slope_weight <= own.weight).all()


def test_the_bundled_cells_are_within_their_bounds(bundled):
    tensors = bundled[1].tensors
    assert (np.abs(tensors["cells"].astype(int)).max(axis=(0, 1, 2)) <= cells._LAB_MOST).all()
    assert np.abs(tensors["slopes"].astype(int)).max() <= cells._SLOPE_MOST
    assert np.abs(tensors["codes"]).max() <= 1


@pytest.mark.gpu
def test_cuda_gives_the_same_choices(bundled, many):
    retrieval, bank = bundled
    there = Retrieval(bank, SurroundingsEncoder(bank.tensors), "cuda")
    assert [parts(c) for c in there.choose(many, range(16))] == [parts(c) for c in retrieval.choose(many, range(16))]


def test_a_missing_gpu_is_a_config_error(bundled, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    bank = bundled[1]
    with pytest.raises(ConfigError, match=r"engine\.num_gpus"):
        Retrieval(bank, SurroundingsEncoder(bank.tensors), "cuda:0")


def without_codes(images=IMAGES, seed=0):
    """A bank in which the encoder says nothing, so that a mirror image is a face's own opposite."""
    tensors = bank_tensors(images, seed)
    return tensors | {"codes": np.zeros_like(tensors["codes"])}


def mirrored(face):
    """The mirror image of a face whose frame is exactly symmetric."""
    crop, place = face
    flipped = landmarks.mirror(place.points, surroundings.SIDE)
    turned = replace(
        place,
        lab=np.ascontiguousarray(place.lab[:, ::-1]),
        known=np.ascontiguousarray(place.known[:, ::-1]),
        weight=np.ascontiguousarray(place.weight[:, ::-1]),
        skin=np.ascontiguousarray(place.skin[:, ::-1]),
        points=flipped,
    )
    return replace(crop, box=None), turned


def test_a_mirrored_donor_fits_a_mirrored_face_as_well(many):
    retrieval = retrieval_of(without_codes())
    for crop, place in many[:5]:
        own, _ = retrieval.costs(replace(crop, box=None), place)
        other, _ = retrieval.costs(*mirrored((crop, place)))
        swapped = other.reshape(-1, 2)[:, ::-1].ravel()
        assert swapped == pytest.approx(own, abs=2e-3)
        assert np.abs(own.reshape(-1, 2) @ [1, -1]).max() > 0.1  # the two of a pair do differ


def test_of_an_image_and_its_mirror_image_only_the_better_one_is_drawn(many):
    retrieval = retrieval_of(bank_tensors(20), replace(FREE, fewest=20, most=20))
    face = many[0]
    drawn = {choice.donor for choice in retrieval.choose([face] * 110, range(110))}
    assert len({donor // 2 for donor in drawn}) == 20
    assert len(drawn) == 20


@pytest.mark.parametrize(("slack", "fewest", "most"), [(0.0, 12, 40), (0.0, 1, 40), (1e9, 12, 30), (0.7, 4, 40)])
def test_only_donors_near_the_best_or_the_fewest_are_drawn(many, slack, fewest, most):
    retrieval = retrieval_of(bank_tensors(IMAGES), replace(FREE, slack=slack, fewest=fewest, most=most))
    costs = {c.donor: (c.cost, c.best) for c in retrieval.choose([many[1]] * 220, range(220))}
    cost, best = np.array(sorted(costs.values())).T
    assert len(set(best)) == 1
    assert cost[0] == best[0], "the best one is among them"
    near = (cost <= best + slack).sum()
    assert len(cost) == (max(near, fewest) if slack < 1e9 else most)


def test_every_near_donor_is_equally_likely(many):
    draws = 360
    retrieval = retrieval_of(bank_tensors(30), FREE)
    counts = Counter(c.donor for c in retrieval.choose([many[1]] * draws, range(draws)))
    assert len(counts) == FREE.fewest
    expected = draws / FREE.fewest
    chi_squared = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi_squared < 31.3  # with 11 degrees one in a thousand is larger


def test_seeds_decide_among_many_donors(bundled, many):
    retrieval, _ = bundled
    drawn = [choice.donor for choice in retrieval.choose([many[0]] * 60, range(60))]
    assert len(set(drawn)) >= 6


def test_a_seed_keeps_its_donor_where_surroundings_hardly_change(bundled):
    retrieval, _ = bundled
    before, after = faces(40), faces(40, noise=2.0)
    assert not np.array_equal(before[0][1].lab, after[0][1].lab)
    first, second = (retrieval.choose(own, range(40)) for own in (before, after))
    kept = sum(a.donor // 2 == b.donor // 2 for a, b in zip(first, second, strict=True))
    assert kept >= 32
    other = retrieval.choose(before[1:] + before[:1], range(40))
    assert sum(a.donor // 2 == b.donor // 2 for a, b in zip(first, other, strict=True)) < kept - 15


def test_by_seed_the_identity_depends_on_the_seed_alone(bundled, many):
    retrieval, bank = bundled
    seeds = list(range(0, 2**63, 2**59))
    chosen = [[c.donor for c in retrieval.choose_by_seed([face] * 16, seeds)] for face in many[:6]]
    identities = [[donor // 2 for donor in row] for row in chosen]
    assert all(row == identities[0] for row in identities)
    assert len(set(identities[0])) > 13
    assert len({tuple(row) for row in chosen}) > 1, "the mirror image is the one that fits"
    assert max(identities[0]) < len(bank) // 2
    for face, row in zip(many[:6], chosen, strict=True):
        cost, _ = retrieval.costs(*face)
        assert all(cost[donor] <= cost[donor ^ 1] for donor in row)


def test_costs_are_those_of_the_choice_by_seed(retrieval, many):
    cost, tone = retrieval.costs(*many[2])
    (choice,) = retrieval.choose_by_seed([many[2]], [9])
    assert choice.cost == cost[choice.donor]
    assert choice.best == cost.min(), "a face is refused when no donor fits, not when the drawn one does not"
    assert np.array_equal(choice.tone, tone)
    assert cost.shape == (2 * IMAGES,)
    assert np.isfinite(cost).all()


def test_a_donor_fits_its_own_surroundings_best(bundled):
    retrieval, bank = bundled
    ranks = []
    # Because children, the old, and faces with anything striking about them cost more unless all speaks for them.
    plain = bank.label_is("grade", "1") * bank.label_is("age", "teen", "young", "middle") * bank.label_is("fringe", "n")
    for index in np.flatnonzero(plain)[::12]:
        donor = bank.donor(index)
        side = len(donor.pixels)
        (region,) = regions(donor.box, width=side, height=side, shape="face", expansion=1.15, points=[donor.points])
        if region.shape != "face":
            continue
        crop = extract(*erased(donor.pixels, [region]), frame_of(region), region)
        cost, _ = retrieval.costs(crop, describe(crop))
        ranks.append(int((cost < cost[index]).sum()))
    assert len(ranks) >= 8
    assert np.median(ranks) <= 2
    assert max(ranks) < 0.03 * len(bank)


@pytest.mark.parametrize("part", ["pose", "box", "ring", "tone", "unlit", "label"])
def test_each_misfit_costs(many, part):
    tensors = without_codes(4)
    for name, values in tensors.items():
        if len(values) in (4, 8) and name not in ("jpeg_end", "matte_end"):
            step = 2 if len(values) == 8 else 1
            values[step:] = np.tile(values[:step], (len(values) // step - 1, *[1] * (values.ndim - 1)))
    same, _ = retrieval_of(tensors).costs(*many[0])
    assert np.allclose(same[::2], same[0])
    place = many[0][1]
    if part == "pose":
        tensors["landmarks"][2:, 2] += (12, 0)
    elif part == "box":
        tensors["boxes"][2:, 3] += 25
    elif part == "ring":
        own = cells.whole_colours(place.lab)
        tensors["cells"][0], tensors["inside"][:] = own, 1
        tensors["cells"][1:] = np.where(own > 0, own - 15, own + 15)
    elif part == "tone":
        tensors["cheek"][1:] += (20, 0, 0)
        tensors["cheek"][0] = tensors["cheek"][0] - (
            20 * 3,
            0,
            0,
        )  # the mean of all, which is asked for, is that of the rest
    elif part == "unlit":
        tensors["unlit"][1:] += 2
    else:
        tensors["labels"][:, 3] = (0, 1, 1, 1)  # glasses
    cost, _ = retrieval_of(tensors).costs(*many[0])
    if part == "tone":
        assert cost[0] > cost[2] + 1
    else:
        assert cost[2] > cost[0] + 0.3


def test_the_asked_tone_follows_skin_that_shows(bundled, many):
    retrieval, _ = bundled
    crop, place = many[0]
    asked = []
    for tone in ((35.0, 12, 15), (80.0, 10, 14)):
        shown = replace(place, tone=np.array(tone), trust=1.0)
        asked.append(retrieval.costs(crop, shown)[1])
        assert np.abs(asked[-1] - tone).max() < 12
    assert asked[0][0] + 20 < asked[1][0]
    (without,) = retrieval.choose([(crop, replace(place, tone=np.array([5.0, 60, 60]), trust=0.0))], [0])
    assert 40 < without.tone[0] < 85, "no skin, so the tone comes from the donors that fit"


def test_no_face_is_asked_to_be_lighter_than_a_dark_scene_without_skin(bundled, many):
    retrieval, _ = bundled
    crop, place = many[0]
    asked = [
        retrieval.costs(crop, replace(place, brightest=brightest, trust=trust, tone=np.array([70.0, 12, 15])))[1][0]
        for brightest, trust in ((5.0, 0.0), (30.0, 0.0), (95.0, 0.0), (30.0, 1.0))
    ]
    assert asked[0] < 20
    assert asked[0] + 10 < asked[1] < asked[2] - 5
    assert asked[3] > 50, "skin beside the mask shows how light the face is"


def test_weights_of_an_encoder_count(many):
    tensors = bank_tensors(IMAGES)
    one = retrieval_of(tensors).costs(*many[0])[0]
    other = retrieval_of(tensors | encoder_tensors(seed=1)).costs(*many[0])[0]
    assert np.abs(one - other).max() > 0.1


@pytest.mark.parametrize(
    ("weight", "column", "names"), [("child", "age", ("baby", "child")), ("beard", "beard", ("y", "stubble"))]
)
def test_a_child_or_a_beard_costs_more_the_less_speaks_for_one(bundled, many, weight, column, names):
    retrieval, bank = bundled
    own = bank.label_is(column, *names) > 0
    encoder = SurroundingsEncoder(bank.tensors)
    without = Retrieval(bank, encoder, weights=replace(CostWeights(), **{weight: 0.0}))
    more = []
    for face in many[:6]:
        difference = retrieval.costs(*face)[0] - without.costs(*face)[0]
        assert np.abs(difference[~own]).max() < 1e-9
        assert np.ptp(difference[own]) < 1e-9
        more.append(float(difference[own][0]))
    assert 0 <= min(more) < max(more) <= getattr(CostWeights(), weight)
