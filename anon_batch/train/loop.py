"""The training loop: steps, with checkpoints, metrics and sample sheets."""

from __future__ import annotations

import math
import os
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anon_batch.anonymize.faces.generator import Generator
from anon_batch.errors import ConfigError
from anon_batch.train import losses
from anon_batch.train.batches import Batch, BatchSampler, prefetch
from anon_batch.train.checkpoint import FACES_SEEN, load_checkpoint, marks_of, save_checkpoint
from anon_batch.train.composites import FOLDER, CompositeMaker, Composites, join
from anon_batch.train.config import TrainConfig
from anon_batch.train.distributed import Processes
from anon_batch.train.face_crops import FaceCrop, is_held_out, read_crops
from anon_batch.train.sheets import write_sheet
from anon_batch.train.step import TrainStep

_SHEET_FACES = 32
_HELD_OUT_FACES = 96
_MEASURES = {"truth": losses.truth_loss, "donor": losses.donor_loss, "colour": losses.colour_loss}
_READERS = {"cpu": 1, "cuda": 8}  # threads that prepare batches; one on the CPU, which also runs the networks

OnMessage = Callable[[str], None]
OnMetrics = Callable[[dict[str, Any]], None]


class Trainer:
    """A training that continues from the checkpoint in its output folder, or starts at step 0.

    Args:
        config: of the training; its `faces` are folders with crops/ and meta.jsonl.
        bank: bytes of the donor bank.
        detector: CenterFace's ONNX file; the discriminators use its features.
        processes: those that train together.
        on_message: gets progress messages while composites are made.

    Attributes:
        step: steps done.
        faces_seen: faces in all batches so far, on all processes.

    Raises:
        ConfigError: the faces cannot be read or are too few, or the checkpoint cannot be resumed.
    """

    def __init__(
        self, config: TrainConfig, bank: bytes, detector: bytes, processes: Processes, on_message: OnMessage
    ) -> None:
        self._config, self._processes, self._device = config, processes, processes.device
        self._train_step = TrainStep(config, detector, processes)
        notes = load_checkpoint(config.output, self._train_step.networks, self._train_step.optimizers, marks_of(config))
        self.step = int(notes.get("step", 0))
        self.faces_seen = int(notes.get(FACES_SEEN, self.step * self._faces_per_step))
        faces = list(read_crops([Path(folder) for folder in config.faces]))
        training = [face for face in faces if not is_held_out(face.name)]
        held_out = [face for face in faces if is_held_out(face.name)]
        if not training or not held_out:
            raise ConfigError(
                f"too few faces in {', '.join(config.faces)}: {len(training)} training faces and {len(held_out)} held out "
                "(one in ten, by the file's name); add hundreds"
            )
        maker = CompositeMaker(bank, config.side, config.views, config.expansions, config.seed)
        shown = join([maker.make(face, augmented=False) for face in held_out[:_HELD_OUT_FACES]])
        self._held_out = BatchSampler(shown, config)
        if processes.is_first:  # the others read what it wrote
            prepared = self._prepare(maker, training, on_message)
        processes.wait()
        if not processes.is_first:
            prepared = self._prepare(maker, training, on_message)
        self._sampler = BatchSampler(prepared, config)

    def _prepare(self, maker: CompositeMaker, faces: list[FaceCrop], on_message: OnMessage) -> Composites:
        def tell(done: int) -> None:
            on_message(f"composites of {done:,} of {len(faces):,} faces")

        return maker.prepare(faces, self._config.output / FOLDER, tell)

    @property
    def average(self) -> Generator:
        """The averaged generator, which is exported."""
        return self._train_step.average

    @property
    def _faces_per_step(self) -> int:
        return self._config.batch_size * self._processes.count

    def run(self, on_metrics: OnMetrics, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Train up to the configured steps, or until `should_stop` is true on any process; then write a checkpoint.

        Args:
            on_metrics: gets the metrics of every `log_steps` steps, and those on held-out faces of every `sheet_steps`, on
                the first process.
            should_stop: called before each step.

        Raises:
            ConfigError: the training diverged; the last checkpoint remains.
            StorageError: a checkpoint or sheet cannot be written.
        """
        saved_at = started_at = time.monotonic()
        first_step, first_faces, sheet_step = self.step, self.faces_seen, -1
        readers = min(_READERS[self._device.type], os.cpu_count() or 1)
        for batch in prefetch(self._batch, self.step, self._config.steps, readers):
            if self._processes.any(should_stop()):
                break
            metrics = self._train_step.run(batch.to(self._device), self.step)
            self.step += 1
            self.faces_seen += self._faces_per_step
            if self.step % self._config.log_steps == 0 and self._processes.is_first:
                rate = (self.faces_seen - first_faces) / (time.monotonic() - started_at)
                on_metrics({"step": self.step, "faces_per_s": round(rate, 2), **self._round(metrics)})
            if self.step % self._config.sheet_steps == 0 and self._processes.is_first:
                sheet_step = self.step
                on_metrics({"step": self.step, **self.evaluate()})
            if time.monotonic() - saved_at > self._config.checkpoint_s:
                self.save()
                saved_at = time.monotonic()
        if self._processes.is_first and first_step < self.step == self._config.steps != sheet_step:
            on_metrics({"step": self.step, **self.evaluate()})
        self.save()

    def save(self) -> None:
        """Write the checkpoint, on the first process."""
        if not self._processes.is_first:
            return
        for values in self.average.parameters():
            if not bool(torch.isfinite(values).all()):
                raise self._divergence_error()
        notes = {**marks_of(self._config), FACES_SEEN: str(self.faces_seen)}
        save_checkpoint(self._config.output, self.step, self._train_step.networks, self._train_step.optimizers, notes)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Write a sheet of held-out faces from the averaged generator, and return its losses on them."""
        totals: defaultdict[str, float] = defaultdict(float)
        count = 0
        for drawn in self._held_out.fixed_batches(_SHEET_FACES, self._train_step.latent):
            batch = drawn.to(self._device)
            image = losses.blend(batch, self.average(batch.inputs, batch.latent)).clamp(-1, 1)
            if not count:
                write_sheet(self._config.output / f"sheet-{self.step:07d}.jpg", batch, image)
            for name, loss in _MEASURES.items():
                totals[f"held_out_{name}"] += float(loss(batch, image)) * len(batch.own)
                totals[f"held_out_{name}_of_composite"] += float(loss(batch, batch.inputs[:, :3])) * len(batch.own)
            count += len(batch.own)
        return self._round({name: torch.tensor(total / count) for name, total in totals.items()})

    def _batch(self, step: int) -> Batch:
        batch = self._sampler.batch(step, self._processes.rank, self._train_step.latent)
        return batch.pin_memory() if self._device.type == "cuda" else batch

    def _round(self, metrics: dict[str, Tensor]) -> dict[str, float]:
        values = {name: round(float(value), 4) for name, value in metrics.items()}
        if not all(math.isfinite(value) for value in values.values()):
            raise self._divergence_error()
        return values

    def _divergence_error(self) -> ConfigError:
        return ConfigError(
            f"the training diverged before step {self.step}: losses or weights are not finite; resume from the last "
            f"checkpoint in {self._config.output} with lower generator_rate and discriminator_rate"
        )
