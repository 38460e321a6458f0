"""The bank of donors: what is in it, and who is chosen."""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np
import pytest
from replacement_scenes import (
    DONOR_SIDE,
    SKIN,
    bank_bytes,
    bank_tensors,
    crop_of,
    drawn_donor,
    model,
    plain_crop,
    regions,
    scenery,
)
from safetensors.numpy import save

from anon_batch.anonymize.faces import landmarks
from anon_batch.anonymize.faces.align import Crop
from anon_batch.anonymize.faces.donors import DonorBank
from anon_batch.errors import ModelError

BUNDLED = model("donors")
SHARES = (0.5, 0.25, 0.15, 0.1)


@pytest.fixture(scope="module")
def bank():
    return DonorBank(BUNDLED)


def weighted(shares):
    """A bank whose donors suit any surroundings in these proportions."""
    return DonorBank(bank_bytes(len(shares) // 2, np.sqrt(-2 * np.log(np.array(shares) / max(shares)))))


def scene(seed, amount=0.0):
    """A face's surroundings, changed by some noise and light."""
    (region,) = regions((150, 140, 250, 260), width=400, height=400)
    pixels = scenery(400, 400, seed=seed).astype(float)
    if amount:
        pixels = pixels * (1 + 0.01 * amount) + np.random.default_rng(seed).normal(0, 3 * amount, pixels.shape)
    return crop_of(pixels.clip(0, 255).astype(np.uint8), region)


def test_bundled_bank_has_two_identities_for_each_image(bank):
    assert len(bank) >= 200
    assert len(bank) % 2 == 0


def test_mirrored_donors_are_mirror_images_with_their_landmarks_in_place(bank):
    for index in range(0, len(bank), 90):
        donor, mirror = bank.donor(index), bank.donor(index + 1)
        side = donor.pixels.shape[1]
        assert (donor.index, mirror.index) == (index, index + 1)
        assert np.array_equal(mirror.pixels, donor.pixels[:, ::-1])
        assert np.array_equal(mirror.matte, donor.matte[:, ::-1])
        assert np.allclose(mirror.points, landmarks.mirror(donor.points, side), atol=1e-3)
        assert np.allclose(
            mirror.box, (side - donor.box[2], donor.box[1], side - donor.box[0], donor.box[3]), atol=1e-3
        )
        assert mirror.points[0, 0] < mirror.points[1, 0]  # still in the usual order
        assert donor.pixels.shape == (side, side, 3)
        assert (donor.points > 0).all()
        assert (donor.points < side).all()


def test_every_bundled_donor_has_a_face_with_landmarks_inside(bank):
    for index in range(len(bank)):
        points, box = bank._points[index], bank._boxes[index]
        longer = (box[2:] - box[:2]).max()
        assert (box[2:] - box[:2] > 40).all()
        assert (points > box[:2] - 0.2 * longer).all()
        assert (points < box[2:] + 0.2 * longer).all()
        assert points[3:, 1].mean() > points[:2, 1].mean() + 0.1 * longer


def test_drawn_bank_returns_its_donors():
    bank = weighted(SHARES)
    assert len(bank) == 4
    for image in range(2):
        pixels, box, points = drawn_donor(image)
        donor = bank.donor(2 * image)
        assert np.abs(donor.pixels.astype(int) - pixels).mean() < 3  # JPEG, and not some other channel order
        assert np.allclose(donor.box, box)
        assert np.allclose(donor.points, points, atol=1e-4)


def test_choice_depends_on_surroundings_and_seed_alone(bank):
    other = DonorBank(BUNDLED)
    other.choose(scene(4), 1)  # what was chosen before does not count
    for seed in range(5):
        a, b = bank.choose(scene(0), seed), other.choose(scene(0), seed)
        assert a.donor.index == b.donor.index
        assert np.array_equal(a.tone, b.tone)


def test_seeds_give_many_different_donors(bank):
    crop = scene(0)
    chosen = {bank.choose(crop, seed).donor.index for seed in range(60)}
    assert len(chosen) > 15


def test_donors_are_drawn_in_proportion_to_how_well_they_fit():
    bank, crop, draws = weighted((0.5, 0.5, 0.25, 0.25, 0.15, 0.15, 0.1, 0.1)), plain_crop((40, 80, 170)), 1000
    suits = np.exp(bank._log_weights(crop.points, bank._predict(crop)[1])).reshape(4, 2).max(axis=1)
    assert len({round(float(value), 2) for value in suits}) > 2
    drawn = Counter(bank.choose(crop, seed).donor.index // 2 for seed in range(draws))
    expected = suits / suits.sum() * draws
    counts = np.array([drawn[index] for index in range(4)])
    assert counts.sum() == draws
    assert (
        (counts - expected) ** 2 / expected
    ).sum() < 16.3  # of chi-squared with 3 degrees, one in a thousand is larger


def test_better_one_of_an_image_and_its_mirror_image_is_chosen():
    bank, turns = DonorBank(BUNDLED), 0
    for seed in range(10):
        turned = bank.donor(2 * seed)  # asked for: the pose of one of the donors, one way round and the other
        for points in (turned.points, landmarks.mirror(turned.points, turned.pixels.shape[0])):
            crop = plain_crop(120)
            asked = Crop(crop.pixels, crop.unknown, points * (128 / turned.pixels.shape[0]))
            index = bank.choose(asked, seed).donor.index
            suits = bank._log_weights(asked.points, bank._predict(asked)[1])
            assert suits[index] >= suits[index ^ 1]
            if (
                abs(bank._misfit(asked.points)[index] - bank._misfit(asked.points)[index ^ 1]) > 0.1
            ):  # one looks left, one right
                turns += 1
                assert bank._misfit(asked.points)[index] < bank._misfit(asked.points)[index ^ 1]
    assert turns > 1


def test_donor_with_another_pose_is_hardly_ever_drawn():
    tensors = bank_tensors(2, np.zeros((4, 1)))
    tensors["landmarks"][2:, 3:, 1] -= 70  # the mouth above the eyes
    bank = DonorBank(save(tensors))
    assert sum(bank.choose(plain_crop(90), seed).donor.index < 2 for seed in range(200)) >= 195


def test_rotation_and_size_of_the_target_landmarks_do_not_matter():
    bank = DonorBank(BUNDLED)
    crop = scene(1)
    suits = bank._log_weights(crop.points, bank._traits[0].astype(float))
    turn = np.array([[0.0, -0.4], [0.4, 0.0]])
    assert np.allclose(suits, bank._log_weights(crop.points @ turn.T + 9, bank._traits[0].astype(float)), atol=1e-6)


def test_seed_keeps_its_donor_where_surroundings_hardly_change(bank):
    crop, similar = scene(2), scene(2, amount=1)
    assert not np.array_equal(crop.pixels, similar.pixels)
    kept = sum(bank.choose(crop, seed).donor.index == bank.choose(similar, seed).donor.index for seed in range(60))
    assert kept >= 45


def test_grey_crop_gets_a_grey_tone(bank):
    grey = scene(3)
    levels = grey.pixels.mean(axis=2, keepdims=True)
    choice = bank.choose(Crop(np.repeat(levels, 3, axis=2), grey.unknown, grey.points), 7)
    assert np.abs(choice.tone[1:]).max() < 0.3
    assert 10 < choice.tone[0] < 90
    assert bank.choose(grey, 7).tone[1:].min() > 3


def test_a_light_neck_gets_lighter_donors_than_a_dark_one(bank):
    def lightness(colour):
        crop = plain_crop((120, 130, 150))
        crop.pixels[106:, 40:88] = colour
        found = [bank.choose(crop, seed).donor for seed in range(60)]
        means = [np.average(cv2.cvtColor(d.pixels, cv2.COLOR_RGB2GRAY), weights=d.matte) for d in found]
        return float(np.mean(means))

    assert lightness((95, 62, 48)) + 2 < lightness((240, 205, 185))


def damaged():
    tensors = bank_tensors(2, np.zeros((4, 1)))
    yield "empty", b""
    yield "text", b"no bank of donors at all"
    yield "cut short", BUNDLED[: len(BUNDLED) // 2]
    yield "a broken header", b"\xff" * 64 + BUNDLED[64:]
    yield "another file", save({"weights": np.zeros(3, np.float32)})
    yield "a tensor missing", save({name: tensor for name, tensor in tensors.items() if name != "boxes"})
    yield "traits of another length", save(tensors | {"traits": np.zeros((4, 9), np.float32)})
    yield "weights for another description", save(tensors | {"weight": np.zeros((464, 1), np.float32)})
    yield "landmarks of fewer donors", save(tensors | {"landmarks": tensors["landmarks"][:2]})
    yield (
        "no donor",
        save(
            {
                name: tensor if name in ("weight", "bias", "tone_scale") else tensor[:0]
                for name, tensor in tensors.items()
            }
        ),
    )
    yield "images that are none", save(tensors | {"jpeg": np.zeros_like(tensors["jpeg"])})


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in damaged()])
def test_bytes_that_are_not_a_bank_are_refused(data):
    with pytest.raises(ModelError, match="donor bank"):
        DonorBank(data)


def test_image_of_a_donor_has_the_drawn_colours():
    donor = weighted(SHARES).donor(0)
    middle = donor.pixels[70:75, DONOR_SIDE // 2 - 4 : DONOR_SIDE // 2 + 4].reshape(-1, 3).mean(axis=0)
    assert np.abs(middle - SKIN).max() < 4


@pytest.mark.parametrize(
    "heads",
    [
        np.zeros((1, 80, 80), np.uint8),
        np.zeros((2, 80, 80), np.float32),
        np.zeros((2, 80), np.uint8),
    ],
)
def test_bank_whose_heads_do_not_fit_its_images_is_refused(heads):
    with pytest.raises(ModelError, match="heads"):
        DonorBank(save({**bank_tensors(2, np.zeros((4, 1))), "heads": heads}))
