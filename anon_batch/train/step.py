"""The networks of a training, and one training step."""

from __future__ import annotations

import copy
from dataclasses import asdict
from typing import TypeVar

import torch
from torch import Tensor, nn

from anon_batch.anonymize.faces.generator import Generator, load_generator
from anon_batch.errors import ConfigError, ModelError
from anon_batch.train import losses
from anon_batch.train.augmentation import View, augment, draw_view
from anon_batch.train.batches import Batch
from anon_batch.train.checkpoint import shape_of
from anon_batch.train.config import TrainConfig
from anon_batch.train.discriminator import Discriminators, FaceFeatures, hinge
from anon_batch.train.distributed import Processes

_BETAS, _STEADY_BETAS = (0.0, 0.99), (0.9, 0.99)  # of Adam, with and without networks that judge
HEADS_WEIGHT = 0.5  # of the feature heads, relative to the patch discriminator
_CONDITION = [3, 5, 6, 7, 8, 9]  # channels of the generator's input: unknown pixels and landmark maps
_Module = TypeVar("_Module", bound=nn.Module)


class TrainStep:
    """Generator, its moving average, discriminators and their optimizers.

    Args:
        config: of the training.
        detector: CenterFace's ONNX file; the discriminators use its features.
        processes: those that train together.

    Attributes:
        average: moving average of the generator, which is exported.
        networks, optimizers: the state that a checkpoint holds, by name.
    """

    def __init__(self, config: TrainConfig, detector: bytes, processes: Processes) -> None:
        self._config, self._processes = config, processes
        self._judged = is_judged(config)
        torch.manual_seed(config.seed)
        self._generator = self._on_device(_initial_generator(config))
        self.average = copy.deepcopy(self._generator).eval().requires_grad_(False)
        self._features = self._on_device(FaceFeatures(detector)).eval().requires_grad_(False)
        with torch.no_grad():
            widths = tuple(v.shape[1] for v in self._features(torch.zeros(1, 3, 64, 64, device=processes.device)))
        self._discriminators = self._on_device(Discriminators(widths))
        self._generator_optimizer = torch.optim.Adam(
            self._generator.parameters(), config.generator_rate, betas_of(config)
        )
        self._discriminator_optimizer = torch.optim.Adam(
            self._discriminators.parameters(), config.discriminator_rate, _BETAS
        )
        self.networks: dict[str, nn.Module] = {
            "generator": self._generator,
            "average": self.average,
            "discriminators": self._discriminators,
        }
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "generator_optimizer": self._generator_optimizer,
            "discriminator_optimizer": self._discriminator_optimizer,
        }

    @property
    def latent(self) -> int:
        """Length of the latent."""
        return self._generator.shape.latent

    def run(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Update the discriminators once, then the generator once.

        Args:
            batch: on the device.
            step: from 0.

        Returns:
            The losses by name, on the device.
        """
        self._set_rates(step)
        rng = torch.Generator().manual_seed((self._config.seed << 40) ^ (step << 8) ^ self._processes.rank)
        views = [draw_view(len(batch.own), rng) for _ in range(2)]
        condition = batch.inputs[:, _CONDITION]
        with self._autocast():
            generated = self._processes.parallel(self._generator)(batch.inputs, batch.latent)
        image = losses.blend(batch, generated.float())
        values = {name: getattr(losses, f"{name}_loss")(batch, image) for name in ("truth", "low", "donor", "colour")}
        first = {}
        if self._judged:
            first["discriminators"] = self._update_discriminators(batch, image.detach(), condition, views[0])
            values = {**self._judge(batch, image, condition, views[1]), **values}
        self._update_generator(values)
        self._update_average(step)
        return {**first, **{name: value.detach() for name, value in values.items()}}

    def _update_discriminators(self, batch: Batch, image: Tensor, condition: Tensor, view: View) -> Tensor:
        count = len(batch.own)
        with self._autocast():
            real, real_condition = augment(batch.truth, condition, view)
            fake, _ = augment(image, condition, view)
            both = torch.cat([real, fake])
            with torch.no_grad():
                features = self._features(both)
            discriminators = self._processes.parallel(self._discriminators)
            patches, *heads = discriminators(both, torch.cat([real_condition, real_condition]), features)
            loss = hinge(patches[:count], patches[count:])
            for level in heads:
                loss = loss + HEADS_WEIGHT * hinge(level[:count], level[count:])
        self._discriminator_optimizer.zero_grad()
        loss.float().backward()  # type: ignore[no-untyped-call]
        self._discriminator_optimizer.step()
        return loss.detach()

    def _judge(self, batch: Batch, image: Tensor, condition: Tensor, view: View) -> dict[str, Tensor]:
        """Return the losses that need the networks that look at images."""
        self._discriminators.requires_grad_(False)
        with self._autocast():
            fake, fake_condition = augment(image, condition, view)
            features = self._features(fake)
            # The plain module, because frozen discriminators have no gradients to average.
            patches, *heads = self._discriminators(fake, fake_condition, features)
            adversarial = -patches.mean()
            for level in heads:
                adversarial = adversarial - HEADS_WEIGHT * level.mean()
            with torch.no_grad():
                real = self._features(augment(batch.truth, condition, view)[0])
        self._discriminators.requires_grad_(True)
        own = losses.feature_loss(batch.own, tuple(f.float() for f in features), tuple(f.float() for f in real))
        return {"adversarial": adversarial.float(), "features": own}

    def _update_generator(self, values: dict[str, Tensor]) -> None:
        total = torch.stack([getattr(self._config.weights, name) * value for name, value in values.items()]).sum()
        self._generator_optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        self._generator_optimizer.step()

    def _update_average(self, step: int) -> None:
        """Move the average towards the generator, faster in the first steps so that it forgets the initial weights."""
        keep = min(self._config.ema, 1 - 1 / (step + 2))
        with torch.no_grad():
            for slow, quick in zip(self.average.parameters(), self._generator.parameters(), strict=True):
                slow.lerp_(quick, 1 - keep)

    def _set_rates(self, step: int) -> None:
        done = step / self._config.steps
        late = max(done - self._config.decay_from, 0) / max(1 - self._config.decay_from, 1e-9)
        factor = 1 - 0.9 * min(late, 1)
        rates = (self._config.generator_rate, self._config.discriminator_rate)
        for optimizer, rate in zip((self._generator_optimizer, self._discriminator_optimizer), rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._processes.device.type, torch.bfloat16, enabled=self._config.precision == "bf16")

    def _on_device(self, module: _Module) -> _Module:
        moved: _Module = module.to(self._processes.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return moved


def is_judged(config: TrainConfig) -> bool:
    """Return whether other networks look at the generator's images."""
    return config.weights.adversarial > 0 or config.weights.features > 0


def betas_of(config: TrainConfig) -> tuple[float, float]:
    """Return the decays of Adam's averages for the generator: none of the gradient against an opponent that moves."""
    return _BETAS if is_judged(config) else _STEADY_BETAS


def _initial_generator(config: TrainConfig) -> Generator:
    """Return a new generator, or the one that `start` names."""
    if config.start is None:
        return Generator(shape_of(config))
    try:
        generator = load_generator(config.start.read_bytes())
    except OSError as exc:
        raise ConfigError(f"start: {config.start}: {exc.strerror or exc}") from None
    except ModelError as exc:
        raise ConfigError(f"start: {config.start}: {exc}") from None
    given, asked = asdict(generator.shape), asdict(shape_of(config))
    if odd := [f"{name} {given[name]}, the training {value}" for name, value in asked.items() if given[name] != value]:
        raise ConfigError(f"start: {config.start} has {'; '.join(odd)}; set the training's keys to those of the file")
    return generator.train().requires_grad_(True)
