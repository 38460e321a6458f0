"""`gan`: the same face whatever else is in the batch, latents, faults, and what it starts from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from method_harness import KEY, RUNTIME, make, make_ladder, run_method
from replacement_scenes import crop_of, plain_crop, regions, scenery, turned

from anon_batch import keys
from anon_batch.anonymize.faces.blend import Composite
from anon_batch.anonymize.faces.generator import Generator, GeneratorShape
from anon_batch.anonymize.faces.generator_network import (
    GeneratorNetwork,
    add_change,
    latent_of,
    limit_colour,
    network_input,
)
from anon_batch.anonymize.methods.gan import Gan, fault_of
from anon_batch.errors import ConfigError
from anon_batch.records import DecodedImage

WIDTH, HEIGHT = 320, 240
BOXES = [(30, 40, 70, 90), (120, 100, 190, 190), (250, 30, 280, 70)]
LARGE = (100, 40, 220, 190)
SMALL = GeneratorShape((8, 16, 16), 6, 12, 64)
SMOOTH = replace(SMALL, smooth=True)


def network(std=0.05, seed=0, shape=SMALL):
    """A network whose every weight says something; with std 0 one that changes nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = Generator(shape)
        if std:
            for values in made.parameters():
                torch.nn.init.normal_(values, std=std)
    return made.eval().requires_grad_(requires_grad=False)


def broken(value):
    made = network(0)
    torch.nn.init.constant_(made.head.bias, value)
    return made


def gan(made=None, min_side_px=4, threads=1):
    method = Gan(Gan.Options(min_side_px=min_side_px), RUNTIME)
    method._network = GeneratorNetwork(made or network(), threads, "cpu")
    return method


def photo(seed=0, name=None):
    return DecodedImage(name or f"photo{seed}", scenery(HEIGHT, WIDTH, seed=seed))


def faces(*boxes, **kind):
    return regions(*boxes, width=WIDTH, height=HEIGHT, **kind)


def batch(images):
    return [
        (photo(i), faces(*BOXES[: i % 3 + 1], LARGE) if i == 1 else faces(*BOXES[: i % 3 + 1])) for i in range(images)
    ]


@pytest.mark.parametrize("shape", [SMALL, SMOOTH])
def test_faces_of_a_batch_equal_those_rendered_alone(shape):
    method, work = gan(network(shape=shape)), batch(5)
    assert sum(len(found) for _, found in work) > 9  # large ones among them
    together, backwards = run_method(method, work), run_method(method, work[::-1])[::-1]
    for item, a, b in zip(work, together, backwards, strict=True):
        (alone,) = run_method(method, [item])
        assert a.methods == alone.methods == dict.fromkeys(range(len(item[1])), "gan")
        assert np.array_equal(a.pixels, alone.pixels)
        assert np.array_equal(b.pixels, alone.pixels)


def test_first_three_images_are_the_same_with_six_more():
    method = gan()
    work = [(photo(i), faces(BOXES[i % 3])) for i in range(9)]
    for few, many in zip(run_method(method, work[:3]), run_method(method, work), strict=False):
        assert np.array_equal(few.pixels, many.pixels)


def test_every_call_of_the_network_has_the_same_number_of_faces():
    made, seen = network(), set()
    made.register_forward_pre_hook(lambda _, given: seen.add((tuple(given[0].shape), tuple(given[1].shape))))
    method = gan(made)
    for count in (1, 3, 5):
        run_method(method, [(photo(i), faces(BOXES[0])) for i in range(count)])
    assert len(seen) == 1


def test_number_of_threads_changes_nothing():
    """With three threads in a call, torch sums up parts of several faces' norms, and their last bits change."""
    made = network(shape=GeneratorShape())
    work, before = batch(4), torch.get_num_threads()
    alone = run_method(gan(made), work)
    try:
        torch.set_num_threads(3)  # another network's wish for its own calls
        results = [run_method(gan(made, threads=threads), work) for threads in (1, 2, 3)]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    for result in results:
        for a, b in zip(alone, result, strict=True):
            assert np.array_equal(a.pixels, b.pixels)


def test_network_that_changes_nothing_renders_what_swap_renders():
    for box in (*BOXES, LARGE):
        work = [(photo(2), faces(box, points=[turned(box, 15)]))]
        (made,), (swapped,) = run_method(gan(network(0)), work), run_method(make("swap"), work)
        assert np.array_equal(made.pixels, swapped.pixels)


def test_network_changes_the_image():
    work = [(photo(2), faces(BOXES[1]))]
    (made,), (swapped,) = run_method(gan(), work), run_method(make("swap"), work)
    difference = np.abs(made.pixels.astype(int) - swapped.pixels)
    assert difference[made.touched].mean() > 0.5
    assert not difference[~made.touched].any()


