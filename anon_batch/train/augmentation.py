"""Changes of training pictures: of light and sharpness in what is learned, and what the discriminator looks through."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from anon_batch.records import FloatArray

Change = Callable[[FloatArray], FloatArray]
View = tuple[Tensor, int, int]
MAX_SHIFT_PX = 12


def drawn_change(rng: np.random.Generator) -> Change:
    """A camera's change of a whole picture (h, w, 3) float32 0 .. 255: gain by channel, gamma, grey, blur, grain, JPEG.

    The generator meets donors that did not go through it, and so learns to make them fit.
    """
    steps: list[Change] = []
    if rng.random() < 0.5:
        gain = np.exp(rng.normal(0, 0.12, 3)).astype(np.float32)
        gamma = float(np.exp(rng.normal(0, 0.2)))
        steps.append(lambda x: np.asarray((np.clip(x / 255, 0, 1) ** np.float32(gamma)) * gain * 255, np.float32))
    if rng.random() < 0.08:
        steps.append(lambda x: np.repeat(x.mean(axis=2, keepdims=True), 3, axis=2))
    if rng.random() < 0.35:
        side = int(rng.integers(28, 100))
        steps.append(lambda x: _resized(x, side))
    if rng.random() < 0.15:
        grain = rng.normal(0, rng.uniform(1, 8), (128, 128, 1)).astype(np.float32)
        steps.append(lambda x: x + cv2.resize(grain, x.shape[1::-1])[:, :, None])
    if rng.random() < 0.3:
        quality = int(rng.integers(25, 85))
        steps.append(lambda x: _compressed(x, quality))

    def change(pixels: FloatArray) -> FloatArray:
        for step in steps:
            pixels = np.asarray(step(pixels), np.float32)
        return np.clip(pixels, 0, 255)

    return change


def relit(pixels: FloatArray, rng: np.random.Generator) -> FloatArray:
    """A donor (h, w, 3) float32 in another light: a gradient of brightness, gain by channel, contrast."""
    height, width = pixels.shape[:2]
    angle, strength = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.25)
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    slope = np.exp(strength * (np.cos(angle) * x[None, :] + np.sin(angle) * y[:, None]))[:, :, None]
    gain = np.exp(rng.normal(0, 0.1, 3))
    return np.asarray(np.clip(pixels * slope * gain, 0, 255), np.float32)


def drawn_view(count: int, rng: torch.Generator) -> View:
    """What `seen` needs: brightness by picture (count, 1, 1, 1), and one shift down and right, px."""
    brightness = (torch.rand(count, 1, 1, 1, generator=rng) - 0.5) * 0.4
    down, right = (int(v) for v in torch.randint(-MAX_SHIFT_PX, MAX_SHIFT_PX + 1, (2,), generator=rng))
    return brightness, down, right


def seen(pictures: Tensor, condition: Tensor, view: View) -> tuple[Tensor, Tensor]:
    """Pictures (B, 3, S, S) and their condition (B, c, S, S) as the discriminator gets them.

    DiffAugment (Zhao et al. 2020): differentiable, the same kind for real and generated ones.
    """
    brightness, down, right = view
    return (pictures + brightness.to(pictures)).roll((down, right), (2, 3)), condition.roll((down, right), (2, 3))


def _resized(pixels: FloatArray, side: int) -> FloatArray:
    size = pixels.shape[1::-1]
    small = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_CUBIC), np.float32)


def _compressed(pixels: FloatArray, quality: int) -> FloatArray:
    picture = np.rint(np.clip(pixels, 0, 255)).astype(np.uint8)
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.float32)
