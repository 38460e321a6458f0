"""Checkpoints, from which a training resumes exactly: safetensors, never pickles.

Random draws depend on seed, step and process alone, so there is no generator state to keep.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from anon_batch.anonymize.faces.generator import Generator, GeneratorShape
from anon_batch.errors import ConfigError, StorageError
from anon_batch.train.config import TrainConfig

FILENAME = "checkpoint.safetensors"
FACES_SEEN = "faces_seen"

Networks = Mapping[str, nn.Module]
Optimizers = Mapping[str, torch.optim.Optimizer]


def marks_of(config: TrainConfig) -> dict[str, str]:
    """Return what must be equal to resume from a checkpoint."""
    names = ("channels", "seed", "side", "smooth")
    return {name: str(list(value) if isinstance(value := getattr(config, name), tuple) else value) for name in names}


def shape_of(config: TrainConfig) -> GeneratorShape:
    """Return the shape of the generator that a configuration asks for."""
    return GeneratorShape(config.channels, side=config.side, smooth=config.smooth)


def save_checkpoint(
    folder: Path, step: int, networks: Networks, optimizers: Optimizers, notes: Mapping[str, str]
) -> None:
    """Write the checkpoint of a folder, whole or not at all.

    Args:
        folder: of the training.
        step: steps done.
        networks: by name.
        optimizers: by name.
        notes: stored beside the step, including `marks_of` the configuration.

    Raises:
        StorageError: it cannot be written; the previous one stays.
    """
    tensors: dict[str, Tensor] = {}
    for name, network in networks.items():
        tensors |= {f"{name}/{key}": value for key, value in network.state_dict().items()}
    for name, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"{name}/{index}/{key}": torch.as_tensor(value) for key, value in state.items()}
    stored = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    partial = folder / f".{FILENAME}-{os.getpid()}"
    try:
        save_file(stored, partial, {"step": str(step), **notes})
        os.replace(partial, folder / FILENAME)
    except Exception as exc:  # because safetensors raises its own type for system errors
        with contextlib.suppress(OSError):
            partial.unlink()
        raise StorageError(
            f"cannot write the checkpoint ({exc}); free space and run the same command to resume", str(folder)
        ) from None


def read_notes(folder: Path) -> dict[str, str]:
    """Return the metadata of the folder's checkpoint; empty if there is none.

    Raises:
        ConfigError: it is damaged.
    """
    path = folder / FILENAME
    if not path.is_file():
        return {}
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            notes = dict(file.metadata())
        int(notes["step"])
    except Exception as exc:  # because damage raises safetensors' own types
        raise _read_error(path, exc) from None
    return notes


def load_checkpoint(
    folder: Path, networks: Networks, optimizers: Optimizers, marks: Mapping[str, str]
) -> dict[str, str]:
    """Load networks and optimizers from the folder's checkpoint.

    Args:
        folder: of the training.
        networks: by name.
        optimizers: by name.
        marks: what must be equal there.

    Returns:
        Its metadata, including `step`; empty if there is no checkpoint.

    Raises:
        ConfigError: it is damaged, or of a training with other networks or `marks`; names what differs.
    """
    path, notes = folder / FILENAME, read_notes(folder)
    if not notes:
        return notes
    differing = [
        f"{key}: {notes.get(key)} in the checkpoint, {value} in the configuration"
        for key, value in marks.items()
        if notes.get(key) != value
    ]
    if differing:
        raise ConfigError(
            f"checkpoint {path} is of another training ({'; '.join(differing)}); choose another output folder"
        )
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            for name, network in networks.items():
                network.load_state_dict({key: file.get_tensor(f"{name}/{key}") for key in network.state_dict()})
            for name, optimizer in optimizers.items():
                optimizer.load_state_dict(_optimizer_state(file, name, optimizer))
    except Exception as exc:  # because torch raises its own types too
        raise _read_error(path, exc) from None
    return notes


def load_average(config: TrainConfig) -> tuple[Generator, dict[str, str]]:
    """Return the averaged generator of a training's checkpoint, and the checkpoint's metadata.

    Raises:
        ConfigError: there is no checkpoint, or see `load_checkpoint`.
    """
    generator = Generator(shape_of(config)).eval().requires_grad_(False)
    notes = load_checkpoint(config.output, {"average": generator}, {}, marks_of(config))
    if not notes:
        raise ConfigError(f"{config.output} contains no {FILENAME} to export; train first")
    return generator, notes


def _optimizer_state(file: Any, name: str, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    state: dict[int, dict[str, Tensor]] = {}
    for key in file.keys():  # noqa: SIM118 - safe_open is not a mapping
        owner, *rest = key.split("/")
        if owner == name:
            state.setdefault(int(rest[0]), {})[rest[1]] = file.get_tensor(key)
    return {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}


def _read_error(path: Path, exc: Exception) -> ConfigError:
    return ConfigError(f"cannot read checkpoint {path} ({type(exc).__name__}: {exc}); remove it to start from step 0")
