"""Training in one process, or in several that torchrun has started, one a device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed

# Its functions take the world's group as a default, at import, and an optimiser imports it. Were that after joining, then the
# group would outlive `destroy_process_group`, and its threads abort the process when they let go of a tensor at its end.
import torch.distributed.nn
from torch import nn

from anon_batch.errors import ConfigError

_TIMEOUT = timedelta(hours=12)  # others wait while the first finds faces in pictures


@dataclass(frozen=True, slots=True)
class Processes:
    """This process's place among those that train together.

    Args:
        rank: 0 .. count - 1.
        count: of all.
        device: of this one.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this one writes what there is to write."""
        return self.rank == 0

    def average_gradients(self, network: nn.Module) -> None:
        """Makes every process's gradients the mean of all."""
        if self.count == 1:
            return
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        together = torch.cat([gradient.reshape(-1) for gradient in gradients])
        torch.distributed.all_reduce(together)
        together /= self.count
        for gradient, mean in zip(gradients, torch.split(together, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view(gradient.shape))

    def any(self, here: bool) -> bool:
        """Whether it is true on any process: all of them get the same answer."""
        if self.count == 1:
            return here
        flag = torch.tensor(int(here), device=self.device)
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
        return bool(flag.item())

    def wait(self) -> None:
        """Waits for all processes to get here."""
        self.any(False)


def join_processes(device: str) -> Processes:
    """Joins the processes that torchrun names in RANK, WORLD_SIZE and LOCAL_RANK; alone where it names none.

    Args:
        device: `auto`, `cpu` or `cuda`.

    Raises:
        ConfigError: CUDA was asked for and there is none.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError("device: cuda, but torch sees no CUDA device; use cpu or auto")
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    place = torch.device(device)
    rank, count = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if count > 1:
        cuda = place.type == "cuda"
        torch.distributed.init_process_group(
            "nccl" if cuda else "gloo", timeout=_TIMEOUT, device_id=place if cuda else None
        )
    return Processes(rank, count, place)


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """`join_processes` for as long as the work lasts."""
    processes = join_processes(device)
    try:
        yield processes
    finally:
        if processes.count > 1:
            torch.distributed.destroy_process_group()
