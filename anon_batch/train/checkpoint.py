"""Checkpoints that a training resumes from exactly: safetensors, never pickles.

What is drawn depends on seed, step and process alone, so there is no state of random generators to keep.
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

from anon_batch.anonymize.faces.generator import Generator, Shape
from anon_batch.errors import ConfigError, StorageError
from anon_batch.train.config import TrainConfig

FILENAME = "checkpoint.safetensors"
FACES_SEEN = "faces_seen"

Networks = Mapping[str, nn.Module]
Optimisers = Mapping[str, torch.optim.Optimizer]


def marks_of(config: TrainConfig) -> dict[str, str]:
    """What must be the same to go on from a checkpoint."""
    return {"channels": str(list(config.channels)), "seed": str(config.seed)}


def save_checkpoint(
    folder: Path, step: int, networks: Networks, optimisers: Optimisers, notes: Mapping[str, str]
) -> None:
    """Writes the checkpoint of a folder, whole or not at all.

    Args:
        folder: of the training.
        step: steps done.
        networks: by name.
        optimisers: by name.
        notes: kept beside the step; among them `marks_of` the configuration.

    Raises:
        StorageError: it cannot be written; the last one stays.
    """
    tensors: dict[str, Tensor] = {}
    for name, network in networks.items():
        tensors |= {f"{name}/{key}": value for key, value in network.state_dict().items()}
    for name, optimiser in optimisers.items():
        for index, state in optimiser.state_dict()["state"].items():
            tensors |= {f"{name}/{index}/{key}": torch.as_tensor(value) for key, value in state.items()}
    held = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    partial = folder / f".{FILENAME}-{os.getpid()}"
    try:
        save_file(held, partial, {"step": str(step), **notes})
        os.replace(partial, folder / FILENAME)
    except Exception as exc:  # safetensors has an error of its own for what the system refuses
        with contextlib.suppress(OSError):
            partial.unlink()
        raise StorageError(
            f"the checkpoint cannot be written ({exc}); make room and begin again", str(folder)
        ) from None


def read_notes(folder: Path) -> dict[str, str]:
    """What the folder's checkpoint says of itself; empty where there is none.

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
    except Exception as exc:  # damage of any kind: safetensors has errors of its own
        raise _unreadable(path, exc) from None
    return notes


def load_checkpoint(
    folder: Path, networks: Networks, optimisers: Optimisers, marks: Mapping[str, str]
) -> dict[str, str]:
    """Fills networks and optimisers from the folder's checkpoint.

    Args:
        folder: of the training.
        networks: by name.
        optimisers: by name.
        marks: what must be the same there.

    Returns:
        Its notes, `step` among them; empty where there is no checkpoint.

    Raises:
        ConfigError: it is damaged, or of a training with other networks or other `marks`; names what differs.
    """
    path, notes = folder / FILENAME, read_notes(folder)
    if not notes:
        return notes
    differing = [
        f"{key}: {notes.get(key)} there, {value} here" for key, value in marks.items() if notes.get(key) != value
    ]
    if differing:
        raise ConfigError(f"checkpoint {path} is of another training ({'; '.join(differing)}); name another output")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            for name, network in networks.items():
                network.load_state_dict({key: file.get_tensor(f"{name}/{key}") for key in network.state_dict()})
            for name, optimiser in optimisers.items():
                optimiser.load_state_dict(_optimiser_state(file, name, optimiser))
    except Exception as exc:  # as above, and torch's own
        raise _unreadable(path, exc) from None
    return notes


def load_average(config: TrainConfig) -> tuple[Generator, dict[str, str]]:
    """The averaged generator of a training's checkpoint, and the checkpoint's notes.

    Raises:
        ConfigError: there is no checkpoint, or see `load_checkpoint`.
    """
    generator = Generator(Shape(channels=config.channels)).eval().requires_grad_(False)
    notes = load_checkpoint(config.output, {"average": generator}, {}, marks_of(config))
    if not notes:
        raise ConfigError(f"{config.output} holds no {FILENAME}: nothing to export; train first")
    return generator, notes


def _optimiser_state(file: Any, name: str, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    state: dict[int, dict[str, Tensor]] = {}
    for key in file.keys():  # noqa: SIM118 - safe_open is no mapping
        owner, *rest = key.split("/")
        if owner == name:
            state.setdefault(int(rest[0]), {})[rest[1]] = file.get_tensor(key)
    return {"state": state, "param_groups": optimiser.state_dict()["param_groups"]}


def _unreadable(path: Path, exc: Exception) -> ConfigError:
    return ConfigError(f"checkpoint {path} cannot be read ({type(exc).__name__}: {exc}); remove it to begin anew")
