"""The discriminators that the generator is trained against."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from anon_batch.anonymize.faces.generator import MAPS
from anon_batch.models.onnx_graph import prepare_image_network
from anon_batch.models.torch_network import OnnxModule

CONDITION = 1 + MAPS  # unknown pixels and landmark maps
# Values of CenterFace: of its backbone at 1/4, 1/8 and 1/16 of the image side, and its last ones at 1/4
FEATURES = ("387", "413", "474", "532")


class PatchDiscriminator(nn.Module):
    """Score overlapping patches of an image, given its mask and landmarks (Isola et al. 2017, section 3.2.2).

    Layers have spectral norm (Miyato et al. 2018).
    """

    def __init__(self, channels: tuple[int, ...] = (32, 64, 128, 192)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 3 + CONDITION
        for count in channels:
            layers += [spectral_norm(nn.Conv2d(width, count, 4, 2, 1)), nn.LeakyReLU(0.2)]
            width = count
        self.body = nn.Sequential(*layers, spectral_norm(nn.Conv2d(width, 1, 3, padding=1)))

    def forward(self, images: Tensor, condition: Tensor) -> Tensor:
        """Map (B, 3, S, S) in [-1, 1] and (B, 6, S, S) to a score for each patch, (B, 1, S / 16, S / 16)."""
        scores: Tensor = self.body(torch.cat([images, condition], 1))
        return scores


class FaceFeatures(nn.Module):
    """Features of a frozen face detector (CenterFace), which was trained on far more images.

    The idea is that of projected discriminators (Sauer et al. 2021).

    Args:
        data: CenterFace's ONNX file.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.network = OnnxModule(prepare_image_network(data), FEATURES)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map (B, 3, S, S) in [-1, 1] to one tensor for each level."""
        features: tuple[Tensor, ...] = self.network((images + 1) * 127.5)
        return features


class FeatureHeads(nn.Module):
    """A small discriminator on each level of features."""

    def __init__(self, widths: tuple[int, ...], hidden: int = 64) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(
                spectral_norm(nn.Conv2d(width, hidden, 1)),
                nn.LeakyReLU(0.2),
                spectral_norm(nn.Conv2d(hidden, hidden, 3, padding=1)),
                nn.LeakyReLU(0.2),
                spectral_norm(nn.Conv2d(hidden, 1, 3, padding=1)),
            )
            for width in widths
        )

    def forward(self, features: tuple[Tensor, ...]) -> list[Tensor]:
        """Return a map of scores for each level."""
        return [head(values) for head, values in zip(self.heads, features, strict=True)]


class Discriminators(nn.Module):
    """The patch discriminator and the feature heads as one network, which one optimizer updates.

    Args:
        widths: channels of each level of features.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.patches = PatchDiscriminator()
        self.heads = FeatureHeads(widths)

    def forward(self, images: Tensor, condition: Tensor, features: tuple[Tensor, ...]) -> list[Tensor]:
        """Return the scores of the patches, then those of each level of features."""
        return [self.patches(images, condition), *self.heads(features)]


def hinge(real: Tensor, generated: Tensor) -> Tensor:
    """Return the hinge loss of a discriminator (Lim and Ye 2017, "Geometric GAN")."""
    return F.relu(1 - real).mean() + F.relu(1 + generated).mean()
