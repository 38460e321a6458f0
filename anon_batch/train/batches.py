"""Training batches: faces with themselves or others as donors, determined by seed, step and process alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from anon_batch.anonymize.faces import landmarks
from anon_batch.anonymize.faces.generator_network import MAP_SIGMA
from anon_batch.train.composites import Composites
from anon_batch.train.config import TrainConfig

_GAIN, _OFFSET = 0.1, 0.05  # deviations of an image's light, which composite and truth share

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Batch:
    """Training samples.

    Args:
        inputs: (B, 10, S, S) input of the generator.
        latent: (B, latent).
        truth: (B, 3, S, S) original images in [-1, 1].
        unknown: (B, 1, S, S), 1 where the generator fills in.
        share: (B, 1, S, S), of the new face in the result.
        own: (B,) bool, whether the face is its own donor.
    """

    inputs: Tensor
    latent: Tensor
    truth: Tensor
    unknown: Tensor
    share: Tensor
    own: Tensor

    def to(self, device: torch.device) -> Batch:
        """Copy the batch to a device, images in channels-last order."""
        inputs, truth, unknown, share = (
            values.to(device, memory_format=torch.channels_last, non_blocking=True)
            for values in (self.inputs, self.truth, self.unknown, self.share)
        )
        return Batch(
            inputs,
            self.latent.to(device, non_blocking=True),
            truth,
            unknown,
            share,
            self.own.to(device, non_blocking=True),
        )

    def pin_memory(self) -> Batch:
        """Copy the batch to page-locked memory, from which CUDA copies asynchronously."""
        return Batch(*(getattr(self, name).pin_memory() for name in self.__slots__))


class BatchSampler:
    """Draws batches from composites.

    Args:
        composites: of the faces.
        config: of the training.
    """

    def __init__(self, composites: Composites, config: TrainConfig) -> None:
        self._composites, self._config = composites, config
        self._own, self._others = np.flatnonzero(composites.own), np.flatnonzero(~composites.own)

    def __len__(self) -> int:
        return len(self._composites)

    def batch(self, step: int, process: int, latent: int) -> Batch:
        """Return the batch of a step, equal at every call.

        Args:
            step: from 0.
            process: rank of the process.
            latent: length of the latent.
        """
        rng = np.random.Generator(np.random.Philox(key=[self._config.seed, (step << 16) + process]))
        count = self._config.batch_size
        own = round(self._config.own_share * count)
        picks = np.concatenate([rng.choice(self._own, own), rng.choice(self._others, count - own)])
        gain = np.exp(rng.normal(0, _GAIN, (count, 1, 1, 1)))
        offset = rng.normal(0, _OFFSET, (count, 3, 1, 1))
        return self._collate(picks, gain, offset, rng.standard_normal((count, latent)))

    def fixed_batches(self, count: int, latent: int) -> Iterator[Batch]:
        """Yield all composites in batches of at most `count`, equal at every call, own and other donors in turn."""
        rng = np.random.default_rng([self._config.seed, 1])
        for at in range(0, len(self), count):
            picks = np.arange(at, min(at + count, len(self)))
            yield self._collate(picks, np.ones(1), np.zeros(1), rng.standard_normal((len(picks), latent)))

    def _collate(self, picks: npt.NDArray[np.integer], gain: Array, offset: Array, latent: Array) -> Batch:
        rows = self._composites
        placed, truth = (
            np.clip((images[picks].transpose(0, 3, 1, 2) / 127.5 - 1 + offset) * gain, -1, 1).astype(np.float32)
            for images in (rows.placed, rows.truth)
        )
        unknown = rows.unknown[picks, None].astype(np.float32)
        share = rows.share[picks, None] / np.float32(255)
        side = placed.shape[-1]
        marks = landmarks.maps(rows.points[picks], side, MAP_SIGMA * side)
        return Batch(
            inputs=torch.from_numpy(np.concatenate([placed, unknown, share, marks], axis=1)),
            latent=torch.from_numpy(latent.astype(np.float32)),
            truth=torch.from_numpy(truth),
            unknown=torch.from_numpy(unknown),
            share=torch.from_numpy(share),
            own=torch.from_numpy(rows.own[picks]),
        )


def prefetch(draw: Callable[[int], Batch], first: int, end: int, ahead: int) -> Iterator[Batch]:
    """Yield the batches of steps `first` to `end` - 1 in order, and draw `ahead` more in threads meanwhile."""
    with ThreadPoolExecutor(ahead, "batches") as readers:
        pending: deque[Future[Batch]] = deque()
        try:
            for step in range(first, end):
                pending.append(readers.submit(draw, step))
                if len(pending) > ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            readers.shutdown(wait=False, cancel_futures=True)
