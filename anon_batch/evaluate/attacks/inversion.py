"""Inversion: a small network learns from anonymized faces what they were, and restores those of a release.

The attack is that of "Fantomas: understanding face anonymization reversibility" (Todt, Hanisch, Strufe 2022): anyone who knows
the method makes as many pairs as wanted from faces of other persons. The network is a U-Net (Ronneberger, Fischer, Brox 2015) on
aligned crops, whose blocks of 4 x 4 px are its pixels, trained to the least absolute error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from anon_batch.anonymize.faces.landmarks import apply, similarity
from anon_batch.errors import ConfigError
from anon_batch.evaluate.attacks.copies import vary
from anon_batch.evaluate.attacks.scenes import Scene
from anon_batch.evaluate.subjects import EvaluatedMethod, Subject
from anon_batch.recognition.embedder import CROP_PX, TEMPLATE, Face, aligned
from anon_batch.records import PixelArray

INVERT = "invert"
FRAME_PX = 144
DEFAULT_STEPS = 600
_SCALE = 0.8 * FRAME_PX / CROP_PX  # a fifth of the frame is around ArcFace's crop
_PLACES = (TEMPLATE + 0.5 - CROP_PX / 2) * _SCALE + FRAME_PX / 2 - 0.5
_BLOCK_PX = 4
_BATCH, _LEARNING_RATE, _COPIES = 16, 2e-3, 3


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """What the network learns from.

    Args:
        faces: of other persons than those of the release.
        source: where they come from, for results.
        steps: of training.
        seed: of copies, weights and batches.
        threads: of torch.
    """

    faces: Sequence[Subject]
    source: str
    steps: int
    seed: int
    threads: int


class Inverter:
    """A trained network.

    Args:
        network: (B, 3, 144, 144) -> the same, values 0 to 1.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network.eval()

    @classmethod
    def train(
        cls,
        method: EvaluatedMethod,
        scene: Scene,
        training: Training,
        run_key: Callable[[str], bytes],
        on_message: Callable[[str], None],
    ) -> Inverter:
        """Anonymize copies of the faces, and train a network to undo it.

        Raises:
            ConfigError: the method withholds all of them.
        """
        before, after = _frames(method, scene, training, run_key("attacker"))
        torch.set_num_threads(training.threads)
        generator = torch.Generator().manual_seed(training.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            network = _UNet()
        optimizer = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=training.steps + 1)
        for step in range(1, training.steps + 1):
            chosen = torch.randint(len(before), (_BATCH,), generator=generator)
            optimizer.zero_grad()
            loss = (network(_values(after[chosen])) - _values(before[chosen])).abs().mean()
            loss.backward()
            optimizer.step()
            schedule.step()
            if step * 4 % training.steps < 4:
                on_message(
                    f"inverting {method.name}, {scene.name}: step {step:,} of {training.steps:,}, error {loss:.4f}"
                )
        return cls(network)

    def restore(self, face: Face) -> Face:
        """Return what the network makes of an anonymized face."""
        with torch.no_grad():
            values = self._network(_values(torch.from_numpy(_frame(face))[None]))[0]
        pixels = np.rint(np.clip(values.numpy().transpose(1, 2, 0), 0, 1) * 255).astype(np.uint8)
        return Face(np.ascontiguousarray(pixels), _landmarks_in_frame(face))


def _frames(method: EvaluatedMethod, scene: Scene, training: Training, key: bytes) -> tuple[torch.Tensor, torch.Tensor]:
    """Return frames (n, 144, 144, 3) uint8 of copies before and after the method."""
    rng = np.random.default_rng((training.seed, len(training.faces)))
    before, after = [], []
    for number in range(_COPIES):
        copies = [vary(scene.show(face), number, rng) for face in training.faces]
        for copy, result in zip(copies, method.anonymize([(c.image, c.detections) for c in copies], key), strict=True):
            if result is not None:
                before.append(_frame(Face(copy.pixels, copy.landmarks)))
                after.append(_frame(Face(result.pixels, copy.landmarks)))
    if not before:
        raise ConfigError(
            f"--attack invert: {method.name} withholds all {len(training.faces)} faces of {training.source}"
        )
    return torch.from_numpy(np.stack(before)), torch.from_numpy(np.stack(after))


def _frame(face: Face) -> PixelArray:
    return aligned(face, _PLACES, (FRAME_PX, FRAME_PX))


def _landmarks_in_frame(face: Face) -> np.ndarray:
    points = np.asarray(face.landmarks, np.float64) - 0.5
    return apply(similarity(points, _PLACES), points) + 0.5


def _values(frames: torch.Tensor) -> torch.Tensor:
    return frames.permute(0, 3, 1, 2).to(torch.float32) / 255


class _UNet(nn.Module):
    """Adds a correction to its input."""

    def __init__(self, channels: tuple[int, int, int] = (48, 64, 96)) -> None:
        super().__init__()
        one, two, three = channels
        self.fold, self.unfold = nn.PixelUnshuffle(_BLOCK_PX), nn.PixelShuffle(_BLOCK_PX)
        values = 3 * _BLOCK_PX**2
        self.down = nn.ModuleList([_block(values, one), _block(one, two), _block(two, three)])
        self.up = nn.ModuleList([_block(three + two, two), _block(two + one, one)])
        self.last = nn.Conv2d(one, values, 3, padding=1, bias=False)
        nn.init.zeros_(self.last.weight)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        top = self.down[0](self.fold(images))
        middle = self.down[1](nn.functional.avg_pool2d(top, 2))
        low = self.down[2](nn.functional.avg_pool2d(middle, 2))
        middle = self.up[0](torch.cat([_doubled(low), middle], 1))
        top = self.up[1](torch.cat([_doubled(middle), top], 1))
        corrected: torch.Tensor = images + self.unfold(self.last(top))
        return corrected


def _block(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, padding=1),
        nn.GroupNorm(4, outside),
        nn.SiLU(),
        nn.Conv2d(outside, outside, 3, padding=1),
        nn.GroupNorm(4, outside),
        nn.SiLU(),
    )


def _doubled(values: torch.Tensor) -> torch.Tensor:
    return nn.functional.interpolate(values, scale_factor=2.0, mode="nearest")
