"""A whole training: find faces, train, export."""

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
from anon_batch.train.distributed import Processes, joined_processes
from anon_batch.train.export import count_faces, export
from anon_batch.train.find_faces import OnMessage, crops_folders, find_faces
from anon_batch.train.loop import OnMetrics, Trainer
from anon_batch.train.metrics import MetricsFile

EFFECTIVE = "training.yaml"
_DETECTOR = "centerface"


@dataclass(frozen=True, slots=True)
class TrainResult:
    """How a training ended.

    Args:
        step: steps done.
        weights: the exported generator; None if it stopped before its last step, and on all processes but the first.
        is_first: whether this process is the first, which reports.
    """

    step: int
    weights: Path | None
    is_first: bool


def train(
    config: TrainConfig, on_message: OnMessage, on_metrics: OnMetrics, should_stop: Callable[[], bool]
) -> TrainResult:
    """Find faces if necessary, train from the folder's checkpoint or from step 0, and export.

    Args:
        config: of the training.
        on_message: gets progress messages, on the first process.
        on_metrics: gets metrics, on the first process, after they are written to metrics.jsonl.
        should_stop: called before each step; a stopped training writes a checkpoint and resumes from it next time.

    Raises:
        UsageError: the configuration, faces, checkpoint or models are invalid.
        StorageError: images cannot be read, or the output cannot be written.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    with joined_processes(config.device) as processes:
        if processes.is_first:
            _prepare_output(config)
            find_faces(config, on_message)
        processes.wait()
        if int(read_notes(config.output).get("step", 0)) < config.steps:
            step = _run_steps(config, processes, on_message, on_metrics, should_stop)
            if step < config.steps:
                return TrainResult(step, None, processes.is_first)
        return export_checkpoint(config) if processes.is_first else TrainResult(config.steps, None, is_first=False)


def export_checkpoint(config: TrainConfig) -> TrainResult:
    """Export the folder's checkpoint without training.

    Raises:
        ConfigError: there is no checkpoint, it is of another training, or the faces are missing.
        StorageError: the output cannot be written.
    """
    generator, notes = load_average(config)
    step = int(notes["step"])
    faces_seen = int(notes.get(FACES_SEEN, step * config.batch_size))
    sources = count_faces(config.faces, crops_folders(config))
    return TrainResult(step, export(config, generator, step, faces_seen, sources), is_first=True)


def _run_steps(
    config: TrainConfig,
    processes: Processes,
    on_message: OnMessage,
    on_metrics: OnMetrics,
    should_stop: Callable[[], bool],
) -> int:
    """Train and return the number of steps done."""
    message = on_message if processes.is_first else lambda text: None
    folders = crops_folders(config)
    sources = count_faces(config.faces, folders)
    training, held_out = sum(source.training for source in sources), sum(source.held_out for source in sources)
    plural = "" if processes.count == 1 else "es"
    message(
        f"{training:,} training faces, {held_out:,} held out; {processes.count} process{plural} on {processes.device.type}"
    )
    local = config.model_copy(update={"faces": tuple(map(str, folders))})
    store = ModelStore(Storage(), ModelsConfig())
    trainer = Trainer(local, _donor_bank(config, store), store.load(_DETECTOR), processes, message)
    metrics_file = MetricsFile(config.output, trainer.step) if processes.is_first else None
    start = "resuming at" if trainer.step else "starting at"
    message(f"{start} step {trainer.step:,} of {config.steps:,}; output {config.output}")

    def write_metrics(metrics: dict[str, Any]) -> None:
        if metrics_file is not None:
            metrics_file.write(metrics)
        on_metrics(metrics)

    trainer.run(write_metrics, should_stop)
    return trainer.step


def _donor_bank(config: TrainConfig, store: ModelStore) -> bytes:
    if config.donors is None:
        return store.load(DONORS)
    try:
        data = config.donors.read_bytes()
        DonorBank(data)
    except OSError as exc:
        raise ConfigError(f"donors: {config.donors}: {exc.strerror or exc}") from None
    except ModelError as exc:
        raise ConfigError(f"donors: {config.donors}: {exc}") from None
    return data


def _prepare_output(config: TrainConfig) -> None:
    """Create the output folder and write the effective configuration into it."""
    try:
        config.output.mkdir(parents=True, exist_ok=True)
        partial = config.output / f".{EFFECTIVE}-{os.getpid()}"
        partial.write_text(effective_text(config), "utf-8")
        os.replace(partial, config.output / EFFECTIVE)
    except OSError as exc:
        raise StorageError(f"cannot write the output: {exc.strerror or exc}", str(config.output)) from None
