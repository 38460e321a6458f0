"""Batches depend on seed, step and process alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_faces import tiny_config

from anon_batch.train.augmentation import MAX_SHIFT_PX, augment, draw_augmentation, draw_view, relight
from anon_batch.train.batches import Batch, BatchSampler, prefetch
from anon_batch.train.composites import CompositeMaker, Composites, join
from anon_batch.train.face_crops import read_crops


@pytest.fixture(scope="module")
def composites(faces: Path, bank: bytes) -> Composites:
    maker = CompositeMaker(bank, 64, 1, (1.1, 1.3), 3)
    return join([maker.make(face) for face in list(read_crops([faces]))[:4]])


@pytest.fixture
def sampler(composites: Composites, faces: Path, tmp_path: Path) -> BatchSampler:
    return BatchSampler(composites, tiny_config(faces, tmp_path, batch_size=6, own_share=0.5))


def _equal(a: Batch, b: Batch) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in Batch.__slots__)


def test_batches_depend_on_step_and_process(sampler: BatchSampler) -> None:
    batch = sampler.batch(7, 0, 16)
    assert _equal(batch, sampler.batch(7, 0, 16))
    for step, process in ((8, 0), (7, 1)):
        assert not torch.equal(batch.inputs, sampler.batch(step, process, 16).inputs)


def test_shapes_and_ranges(sampler: BatchSampler) -> None:
    batch = sampler.batch(0, 0, 16)
    assert batch.inputs.shape == (6, 10, 64, 64)
    assert batch.latent.shape == (6, 16)
    assert batch.own.tolist() == [True] * 3 + [False] * 3
    for images in (batch.inputs[:, :3], batch.truth):
        assert images.dtype == torch.float32
        assert float(images.abs().max()) <= 1
    assert set(batch.unknown.unique().tolist()) == {0.0, 1.0}
    assert float(batch.share[batch.unknown == 1].mean()) > 0.9, "the new face covers what is unknown"
    assert torch.equal(batch.inputs[:, 3:5], torch.cat([batch.unknown, batch.share], 1))
    assert 0.5 < float(batch.inputs[:, 5:].amax((2, 3)).min()) <= 1


def test_composite_and_truth_share_their_light(sampler: BatchSampler) -> None:
    batch = sampler.batch(1, 0, 16)
    known = (batch.share == 0).expand_as(batch.truth)
    difference = (batch.inputs[:, :3] - batch.truth).abs()
    assert float(difference[known].mean()) < 0.02
    for inside in ((difference * batch.unknown).sum((1, 2, 3)) / batch.unknown.sum((1, 2, 3)))[~batch.own]:
        assert float(inside) > 0.05, "another donor"


def test_fixed_batches_repeat_and_hold_everything(sampler: BatchSampler) -> None:
    first, again = list(sampler.fixed_batches(6, 16)), list(sampler.fixed_batches(6, 16))
    assert all(_equal(a, b) for a, b in zip(first, again, strict=True))
    assert sum(len(batch.own) for batch in first) == len(sampler) == 4 * 4
    assert first[0].own.tolist() == [False, True] * 3


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
