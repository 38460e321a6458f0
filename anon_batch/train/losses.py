"""The generator's losses."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own custom
from torch import Tensor

from anon_batch.train.batches import Batch

_POOL = 16  # px over which colours are compared


def blended(batch: Batch, generated: Tensor) -> Tensor:
    """The picture that results: generated inside the mask, the truth outside."""
    return batch.truth * (1 - batch.unknown) + generated * batch.unknown


def truth_loss(batch: Batch, picture: Tensor) -> Tensor:
    """L1 to the truth inside the mask, of faces that are their own donor."""
    return _mean_where((picture - batch.truth).abs(), batch.unknown, batch.own)


def donor_loss(batch: Batch, picture: Tensor) -> Tensor:
    """L1 to the donor as laid in, where it lies, of the other faces; both with mean 0 and deviation 1 by channel.

    It holds the donor's features and leaves light and tone free.
    """
    others = ~batch.own
    share = batch.donor_share * (batch.donor_share > 0.5)
    difference = _normalised(picture, share) - _normalised(batch.inputs[:, :3], share)
    return _mean_where(difference.abs(), share, others)


def colour_loss(batch: Batch, picture: Tensor) -> Tensor:
    """L1 between means over 16 x 16 px of picture and truth, of faces with another donor."""
    others = ~batch.own
    if not bool(others.any()):
        return picture.sum() * 0
    difference = F.avg_pool2d((picture - batch.truth) * batch.unknown, _POOL)[others]
    return difference.abs().sum() / (3 * F.avg_pool2d(batch.unknown, _POOL)[others].sum() + 1e-6)


def feature_loss(own: Tensor, generated: tuple[Tensor, ...], real: tuple[Tensor, ...]) -> Tensor:
    """L1 between a detector's features, each level in units of its own mean, of faces that are their own donor."""
    if not bool(own.any()):
        return generated[0].sum() * 0
    levels = [
        (a[own] - b[own]).abs().mean() / (b[own].abs().mean() + 1e-6) for a, b in zip(generated, real, strict=True)
    ]
    return torch.stack(levels).mean()


def _normalised(values: Tensor, share: Tensor) -> Tensor:
    total = share.sum((2, 3), keepdim=True) + 1e-3
    mean = (values * share).sum((2, 3), keepdim=True) / total
    variance = ((values - mean) ** 2 * share).sum((2, 3), keepdim=True) / total
    return (values - mean) / (variance + 0.0025).sqrt()


def _mean_where(values: Tensor, share: Tensor, rows: Tensor) -> Tensor:
    """Weighted mean of (B, 3, S, S) over some rows, 0 where there is none."""
    chosen = share * rows[:, None, None, None]
    return (values * chosen).sum() / (3 * chosen.sum() + 1e-6)
