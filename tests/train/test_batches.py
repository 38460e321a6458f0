"""Batches depend on seed, step and process alone; donors lie inside the masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_faces import tiny_config

from anon_batch.anonymize.faces.donors import DonorBank
from anon_batch.train import batches
from anon_batch.train.augmentation import MAX_SHIFT_PX, augment, draw_augmentation, draw_view, relight
from anon_batch.train.batches import Batch, BatchSampler, _mirror, own_donor, prefetch
from anon_batch.train.face_crops import read_crops


@pytest.fixture
def sampler(faces: Path, bank: DonorBank, tmp_path: Path) -> BatchSampler:
    return BatchSampler(list(read_crops([faces])), bank, tiny_config(faces, tmp_path, batch_size=6, own_share=0.5))


def _equal(a: Batch, b: Batch) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in Batch.__slots__)


def test_batches_depend_on_step_and_process(sampler: BatchSampler) -> None:
    batch = sampler.batch(7, 0, 16)
    assert _equal(batch, sampler.batch(7, 0, 16))
    for step, process in ((8, 0), (7, 1)):
        assert not torch.equal(batch.inputs, sampler.batch(step, process, 16).inputs)


def test_shapes_and_ranges(sampler: BatchSampler) -> None:
    batch = sampler.batch(0, 0, 16)
    assert batch.inputs.shape == (6, 10, 128, 128)
    assert batch.latent.shape == (6, 16)
    assert batch.own.tolist() == [True] * 3 + [False] * 3
    for images in (batch.inputs[:, :3], batch.truth):
        assert float(images.abs().max()) <= 1.05
    assert set(batch.unknown.unique().tolist()) == {0.0, 1.0}
    assert bool((batch.donor_share <= batch.unknown + 1e-5).all()), "a donor lies inside the mask"
    assert float(batch.donor_share.amax((1, 2, 3)).min()) > 0.9


def test_composite_with_another_donor_contains_nothing_of_the_face(sampler: BatchSampler) -> None:
    outside = sampler.fixed_batch(32, 16)
    known = outside.unknown == 0
    difference = ((outside.inputs[:, :3] - outside.truth).abs() * known).amax((1, 2, 3))
    assert float(difference.max()) < 0.05, "known pixels are the truth, but for what the mask's border lends them"
    inside = ((outside.inputs[:, :3] - outside.truth).abs() * outside.unknown).sum((1, 2, 3)) / outside.unknown.sum(
        (1, 2, 3)
    )
    assert float(inside.min()) > 0.05


def test_fixed_batch_repeats(sampler: BatchSampler) -> None:
    assert _equal(sampler.fixed_batch(5, 16), sampler.fixed_batch(5, 16))
    assert len(sampler.fixed_batch(1000, 16).own) == len(sampler)


def test_views_do_not_depend_on_the_number_of_threads(
    faces: Path, bank: DonorBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crops, config = list(read_crops([faces])), tiny_config(faces, tmp_path, views=2)
    drawn = []
    for threads in (1, 4):
        monkeypatch.setattr(batches.os, "cpu_count", lambda n=threads: n)
        drawn.append(BatchSampler(crops, bank, config).batch(0, 0, 8))
    assert _equal(*drawn)
    assert len(BatchSampler(crops, bank, config)) == 4 * len(crops)


def test_a_mirror_donor_is_the_donor_of_the_mirror_face(faces: Path) -> None:
    face = next(iter(read_crops([faces])))
    flipped, own = _mirror(own_donor(face)), own_donor(face.mirror())
    assert np.allclose(flipped.points, own.points, atol=1e-3)
    assert np.allclose(flipped.box, own.box, atol=1e-3)
    assert np.abs(flipped.pixels.astype(int) - own.pixels).mean() < 2
    for one, other in ((flipped.matte, own.matte), (flipped.head, own.head)):
        assert np.abs(one - other).mean() < 0.03
    again = _mirror(flipped)
    assert np.array_equal(again.pixels, own_donor(face).pixels)


def test_own_donor_matches_the_face(faces: Path) -> None:
    face = next(read_crops([faces]))
    donor = own_donor(face)
    assert donor.pixels.shape == (160, 160, 3)
    scale = 160 / (1.3 * (face.box[2:] - face.box[:2]).max())
    np.testing.assert_allclose((donor.box[2:] - donor.box[:2]), (face.box[2:] - face.box[:2]) * scale, rtol=1e-6)
    np.testing.assert_allclose((donor.box[2:] + donor.box[:2]) / 2, 80, atol=1e-4)
    np.testing.assert_allclose(np.diff(donor.points, axis=0), np.diff(face.points, axis=0) * scale, atol=1e-3)
    x, y = donor.points[2].astype(int)
    u, v = face.points[2].astype(int)
    np.testing.assert_allclose(donor.pixels[y, x].astype(int), face.pixels[v, u].astype(int), atol=3)


def _stamp(step: int) -> Any:
    return step


@pytest.mark.parametrize("ahead", [1, 3, 50])
def test_prefetch_keeps_the_order(ahead: int) -> None:
    assert list(prefetch(_stamp, 4, 24, ahead)) == list(range(4, 24))
    assert list(prefetch(_stamp, 4, 4, ahead)) == []


def test_prefetch_raises_errors_of_its_threads() -> None:
    def draw(step: int) -> Any:
        if step == 2:
            raise ZeroDivisionError
        return step

    pending = prefetch(draw, 0, 9, 2)
    assert [next(pending), next(pending)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(pending)


def test_real_and_generated_images_get_the_same_augmentation() -> None:
    rng = torch.Generator().manual_seed(1)
    images, condition = torch.rand(4, 3, 32, 32, generator=rng), torch.rand(4, 6, 32, 32, generator=rng)
    generated = images + 0.25
    view = draw_view(4, rng)
    (real, asked), (false, asked_again) = augment(images, condition, view), augment(generated, condition, view)
    torch.testing.assert_close(false - real, torch.full_like(real, 0.25))
    assert torch.equal(asked, asked_again)
    brightness, down, right = view
    assert max(abs(down), abs(right)) <= MAX_SHIFT_PX
    torch.testing.assert_close(real, (images + brightness).roll((down, right), (2, 3)))
    assert torch.equal(asked, condition.roll((down, right), (2, 3)))


def test_augmentation_is_differentiable() -> None:
    images = torch.rand(2, 3, 16, 16, requires_grad=True)
    shown, _ = augment(images, torch.zeros(2, 6, 16, 16), draw_view(2, torch.Generator().manual_seed(0)))
    shown.sum().backward()
    assert images.grad is not None
    assert torch.equal(images.grad, torch.ones_like(images))


def test_augmentations_repeat_and_stay_in_range() -> None:
    pixels = np.random.default_rng(0).uniform(0, 255, (64, 64, 3)).astype(np.float32)
    changed = 0
    for seed in range(40):
        augmentation = draw_augmentation(np.random.default_rng(seed))
        once, twice = augmentation(pixels), augmentation(pixels)
        np.testing.assert_array_equal(once, twice)
        assert once.shape == pixels.shape
        assert once.dtype == np.float32
        assert 0 <= once.min() <= once.max() <= 255
        changed += bool((once != pixels).any())
    assert 20 < changed < 40
    light = relight(pixels, np.random.default_rng(0))
    assert light.dtype == np.float32
    assert (light != pixels).any()