def test_latent_changes_the_image(monkeypatch):
    work = [(photo(2), faces(BOXES[1]))]
    (one,) = run_method(gan(), work)
    monkeypatch.setattr("anon_batch.anonymize.faces.generator_network._LATENT_STREAM", 1 << 65)
    (other,) = run_method(gan(), work)
    assert not np.array_equal(one.pixels, other.pixels)


def test_latent_depends_on_the_seed_and_differs_from_the_donor_choice():
    for seed in (0, 1, 2**64 - 1):
        latent = latent_of(seed, 64)
        assert latent.shape == (64,)
        assert latent.dtype == np.float32
        assert np.array_equal(latent, latent_of(seed, 64))
        assert not np.allclose(latent, keys.generator(seed).standard_normal(64), atol=0.5)
    several = np.array([latent_of(seed, 64) for seed in range(200)])
    assert len(np.unique(several, axis=0)) == 200
    assert abs(several.mean()) < 0.05
    assert several.std() == pytest.approx(1, abs=0.05)


def composite_of(crop, seed=0):
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(0, 255, crop.pixels.shape).astype(np.float32)
    return Composite(pixels, np.clip(0.5 - crop.distance / 8, 0, 1).astype(np.float32))


def test_network_input_holds_composite_masks_and_landmarks():
    crop = crop_of(photo(0).pixels, faces(BOXES[1])[0])
    composite = composite_of(crop)
    given = network_input(crop, composite, crop.side)
    assert given.shape == (10, crop.side, crop.side)
    assert given.dtype == np.float32
    share = composite.alpha[:, :, None]
    placed = crop.pixels * (1 - share) + composite.pixels * share
    assert np.allclose((given[:3].transpose(1, 2, 0) + 1) * 127.5, placed, atol=1e-2)
    assert np.array_equal(given[3] > 0.5, crop.unknown)
    assert np.array_equal(given[4], composite.alpha)
    peaks = [np.unravel_index(bump.argmax(), bump.shape)[::-1] for bump in given[5:]]
    assert np.abs(np.array(peaks) + 0.5 - crop.points).max() < 0.51


@pytest.mark.parametrize("side", [48, 96, 256])
def test_crops_are_scaled_to_the_network(side):
    crop = crop_of(photo(1).pixels, faces(LARGE)[0], side)
    given = network_input(crop, composite_of(crop), 96)
    assert given.shape == (10, 96, 96)
    assert np.abs(given[4].mean() - composite_of(crop).alpha.mean()) < 0.01
    peaks = [np.unravel_index(bump.argmax(), bump.shape)[::-1] for bump in given[5:]]
    assert np.abs(np.array(peaks) + 0.5 - crop.points * 96 / side).max() < 0.51


def test_change_is_added_in_levels():
    pixels = np.full((4, 4, 3), 100, np.float32)
    change = np.zeros((3, 4, 4), np.float32)
    change[2, 1, 3] = 0.4  # blue, second row, last column
    expected = pixels.copy()
    expected[1, 3, 2] = 151
    assert np.allclose(add_change(pixels, change), expected)


def test_change_of_a_large_crop_is_enlarged_and_detail_stays():
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0, 255, (256, 256, 3)).astype(np.float32)
    slope = np.linspace(-0.5, 0.5, 128, dtype=np.float32)
    across = np.broadcast_to(slope, (128, 128))
    change = np.stack([across, across.T, np.full_like(across, 0.2)])
    added = add_change(pixels, change) - pixels
    place = (np.arange(256) + 0.5) / 2 - 0.5
    expected = (-0.5 + place / 127) * 127.5
    assert np.abs(added[100, 4:-4, 0] - expected[4:-4]).max() < 0.2
    assert np.abs(added[4:-4, 100, 1] - expected[4:-4]).max() < 0.2
    assert np.allclose(added[:, :, 2], 25.5, atol=0.01)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (float("nan"), "not finite"),
        (float("inf"), "not finite"),
        (9.0, "beyond black or white"),
        (-9.0, "beyond black or white"),
    ],
)
def test_output_that_cannot_be_a_face_is_refused(value, why):
    work = batch(3)
    for result, (image, found) in zip(run_method(gan(broken(value)), work), work, strict=True):
        assert result.methods == {}
        assert set(result.refused) == {face.index for face in found}
        assert all(why in reason for reason in result.refused.values())
        assert np.array_equal(result.pixels, image.pixels)
        assert not result.touched.any()
    for result, (_, found) in zip(
        make_ladder(gan(broken(value)), make("pixelate")).anonymize(work, KEY), work, strict=True
    ):
        assert result.methods == dict.fromkeys(range(len(found)), "pixelate")


