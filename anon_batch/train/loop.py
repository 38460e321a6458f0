"""The training of the generator: steps, with checkpoints, metrics and sheets on the way."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anon_batch.anonymize.faces.donors import DonorBank
from anon_batch.anonymize.faces.generator import Generator
from anon_batch.errors import ConfigError
from anon_batch.train import losses
from anon_batch.train.batches import Batch, SamplePool, upcoming
from anon_batch.train.checkpoint import FACES_SEEN, load_checkpoint, marks_of, save_checkpoint
from anon_batch.train.config import TrainConfig
from anon_batch.train.distributed import Processes
from anon_batch.train.face_crops import held_out, read_crops
from anon_batch.train.sheets import write_sheet
from anon_batch.train.step import Learner

_SHEET_FACES = 32
_READERS = {"cpu": 1, "cuda": 8}  # threads that draw batches; a CPU has the networks to run

Say = Callable[[dict[str, Any]], None]


class Trainer:
    """One training, at some step: that of the checkpoint in its output folder, or 0.

    Args:
        config: of the training; its `faces` are folders with crops/ and meta.jsonl.
        bank: donors.
        detector: CenterFace's ONNX file, whose features are looked at.
        processes: this one's place among those that train together.

    Attributes:
        step: steps done.
        faces_seen: faces in all batches so far, of all processes.

    Raises:
        ConfigError: faces that cannot be read or are too few, or a checkpoint that cannot be gone on from.
    """

    def __init__(self, config: TrainConfig, bank: DonorBank, detector: bytes, processes: Processes) -> None:
        self._config, self._processes, self._device = config, processes, processes.device
        self._learner = Learner(config, detector, processes)
        notes = load_checkpoint(config.output, self._learner.networks, self._learner.optimisers, marks_of(config))
        self.step = int(notes.get("step", 0))
        self.faces_seen = int(notes.get(FACES_SEEN, self.step * self._faces_a_step))
        faces = list(read_crops([Path(folder) for folder in config.faces]))
        learned = [face for face in faces if not held_out(face.name)]
        kept = [face for face in faces if held_out(face.name)]
        if not learned or not kept:
            raise ConfigError(
                f"{len(faces)} faces in {', '.join(config.faces)}: too few: {len(learned)} to learn from, {len(kept)} held out "
                "(one in ten, by the file's name); give hundreds"
            )
        self._pool = SamplePool(learned, bank, config)
        self._held = SamplePool(kept[:_SHEET_FACES], bank, config.model_copy(update={"views": 1}))

    @property
    def average(self) -> Generator:
        """The averaged generator, which is what is exported."""
        return self._learner.average

    @property
    def _faces_a_step(self) -> int:
        return self._config.batch_size * self._processes.count

    def run(self, say: Say, stop: Callable[[], bool] = lambda: False) -> None:
        """Trains up to the configured steps, or until `stop` is true on any process; leaves a checkpoint.

        Args:
            say: gets the metrics of every `log_steps` steps, and those on held-out faces of every `sheet_steps`, on the
                first process.
            stop: asked before each step.

        Raises:
            ConfigError: the training diverged; the last checkpoint stays as it is.
            StorageError: a checkpoint or sheet cannot be written.
        """
        saved = begun = time.monotonic()
        first, seen, sheet = self.step, self.faces_seen, -1
        readers = min(_READERS[self._device.type], os.cpu_count() or 1)
        for batch in upcoming(self._drawn, self.step, self._config.steps, readers):
            if self._processes.any(stop()):
                break
            metrics = self._learner.learn(batch.to(self._device), self.step)
            self.step += 1
            self.faces_seen += self._faces_a_step
            if self.step % self._config.log_steps == 0 and self._processes.first:
                rate = (self.faces_seen - seen) / (time.monotonic() - begun)
                say({"step": self.step, "faces_per_s": round(rate, 2), **self._rounded(metrics)})
            if self.step % self._config.sheet_steps == 0 and self._processes.first:
                sheet = self.step
                say({"step": self.step, **self.evaluate()})
            if time.monotonic() - saved > self._config.checkpoint_s:
                self.save()
                saved = time.monotonic()
        if self._processes.first and first < self.step == self._config.steps != sheet:
            say({"step": self.step, **self.evaluate()})
        self.save()

    def save(self) -> None:
        """Writes the checkpoint, on the first process."""
        if not self._processes.first:
            return
        for values in self._learner.average.parameters():
            if not bool(torch.isfinite(values).all()):
                raise self._diverged()
        notes = {**marks_of(self._config), FACES_SEEN: str(self.faces_seen)}
        save_checkpoint(self._config.output, self.step, self._learner.networks, self._learner.optimisers, notes)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """A sheet of held-out faces under the averaged generator, and its losses on them."""
        batch = self._held.fixed(_SHEET_FACES, self._learner.latent).to(self._device)
        picture = losses.blended(batch, self._learner.average(batch.inputs, batch.latent)).clamp(-1, 1)
        write_sheet(self._config.output / f"sheet-{self.step:07d}.jpg", batch, picture)
        return self._rounded(
            {
                "held_out_donor": losses.donor_loss(batch, picture),
                "held_out_colour": losses.colour_loss(batch, picture),
                "held_out_colour_of_composite": losses.colour_loss(batch, batch.inputs[:, :3]),
            }
        )

    def _drawn(self, step: int) -> Batch:
        batch = self._pool.batch(step, self._processes.rank, self._learner.latent)
        return batch.pinned() if self._device.type == "cuda" else batch

    def _rounded(self, metrics: dict[str, Tensor]) -> dict[str, float]:
        values = {name: round(float(value), 4) for name, value in metrics.items()}
        if not all(math.isfinite(value) for value in values.values()):
            raise self._diverged()
        return values

    def _diverged(self) -> ConfigError:
        return ConfigError(
            f"the training diverged before step {self.step}: values are not finite; go on from the last checkpoint in "
            f"{self._config.output} with lower generator_rate and discriminator_rate"
        )
