"""A training from its file to the exported generator."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from anon_batch.anonymize.faces.donors import MODEL_NAME as DONORS
from anon_batch.anonymize.faces.donors import DonorBank
from anon_batch.config import ModelsConfig
from anon_batch.errors import ConfigError, ModelError, StorageError
from anon_batch.models.store import ModelStore
from anon_batch.storage import Storage
from anon_batch.train.checkpoint import FACES_SEEN, load_average, read_notes
from anon_batch.train.config import TrainConfig, effective_text
from anon_batch.train.distributed import Processes, joined
from anon_batch.train.export import count_faces, export
from anon_batch.train.find_faces import Note, crops_folders, find_faces
from anon_batch.train.loop import Say, Trainer
from anon_batch.train.metrics import Journal

EFFECTIVE = "training.yaml"
_DETECTOR = "centerface"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a training ended.

    Args:
        step: steps done.
        weights: the exported generator; None when it was stopped before its last step, and on processes but the first.
        first: whether this process is the one that tells.
    """

    step: int
    weights: Path | None
    first: bool


def train(config: TrainConfig, note: Note, say: Say, stop: Callable[[], bool]) -> Outcome:
    """Finds faces if need be, trains from the folder's checkpoint or from the start, and exports.

    Args:
        config: of the training.
        note: gets lines about what is being done, on the first process.
        say: gets metrics, on the first process; they are in metrics.jsonl by then.
        stop: asked before each step; a training that is stopped leaves a checkpoint and goes on from it next time.

    Raises:
        UsageError: the configuration, faces, checkpoint or models are not what they must be.
        StorageError: pictures cannot be read, or the output cannot be written.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    with joined(config.device) as processes:
        if processes.first:
            _prepare(config)
            find_faces(config, note)
        processes.wait()
        if int(read_notes(config.output).get("step", 0)) < config.steps:
            step = _trained(config, processes, note, say, stop)
            if step < config.steps:
                return Outcome(step, None, processes.first)
        return export_checkpoint(config) if processes.first else Outcome(config.steps, None, first=False)


def export_checkpoint(config: TrainConfig) -> Outcome:
    """Exports what the folder's checkpoint holds, without training.

    Raises:
        ConfigError: there is no checkpoint, it is of another training, or faces are not there.
        StorageError: the output cannot be written.
    """
    generator, notes = load_average(config)
    step = int(notes["step"])
    faces_seen = int(notes.get(FACES_SEEN, step * config.batch_size))
    sources = count_faces(config.faces, crops_folders(config))
    return Outcome(step, export(config, generator, step, faces_seen, sources), first=True)


def _trained(config: TrainConfig, processes: Processes, note: Note, say: Say, stop: Callable[[], bool]) -> int:
    tell = note if processes.first else lambda text: None
    folders = crops_folders(config)
    sources = count_faces(config.faces, folders)
    learned, kept = sum(source.learned for source in sources), sum(source.held_out for source in sources)
    tell(f"cuts {learned:,} faces to learn from, {kept:,} are held out ({processes.count} on {processes.device.type})")
    local = config.model_copy(update={"faces": tuple(map(str, folders))})
    detector = ModelStore(Storage(), ModelsConfig()).load(_DETECTOR)
    trainer = Trainer(local, _bank(config), detector, processes)
    journal = Journal(config.output, trainer.step) if processes.first else None
    tell(
        f"{'goes on at' if trainer.step else 'starts at'} step {trainer.step:,} of {config.steps:,}; output {config.output}"
    )

    def tell_metrics(metrics: dict[str, Any]) -> None:
        if journal is not None:
            journal.write(metrics)
        say(metrics)

    trainer.run(tell_metrics, stop)
    return trainer.step


def _bank(config: TrainConfig) -> DonorBank:
    if config.donors is None:
        return DonorBank(ModelStore(Storage(), ModelsConfig()).load(DONORS))
    try:
        return DonorBank(config.donors.read_bytes())
    except OSError as exc:
        raise ConfigError(f"donors: {config.donors}: {exc.strerror or exc}") from None
    except ModelError as exc:
        raise ConfigError(f"donors: {config.donors}: {exc}") from None


def _prepare(config: TrainConfig) -> None:
    """Makes the output folder, with the configuration in it."""
    try:
        config.output.mkdir(parents=True, exist_ok=True)
        partial = config.output / f".{EFFECTIVE}-{os.getpid()}"
        partial.write_text(effective_text(config), "utf-8")
        os.replace(partial, config.output / EFFECTIVE)
    except OSError as exc:
        raise StorageError(f"the output cannot be written: {exc.strerror or exc}", str(config.output)) from None
