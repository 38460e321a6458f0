"""The generator: a U-Net that changes a donor's composite until it fits its surroundings.

It works at half of the crop's resolution (pixel unshuffle by 2, Shi et al. 2016). Its output is added to the composite, so that
the donor's fine detail stays. A smooth generator has no decoder: it changes light and colour by a field on the grid of its last
level, and cannot draw. The latent scales and shifts every normalisation (adaptive group norm with one group; Dhariwal
and Nichol 2021, section 3.1); the landmark maps enter every level of the decoder.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from anon_batch.errors import ModelError

INPUTS = 10  # composite RGB, unknown pixels, the new face's share, five landmark maps
MAPS = 5
_MOST_GAIN, _MOST_OFFSET = 0.6, 0.5  # of a smooth change; an image has the range -1 .. 1


@dataclass(frozen=True, slots=True)
class GeneratorShape:
    """Size of the network.

    Args:
        channels: of each level; the first works at half of the crop's resolution, each further one at half of that.
        latent: length of the latent.
        style: width of the mapped latent.
        side: of the crops that it is trained on, px.
        smooth: whether it changes light and colour only, by a smooth field.
    """

    channels: tuple[int, ...] = (32, 64, 128, 192)
    latent: int = 64
    style: int = 128
    side: int = 128
    smooth: bool = False


class AdaptiveNorm(nn.Module):
    """Group norm (one group) whose scale and shift come from the style; starts as the plain norm."""

    def __init__(self, channels: int, style: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels, affine=False)
        self.affine = nn.Linear(style, 2 * channels)
        nn.init.zeros_(self.affine.weight)
        nn.init.zeros_(self.affine.bias)

    def forward(self, values: Tensor, style: Tensor) -> Tensor:
        """Return the normalised values, scaled and shifted; values (B, C, H, W), style (B, style)."""
        scale, shift = self.affine(style)[:, :, None, None].chunk(2, 1)
        scaled: Tensor = self.norm(values) * (1 + scale) + shift
        return scaled


class Residual(nn.Module):
    """Two convolutions beside a shortcut; starts as the shortcut alone."""

    def __init__(self, inputs: int, outputs: int, style: int) -> None:
        super().__init__()
        self.first_norm = AdaptiveNorm(inputs, style)
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.second_norm = AdaptiveNorm(outputs, style)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        nn.init.zeros_(self.second.weight)

    def forward(self, values: Tensor, style: Tensor) -> Tensor:
        """Map values (B, inputs, H, W) and style (B, style) to (B, outputs, H, W)."""
        hidden = self.first(F.silu(self.first_norm(values, style)))
        hidden = self.second(F.silu(self.second_norm(hidden, style)))
        result: Tensor = self.shortcut(values) + hidden
        return result


class Generator(nn.Module):
    """Maps composite, masks and landmark maps to the changed composite.

    Args:
        shape: of the network.
    """

    def __init__(self, shape: GeneratorShape = GeneratorShape()) -> None:
        super().__init__()
        self.shape = shape
        channels, style = shape.channels, shape.style
        self.map = nn.Sequential(nn.Linear(shape.latent, style), nn.SiLU(), nn.Linear(style, style), nn.SiLU())
        self.stem = nn.Conv2d(INPUTS * 4, channels[0], 3, padding=1)
        self.encoder = nn.ModuleList(
            Residual(before, after, style) for before, after in zip((channels[0], *channels), channels, strict=False)
        )
        self.middle = nn.ModuleList(Residual(channels[-1], channels[-1], style) for _ in range(2))
        descending = () if shape.smooth else tuple(reversed(channels))
        self.decoder = nn.ModuleList(
            Residual(before + level + MAPS, level, style)
            for before, level in zip((channels[-1], *descending), descending, strict=False)
        )
        last, outputs = (channels[-1], 3 * 2) if shape.smooth else (channels[0], 3 * 4)
        self.last_norm = AdaptiveNorm(last, style)
        self.head = nn.Conv2d(last, outputs, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias if self.head.bias is not None else torch.zeros(1))

    def forward(self, inputs: Tensor, latent: Tensor) -> Tensor:
        """Return the changed composite.

        Args:
            inputs: (B, 10, S, S): composite in [-1, 1], unknown pixels and the donor's share in [0, 1], landmark maps; S is
                a multiple of 2 to the power of the number of levels.
            latent: (B, latent).

        Returns:
            (B, 3, S, S), about [-1, 1]. Only the unknown pixels have a meaning.
        """
        style = self.map(latent)
        hidden = self.stem(F.pixel_unshuffle(inputs, 2))
        skips = []
        for level, block in enumerate(self.encoder):
            hidden = block(F.avg_pool2d(hidden, 2) if level else hidden, style)
            skips.append(hidden)
        for block in self.middle:
            hidden = block(hidden, style)
        if self.shape.smooth:
            field = self.head(F.silu(self.last_norm(hidden, style)))
            return _change_smoothly(inputs[:, :3], field)
        marks = inputs[:, -MAPS:]
        for level, block in enumerate(self.decoder):
            if level:
                hidden = F.interpolate(hidden, scale_factor=2.0, mode="nearest")
            here = F.max_pool2d(marks, marks.shape[-1] // hidden.shape[-1])
            hidden = block(torch.cat([hidden, skips.pop(), here], 1), style)
        change = F.pixel_shuffle(self.head(F.silu(self.last_norm(hidden, style))), 2)
        return inputs[:, :3] + _remove_stripes(change)


def _change_smoothly(images: Tensor, field: Tensor) -> Tensor:
    """Return images (B, 3, S, S) under a field (B, 6, s, s) of bounded gains, about black, and offsets."""
    wide = F.interpolate(_remove_stripes(field), images.shape[-2:], mode="bilinear", align_corners=False)
    gain, offset = torch.tanh(wide).chunk(2, 1)
    return images + _MOST_GAIN * gain * (images + 1) / 2 + _MOST_OFFSET * offset


def _remove_stripes(change: Tensor) -> Tensor:
    """Filter with a binomial kernel of 3 x 3, which removes what alternates from pixel to pixel."""
    wide = F.pad(change, (1, 1, 1, 1), mode="replicate")
    return F.avg_pool2d(F.avg_pool2d(wide, 2, 1), 2, 1)


def save_generator(network: Generator, path: str, notes: dict[str, str]) -> None:
    """Write the weights as float16 safetensors, with the network's shape and `notes` in the file's metadata."""
    tensors = {name: value.detach().cpu().half().contiguous() for name, value in network.state_dict().items()}
    safetensors.torch.save_file(tensors, path, {"shape": json.dumps(asdict(network.shape)), **notes})


def load_generator(data: bytes) -> Generator:
    """Return the network from the bytes of a file that `save_generator` wrote, float32, ready to run.

    Raises:
        ModelError: the bytes are not such a file.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        notes = json.loads(data[8 : 8 + length])["__metadata__"]
        shape = json.loads(notes["shape"])
        network = Generator(GeneratorShape(**{**shape, "channels": tuple(shape["channels"])}))
        network.load_state_dict({name: value.float() for name, value in safetensors.torch.load(data).items()})
    except Exception as exc:  # each layer has its own errors for damaged files
        raise ModelError(f"generator: the weights cannot be read ({type(exc).__name__}: {exc})") from None
    return network.eval().requires_grad_(False)