def test_one_broken_face_does_not_break_its_neighbours():
    unlucky = torch.tensor(latent_of(keys.seed(KEY, "photo0", 1), SMALL.latent))

    class Spoilt(Generator):
        def forward(self, inputs, latent):
            made = super().forward(inputs, latent).clone()
            made[(latent == unlucky).all(1)] = float("nan")
            return made

    (result,) = make_ladder(gan(Spoilt(SMALL).eval()), make("pixelate")).anonymize([(photo(), faces(*BOXES))], KEY)
    assert result.methods == {0: "gan", 1: "pixelate", 2: "gan"}


def test_faults_are_found_in_the_unknown_pixels():
    crop = plain_crop(90)
    face = np.random.default_rng(0).uniform(60, 190, crop.pixels.shape).astype(np.float32)
    assert fault_of(crop, face) == ""

    def with_mask(value):
        return np.where(crop.unknown[:, :, None], np.float32(value), face)

    assert "not finite" in fault_of(crop, with_mask(np.nan))
    assert "not finite" in fault_of(crop, with_mask(np.inf))
    assert fault_of(crop, with_mask(300)) == "100% of the generated pixels lie beyond black or white"
    assert "beyond black or white" in fault_of(crop, with_mask(-1))
    assert "flat colour" in fault_of(crop, with_mask(120))
    outside = np.where(crop.unknown[:, :, None], face, np.float32(np.nan))
    assert fault_of(crop, outside) == ""
    one = face.copy()
    one[48, 48, 0] = np.nan
    assert "not finite" in fault_of(crop, one)
    some = face.copy()
    some[:40] = 400
    assert fault_of(crop, some) == ""


def test_small_faces_are_refused_with_the_limit():
    (result,) = run_method(gan(min_side_px=40), [(photo(), faces((20, 20, 40, 45), BOXES[1]))])
    assert result.methods == {1: "gan"}
    assert result.refused == {0: "smaller than 40 px"}


def test_enormous_boxes_are_refused():
    (result,) = run_method(gan(), [(photo(), faces((-1e30, -1e30, 1e30, 1e30)))])
    assert result.methods == {}
    assert list(result.refused) == [0]


def test_a_batch_in_which_no_face_is_left_is_fine():
    results = run_method(gan(min_side_px=1000), batch(3))
    assert [result.methods for result in results] == [{}, {}, {}]


def test_another_run_key_gives_other_faces():
    work = [(photo(1), faces(BOXES[1]))]
    (one,), (other,) = run_method(gan(), work), run_method(gan(), work, bytes(32))
    assert not np.array_equal(one.pixels, other.pixels)


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_missing_cuda_device_is_a_config_error():
    with pytest.raises(ConfigError, match="num_gpus"):
        Gan(Gan.Options(), replace(RUNTIME, device="cuda"))


def test_grey_image_stays_grey():
    made = network()
    grey = np.repeat(scenery(HEIGHT, WIDTH, seed=5)[:, :, :1], 3, axis=2)
    for pixels, colourless in ((grey, True), (scenery(HEIGHT, WIDTH, seed=5), False)):
        image = DecodedImage("p", np.ascontiguousarray(pixels))
        (result,) = run_method(gan(made), [(image, faces(BOXES[1]))])
        inside = result.pixels[result.touched].astype(int)
        assert (np.ptp(inside, axis=1).max() <= 6) == colourless


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_colour_of_a_change_is_limited_to_a_share(share):
    change = np.random.default_rng(0).normal(0, 0.2, (3, 8, 8)).astype(np.float32)
    result = limit_colour(change, share)
    weights = np.array([0.299, 0.587, 0.114])
    assert np.allclose(np.einsum("chw,c->hw", result, weights), np.einsum("chw,c->hw", change, weights), atol=1e-5)
    assert np.allclose(result - result.mean(0), (change - change.mean(0)) * share, atol=1e-5)


def test_half_precision_changes_a_face_by_single_levels(monkeypatch):
    """As on CUDA, where sums are in float16; bfloat16, which every CPU has, is coarser."""
    made = network(0.02)
    image = DecodedImage("p", scenery(HEIGHT, WIDTH, seed=5))
    (exact,) = run_method(gan(made), [(image, faces(BOXES[1]))])
    forward = type(made).forward

    def in_half(network, inputs, latent):
        with torch.autocast("cpu", torch.bfloat16):
            return forward(network, inputs, latent).float()

    monkeypatch.setattr(type(made), "forward", in_half)
    (coarse,) = run_method(gan(made), [(image, faces(BOXES[1]))])
    difference = np.abs(exact.pixels.astype(int) - coarse.pixels)
    assert coarse.methods == exact.methods == {0: "gan"}
    assert 0 < difference.max() <= 3
