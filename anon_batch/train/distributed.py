"""Train in one process, or in several that torchrun starts, one for each device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import torch
import torch.distributed

# Import this before joining a process group, because its functions take the world's group as a default argument and an
# optimizer imports it. A group referenced from there survives `destroy_process_group`, and its threads abort the process at exit.
import torch.distributed.nn
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from anon_batch.errors import ConfigError

_TIMEOUT = timedelta(hours=12)  # because the other processes wait while the first one finds faces


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes that train together, as one of them sees them.

    Args:
        rank: of this process, 0 to count - 1.
        count: number of processes.
        device: of this process.
    """

    rank: int
    count: int
    device: torch.device
    _parallel: dict[nn.Module, nn.Module] = field(default_factory=dict, repr=False, compare=False)

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def parallel(self, network: nn.Module) -> nn.Module:
        """Return the network wrapped so that its gradients are averaged over all processes; itself in a single process.

        The first call copies the weights of the first process to all others. The wrapper lives as long as the process group.
        """
        if self.count == 1:
            return network
        if network not in self._parallel:
            devices = [self.device] if self.device.type == "cuda" else None
            self._parallel[network] = DistributedDataParallel(network, devices)
        return self._parallel[network]

    def any(self, here: bool) -> bool:
        """Return whether the value is true on any process, the same answer on all of them."""
        if self.count == 1:
            return here
        flag = torch.tensor(int(here), device=self.device)
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
        return bool(flag.item())

    def wait(self) -> None:
        """Wait until all processes arrive here."""
        self.any(False)

    def leave(self) -> None:
        """Leave the process group; wrapped networks cannot be used any more."""
        self._parallel.clear()  # because a wrapper holds the group, and with it threads that abort the process at exit
        if self.count > 1:
            torch.distributed.destroy_process_group()


def join_processes(device: str) -> Processes:
    """Join the processes that torchrun describes in RANK, WORLD_SIZE and LOCAL_RANK; without them, train alone.

    Args:
        device: `auto`, `cpu` or `cuda`.

    Raises:
        ConfigError: CUDA was requested and is not available.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError("device: cuda, but torch finds no CUDA device; use cpu or auto")
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    own = torch.device(device)
    rank, count = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if count > 1:
        cuda = own.type == "cuda"
        backend = "nccl" if cuda else "gloo"
        torch.distributed.init_process_group(backend, timeout=_TIMEOUT, device_id=own if cuda else None)
    return Processes(rank, count, own)


@contextmanager
def joined_processes(device: str) -> Iterator[Processes]:
    """Join the processes for the length of a `with` block."""
    processes = join_processes(device)
    try:
        yield processes
    finally:
        processes.leave()
