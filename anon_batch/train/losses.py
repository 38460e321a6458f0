"""The generator's losses."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor

from anon_batch.train.batches import Batch

_POOL = 16  # px over which colours are compared


def blend(batch: Batch, generated: Tensor) -> Tensor:
    """Return the resulting images: the composite, changed where the new face shows."""
    placed = batch.inputs[:, :3]
    return placed + (generated - placed) * batch.share


def truth_loss(batch: Batch, image: Tensor) -> Tensor:
    """Return L1 to the truth inside the mask, over faces that are their own donor."""
    return _mean_where((image - batch.truth).abs(), batch.unknown, batch.own)


def low_loss(batch: Batch, image: Tensor) -> Tensor:
    """Return L1 to the truth between means over 16 x 16 px inside the mask, over faces that are their own donor."""
    return _pooled(batch, image, batch.own)


def donor_loss(batch: Batch, image: Tensor) -> Tensor:
    """Return L1 to the inserted donor, over the other faces; both have mean 0 and deviation 1 in each channel.

    It keeps the donor's features and leaves light and tone free.
    """
    others = ~batch.own
    share = batch.share * (batch.share > 0.5)
    difference = _normalize(image, share) - _normalize(batch.inputs[:, :3], share)
    return _mean_where(difference.abs(), share, others)


def colour_loss(batch: Batch, image: Tensor) -> Tensor:
    """Return L1 between means over 16 x 16 px of image and truth, over faces with another donor."""
    return _pooled(batch, image, ~batch.own)


def _pooled(batch: Batch, image: Tensor, rows: Tensor) -> Tensor:
    if not bool(rows.any()):
        return image.sum() * 0
    difference = F.avg_pool2d((image - batch.truth) * batch.unknown, _POOL)[rows]
    return difference.abs().sum() / (3 * F.avg_pool2d(batch.unknown, _POOL)[rows].sum() + 1e-6)


def feature_loss(own: Tensor, generated: tuple[Tensor, ...], real: tuple[Tensor, ...]) -> Tensor:
    """Return L1 between a detector's features, each level relative to its mean, over faces that are their own donor."""
    if not bool(own.any()):
        return generated[0].sum() * 0
    levels = [
        (a[own] - b[own]).abs().mean() / (b[own].abs().mean() + 1e-6) for a, b in zip(generated, real, strict=True)
    ]
    return torch.stack(levels).mean()


def _normalize(values: Tensor, share: Tensor) -> Tensor:
    total = share.sum((2, 3), keepdim=True) + 1e-3
    mean = (values * share).sum((2, 3), keepdim=True) / total
    variance = ((values - mean) ** 2 * share).sum((2, 3), keepdim=True) / total
    return (values - mean) / (variance + 0.0025).sqrt()


def _mean_where(values: Tensor, share: Tensor, rows: Tensor) -> Tensor:
    """Return the weighted mean of (B, 3, S, S) over some rows, 0 if there is none."""
    chosen = share * rows[:, None, None, None]
    return (values * chosen).sum() / (3 * chosen.sum() + 1e-6)
