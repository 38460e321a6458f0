"""Known answers of the losses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from anon_batch.train import losses
from anon_batch.train.batches import Batch
from anon_batch.train.discriminator import hinge

SIDE = 32
OWN = torch.tensor([True, False])


def _batch(own: Tensor = OWN) -> Batch:
    rng = torch.Generator().manual_seed(0)
    truth = torch.rand(2, 3, SIDE, SIDE, generator=rng) * 2 - 1
    inputs = torch.rand(2, 10, SIDE, SIDE, generator=rng) * 2 - 1
    unknown = torch.zeros(2, 1, SIDE, SIDE)
    unknown[:, :, 8:24, 8:24] = 1
    share = torch.zeros_like(unknown)
    share[:, :, 12:20, 12:20] = 1
    return Batch(inputs, torch.zeros(2, 4), truth, unknown, share, own)


def _changed(images: Tensor, row: int, amount: float = 0.5) -> Tensor:
    changed = images.clone()
    changed[row, :, 8:24, 8:24] += amount
    return changed


def test_blend_changes_the_composite_where_the_new_face_shows() -> None:
    batch = _batch()
    batch.share[1] /= 2
    placed = batch.inputs[:, :3]
    image = losses.blend(batch, placed + 2)
    torch.testing.assert_close(image, placed + 2 * batch.share)


def test_losses_of_equal_images_are_zero() -> None:
    batch = _batch()
    assert float(losses.truth_loss(batch, batch.truth)) == 0
    assert float(losses.colour_loss(batch, batch.truth)) == 0
    assert float(losses.donor_loss(batch, batch.inputs[:, :3])) == 0
    features = (torch.rand(2, 4, 8, 8), torch.rand(2, 8, 4, 4))
    assert float(losses.feature_loss(batch.own, features, features)) == 0


def test_truth_loss_is_over_own_donors_inside_the_mask() -> None:
    batch = _batch()
    assert float(losses.truth_loss(batch, _changed(batch.truth, 0))) == pytest.approx(0.5, rel=1e-4)
    assert float(losses.truth_loss(batch, _changed(batch.truth, 1))) == 0
    outside = batch.truth.clone()
    outside[0, :, :4] += 1
    assert float(losses.truth_loss(batch, outside)) == 0


def test_colour_loss_is_over_other_donors() -> None:
    batch = _batch()
    assert float(losses.colour_loss(batch, _changed(batch.truth, 1))) == pytest.approx(0.5, rel=1e-4)
    assert float(losses.colour_loss(batch, _changed(batch.truth, 0))) == 0
    checked = batch.truth.clone()
    checked[1, :, 8:24, 8:24] += torch.tensor([1.0, -1.0]).repeat(16, 8)
    assert float(losses.colour_loss(batch, checked)) == pytest.approx(0, abs=1e-6), "detail is free"


def test_low_loss_is_over_own_donors() -> None:
    batch = _batch()
    assert float(losses.low_loss(batch, _changed(batch.truth, 0))) == pytest.approx(0.5, rel=1e-4)
    assert float(losses.low_loss(batch, _changed(batch.truth, 1))) == 0
    checked = batch.truth.clone()
    checked[0, :, 8:24, 8:24] += torch.tensor([1.0, -1.0]).repeat(16, 8)
    assert float(losses.low_loss(batch, checked)) == pytest.approx(0, abs=1e-6), "detail is free"


def test_donor_loss_is_over_other_donors_and_ignores_light() -> None:
    batch = _batch()
    donor = batch.inputs[:, :3]
    assert float(losses.donor_loss(batch, donor + 0.3)) == pytest.approx(0, abs=1e-5)
    assert float(losses.donor_loss(batch, donor * 1.1)) < 0.01
    flipped = donor.clone()
    flipped[1] = -donor[1]
    assert float(losses.donor_loss(batch, flipped)) > 1
    flipped[1], flipped[0] = donor[1], -donor[0]
    assert float(losses.donor_loss(batch, flipped)) == 0


def test_feature_loss_is_over_own_donors() -> None:
    real = (torch.full((2, 4, 8, 8), 2.0),)
    for row, expected in ((0, 0.5), (1, 0.0)):
        generated = (real[0].clone(),)
        generated[0][row] += 1
        assert float(losses.feature_loss(OWN, generated, real)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("own", [True, False])
def test_loss_without_faces_is_zero_and_has_gradients(own: bool) -> None:
    batch = _batch(torch.tensor([own, own]))
    image = _changed(batch.truth, 0).requires_grad_()
    features = image[:, :, ::4, ::4]
    absent = (
        losses.colour_loss(batch, image) + losses.donor_loss(batch, image)
        if own
        else (losses.truth_loss(batch, image) + losses.feature_loss(batch.own, (features,), (features.detach() + 1,)))
    )
    absent.backward()
    assert float(absent.detach()) == 0
    assert image.grad is not None
    assert float(image.grad.abs().max()) == 0


def test_hinge() -> None:
    assert float(hinge(torch.tensor([1.0, 2.0]), torch.tensor([-1.0, -3.0]))) == 0
    assert float(hinge(torch.tensor([0.0]), torch.tensor([0.5]))) == 2.5
