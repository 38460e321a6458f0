"""The networks of a training, and one step of it."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from anon_batch.anonymize.faces.generator import Generator, Shape, load_generator
from anon_batch.errors import ConfigError, ModelError
from anon_batch.train import losses
from anon_batch.train.augmentation import View, drawn_view, seen
from anon_batch.train.batches import Batch
from anon_batch.train.config import TrainConfig
from anon_batch.train.discriminator import FaceFeatures, FeatureHeads, PatchDiscriminator, hinge
from anon_batch.train.distributed import Processes

BETAS = (0.0, 0.99)  # Adam's
HEADS_WEIGHT = 0.5  # of the heads on features, beside the patch discriminator
_CONDITION = [3, 5, 6, 7, 8, 9]  # of the generator's inputs: unknown pixels and landmark maps
_Module = TypeVar("_Module", bound=nn.Module)


def _begun(config: TrainConfig) -> Generator:
    """A new generator, or the one that the training starts from."""
    if config.start is None:
        return Generator(Shape(channels=config.channels))
    try:
        generator = load_generator(config.start.read_bytes())
    except OSError as exc:
        raise ConfigError(f"start: {config.start}: {exc.strerror or exc}") from None
    except ModelError as exc:
        raise ConfigError(f"start: {config.start}: {exc}") from None
    if generator.shape != Shape(channels=config.channels):
        raise ConfigError(
            f"start: {config.start} has channels {list(generator.shape.channels)}, the training {list(config.channels)}: "
            "make them alike"
        )
    return generator.train().requires_grad_(True)


class Learner:
    """Generator, its average, discriminators and their optimisers.

    Args:
        config: of the training.
        detector: CenterFace's ONNX file, whose features are looked at.
        processes: this one's place among those that train together.

    Attributes:
        average: the averaged generator, which is what is exported.
        networks, optimisers: what a checkpoint keeps, by name.
    """

    def __init__(self, config: TrainConfig, detector: bytes, processes: Processes) -> None:
        self._config, self._processes = config, processes
        torch.manual_seed(config.seed)
        self._generator = self._placed(_begun(config))
        self.average = copy.deepcopy(self._generator).eval().requires_grad_(False)
        self._patches = self._placed(PatchDiscriminator())
        self._features = self._placed(FaceFeatures(detector)).eval().requires_grad_(False)
        with torch.no_grad():
            widths = tuple(v.shape[1] for v in self._features(torch.zeros(1, 3, 64, 64, device=processes.device)))
        self._heads = self._placed(FeatureHeads(widths))
        self._judges = nn.ModuleList([self._patches, self._heads])
        self._generator_steps = torch.optim.Adam(self._generator.parameters(), config.generator_rate, BETAS)
        self._judge_steps = torch.optim.Adam(self._judges.parameters(), config.discriminator_rate, BETAS)
        self.networks: dict[str, nn.Module] = {
            "generator": self._generator,
            "average": self.average,
            "judges": self._judges,
        }
        self.optimisers: dict[str, torch.optim.Optimizer] = {
            "generator_steps": self._generator_steps,
            "judge_steps": self._judge_steps,
        }

    @property
    def latent(self) -> int:
        """Length of the latent."""
        return self._generator.shape.latent

    def learn(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """One step of the discriminators and one of the generator.

        Args:
            batch: on the device.
            step: from 0.

        Returns:
            The losses, by name, on the device.
        """
        self._set_rates(step)
        draw = torch.Generator().manual_seed((self._config.seed << 40) ^ (step << 8) ^ self._processes.rank)
        views = [drawn_view(len(batch.own), draw) for _ in range(2)]
        condition = batch.inputs[:, _CONDITION]
        with self._autocast():
            generated = self._generator(batch.inputs, batch.latent)
        picture = losses.blended(batch, generated.float())
        judged = self._teach_judges(batch, picture.detach(), condition, views[0])
        told = self._teach_generator(batch, picture, condition, views[1])
        self._follow(step)
        return {"judges": judged, **told}

    def _teach_judges(self, batch: Batch, picture: Tensor, condition: Tensor, view: View) -> Tensor:
        count = len(batch.own)
        with self._autocast():
            real, asked = seen(batch.truth, condition, view)
            false, _ = seen(picture, condition, view)
            both = torch.cat([real, false])
            judged = self._patches(both, torch.cat([asked, asked]))
            loss = hinge(judged[:count], judged[count:])
            with torch.no_grad():
                features = self._features(both)
            for level in self._heads(features):
                loss = loss + HEADS_WEIGHT * hinge(level[:count], level[count:])
        self._judge_steps.zero_grad()
        loss.float().backward()  # type: ignore[no-untyped-call]
        self._processes.average_gradients(self._judges)
        self._judge_steps.step()
        return loss.detach()

    def _teach_generator(self, batch: Batch, picture: Tensor, condition: Tensor, view: View) -> dict[str, Tensor]:
        self._judges.requires_grad_(False)
        with self._autocast():
            false, asked = seen(picture, condition, view)
            adversarial = -self._patches(false, asked).mean()
            features = self._features(false)
            for level in self._heads(features):
                adversarial = adversarial - HEADS_WEIGHT * level.mean()
            with torch.no_grad():
                real = self._features(seen(batch.truth, condition, view)[0])
        told = {
            "adversarial": adversarial.float(),
            "truth": losses.truth_loss(batch, picture),
            "features": losses.feature_loss(
                batch.own, tuple(f.float() for f in features), tuple(f.float() for f in real)
            ),
            "donor": losses.donor_loss(batch, picture),
            "colour": losses.colour_loss(batch, picture),
        }
        total = torch.stack([getattr(self._config.weights, name) * value for name, value in told.items()]).sum()
        self._generator_steps.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        self._processes.average_gradients(self._generator)
        self._generator_steps.step()
        self._judges.requires_grad_(True)
        return {name: value.detach() for name, value in told.items()}

    def _follow(self, step: int) -> None:
        """The averaged weights follow; early on quickly, so that they do not remember the start."""
        keep = min(self._config.ema, 1 - 1 / (step + 2))
        with torch.no_grad():
            for slow, quick in zip(self.average.parameters(), self._generator.parameters(), strict=True):
                slow.lerp_(quick, 1 - keep)

    def _set_rates(self, step: int) -> None:
        done = step / self._config.steps
        late = max(done - self._config.decay_from, 0) / max(1 - self._config.decay_from, 1e-9)
        factor = 1 - 0.9 * min(late, 1)
        rates = (self._config.generator_rate, self._config.discriminator_rate)
        for optimiser, rate in zip((self._generator_steps, self._judge_steps), rates, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = rate * factor

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._processes.device.type, torch.bfloat16, enabled=self._config.precision == "bf16")

    def _placed(self, module: _Module) -> _Module:
        moved: _Module = module.to(self._processes.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return moved
