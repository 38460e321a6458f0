"""Augment training images: in light and sharpness before the donor is inserted, and in front of the discriminators."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from anon_batch.records import FloatArray

Augmentation = Callable[[FloatArray], FloatArray]
View = tuple[Tensor, int, int]
MAX_SHIFT_PX = 12


def draw_augmentation(rng: np.random.Generator) -> Augmentation:
    """Draw what a camera may do to an image (h, w, 3) float32 0 to 255: channel gain, gamma, grey, blur, grain, JPEG.

    Donors do not go through it, so the generator learns to adapt them.
    """
    steps: list[Augmentation] = []
    if rng.random() < 0.5:
        gain = np.exp(rng.normal(0, 0.12, 3)).astype(np.float32)
        gamma = float(np.exp(rng.normal(0, 0.2)))
        steps.append(lambda x: np.asarray((np.clip(x / 255, 0, 1) ** np.float32(gamma)) * gain * 255, np.float32))
    if rng.random() < 0.08:
        steps.append(lambda x: np.repeat(x.mean(axis=2, keepdims=True), 3, axis=2))
    if rng.random() < 0.35:
        side = int(rng.integers(28, 100))
        steps.append(lambda x: _downscale(x, side))
    if rng.random() < 0.15:
        grain = rng.normal(0, rng.uniform(1, 8), (128, 128, 1)).astype(np.float32)
        steps.append(lambda x: x + cv2.resize(grain, x.shape[1::-1])[:, :, None])
    if rng.random() < 0.3:
        quality = int(rng.integers(25, 85))
        steps.append(lambda x: _compress(x, quality))

    def apply(pixels: FloatArray) -> FloatArray:
        for step in steps:
            pixels = np.asarray(step(pixels), np.float32)
        return np.clip(pixels, 0, 255)

    return apply


def relight(pixels: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return a donor (h, w, 3) float32 with another brightness gradient and other channel gains."""
    height, width = pixels.shape[:2]
    angle, strength = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.25)
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    slope = np.exp(strength * (np.cos(angle) * x[None, :] + np.sin(angle) * y[:, None]))[:, :, None]
    gain = np.exp(rng.normal(0, 0.1, 3))
    return np.asarray(np.clip(pixels * slope * gain, 0, 255), np.float32)


def draw_view(count: int, rng: torch.Generator) -> View:
    """Draw what `augment` applies: brightness of each image (count, 1, 1, 1), and one shift down and right, px."""
    brightness = (torch.rand(count, 1, 1, 1, generator=rng) - 0.5) * 0.4
    down, right = (int(v) for v in torch.randint(-MAX_SHIFT_PX, MAX_SHIFT_PX + 1, (2,), generator=rng))
    return brightness, down, right


def augment(images: Tensor, condition: Tensor, view: View) -> tuple[Tensor, Tensor]:
    """Return images (B, 3, S, S) and their condition (B, c, S, S) as the discriminators get them.

    This is DiffAugment (Zhao et al. 2020): differentiable, and equal for real and generated images.
    """
    brightness, down, right = view
    return (images + brightness.to(images)).roll((down, right), (2, 3)), condition.roll((down, right), (2, 3))


def _downscale(pixels: FloatArray, side: int) -> FloatArray:
    size = pixels.shape[1::-1]
    small = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_CUBIC), np.float32)


def _compress(pixels: FloatArray, quality: int) -> FloatArray:
    image = np.rint(np.clip(pixels, 0, 255)).astype(np.uint8)
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.float32)
