"""Training batches: faces with themselves or others as donors, determined by seed, step and process alone."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from anon_batch.anonymize.faces import landmarks
from anon_batch.anonymize.faces.align import CROP_SIDE, Crop
from anon_batch.anonymize.faces.blend import Composite, blend_donor
from anon_batch.anonymize.faces.donors import Donor, DonorBank, DonorChoice
from anon_batch.anonymize.faces.generator_network import network_input
from anon_batch.anonymize.faces.matte import head_of, matte_of
from anon_batch.geometry import distance_to_zero
from anon_batch.records import BoolArray, FloatArray, PixelArray, Shape
from anon_batch.train.augmentation import draw_augmentation, relight
from anon_batch.train.config import TrainConfig
from anon_batch.train.face_crops import FaceCrop, donor_image, generator_view

_RECTANGLES = 0.1  # share of crops whose mask is a rectangle
_LANDMARK_JITTER = 0.006  # deviation of an own donor's landmarks, in units of its image side
_TONE_JITTER = (4, 2, 2)  # deviation of the donor's tone: L, a, b
_DEEP = 0.35  # share of the mask's greatest depth beyond which every pixel is face

Sample = tuple[Crop, Composite, FloatArray]


@dataclass(frozen=True, slots=True)
class Batch:
    """Training samples.

    Args:
        inputs: (B, 10, S, S) input of the generator.
        latent: (B, latent).
        truth: (B, 3, S, S) original images in [-1, 1].
        unknown: (B, 1, S, S), 1 where the generator fills in.
        donor_share: (B, 1, S, S), weight of the donor in the composite.
        own: (B,) bool, whether the face is its own donor.
    """

    inputs: Tensor
    latent: Tensor
    truth: Tensor
    unknown: Tensor
    donor_share: Tensor
    own: Tensor

    def to(self, device: torch.device) -> Batch:
        """Copy the batch to a device, images in channels-last order."""
        inputs, truth, unknown, share = (
            values.to(device, memory_format=torch.channels_last, non_blocking=True)
            for values in (self.inputs, self.truth, self.unknown, self.donor_share)
        )
        return Batch(
            inputs,
            self.latent.to(device, non_blocking=True),
            truth,
            unknown,
            share,
            self.own.to(device, non_blocking=True),
        )

    def pin_memory(self) -> Batch:
        """Copy the batch to page-locked memory, from which CUDA copies asynchronously."""
        return Batch(*(getattr(self, name).pin_memory() for name in self.__slots__))


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """One crop of one face as bytes, about 0.25 MB with its share of the donor.

    Args:
        known, truth: (side, side, 3) RGB.
        unknown: (side, side).
        points: (5, 2) landmarks, px.
        donor: the face as a donor of itself; views of one face share it.
    """

    known: PixelArray
    truth: PixelArray
    unknown: BoolArray
    points: landmarks.Points
    donor: Donor


class BatchSampler:
    """Cut the crops of all faces once, and draw batches from them.

    Args:
        faces: training faces.
        bank: donors.
        config: of the training.
    """

    def __init__(self, faces: Sequence[FaceCrop], bank: DonorBank, config: TrainConfig) -> None:
        self._bank = bank
        self._config = config
        rng = np.random.default_rng([config.seed, 0])
        masks = [[_draw_mask(rng, config.expansions) for _ in range(2 * config.views)] for _ in faces]
        with ThreadPoolExecutor(os.cpu_count() or 1, "crops") as pool:
            self._views = [view for views in pool.map(_cut_views, faces, masks) for view in views]

    def __len__(self) -> int:
        return len(self._views)

    def batch(self, step: int, process: int, latent: int) -> Batch:
        """Return the batch of a step, equal at every call.

        Args:
            step: from 0.
            process: rank of the process.
            latent: length of the latent.
        """
        rng = np.random.Generator(np.random.Philox(key=[self._config.seed, (step << 16) + process]))
        count = self._config.batch_size
        own = np.arange(count) < round(self._config.own_share * count)
        picks = rng.integers(0, len(self._views), count)
        samples = [self._sample(self._views[i], bool(is_own), rng) for i, is_own in zip(picks, own, strict=True)]
        return collate(samples, own, rng.standard_normal((count, latent)).astype(np.float32))

    def fixed_batch(self, count: int, latent: int) -> Batch:
        """Return at most `count` faces, equal at every call, each with another donor: for sheets and metrics."""
        rng = np.random.default_rng([self._config.seed, 1])
        picks = rng.permutation(len(self._views))[:count]
        samples = [self._sample(self._views[i], False, rng, augmented=False) for i in picks]
        own = np.zeros(len(picks), np.bool_)
        return collate(samples, own, rng.standard_normal((len(picks), latent)).astype(np.float32))

    def _sample(self, view: _View, own: bool, rng: np.random.Generator, *, augmented: bool = True) -> Sample:
        known, truth = view.known.astype(np.float32), view.truth.astype(np.float32)
        if augmented:
            augmentation = draw_augmentation(rng)
            truth = augmentation(truth)
            # Because blur and JPEG would spread the face beyond the mask, augment the known part by itself.
            known = np.where(view.unknown[:, :, None], augmentation(known), truth)
        crop = Crop(known, view.unknown, view.points)
        choice = self._bank.choose(crop, int(rng.integers(2**63)))
        if own:
            choice = _disturb(view.donor, choice, rng)
        # Because the tone that the bank derives from the context is only a rule, use roughly the truth's tone.
        choice = replace(choice, tone=_tone(truth, view.unknown) + rng.normal(0, 1, 3) * _TONE_JITTER)
        return crop, blend_donor(crop, choice), truth


def prefetch(draw: Callable[[int], Batch], first: int, end: int, ahead: int) -> Iterator[Batch]:
    """Yield the batches of steps `first` to `end` - 1 in order, and draw `ahead` more in threads meanwhile."""
    with ThreadPoolExecutor(ahead, "batches") as readers:
        pending: deque[Future[Batch]] = deque()
        try:
            for step in range(first, end):
                pending.append(readers.submit(draw, step))
                if len(pending) > ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            readers.shutdown(wait=False, cancel_futures=True)


def collate(samples: Sequence[Sample], own: BoolArray, latent: FloatArray) -> Batch:
    """Join samples (crop, composite, truth) into one batch."""
    inputs = network_input([crop for crop, _, _ in samples], [composite for _, composite, _ in samples])
    truth = np.stack([truth for _, _, truth in samples]).transpose(0, 3, 1, 2) / np.float32(127.5) - 1
    return Batch(
        inputs=torch.from_numpy(inputs),
        latent=torch.from_numpy(latent),
        truth=torch.from_numpy(np.ascontiguousarray(truth, np.float32)),
        unknown=torch.from_numpy(inputs[:, 3:4]),
        donor_share=torch.from_numpy(inputs[:, 4:5]),
        own=torch.from_numpy(own),
    )


def own_donor(face: FaceCrop) -> Donor:
    """Return the face as its own donor."""
    pixels, points, transform = donor_image(face)
    box = face.box.astype(np.float64) * transform[0, 0] + np.tile(transform[:, 2], 2)
    matte = matte_of(pixels, box)
    return Donor(0, pixels, points, box, matte, head_of(pixels, box, matte))


def _draw_mask(rng: np.random.Generator, expansions: tuple[float, float]) -> tuple[Shape, float]:
    shape: Shape = "rectangle" if rng.random() < _RECTANGLES else "ellipse"
    return shape, float(rng.uniform(*expansions))


def _cut_views(face: FaceCrop, masks: Sequence[tuple[Shape, float]]) -> list[_View]:
    """Cut views of a face, flipped before every second one: as is, flipped, flipped, as is, ..."""
    views, donor = [], own_donor(face)
    for number, (shape, expansion) in enumerate(masks):
        if number % 2:
            face, donor = face.mirror(), _mirror(donor)
        view = generator_view(face, expansion, shape, CROP_SIDE)
        views.append(
            _View(_to_bytes(view.crop.pixels), _to_bytes(view.truth), view.crop.unknown, view.crop.points, donor)
        )
    return views


def _mirror(donor: Donor) -> Donor:
    """Flip the donor left to right."""
    side = donor.pixels.shape[1]
    x1, y1, x2, y2 = (float(v) for v in donor.box)
    return Donor(
        0,
        np.ascontiguousarray(donor.pixels[:, ::-1]),
        landmarks.mirror(donor.points, side),
        np.array([side - x2, y1, side - x1, y2]),
        np.ascontiguousarray(donor.matte[:, ::-1]),
        np.ascontiguousarray(donor.head[:, ::-1]),
    )


def _disturb(donor: Donor, choice: DonorChoice, rng: np.random.Generator) -> DonorChoice:
    """Change the light of an own donor and displace it a little."""
    jitter = rng.normal(0, _LANDMARK_JITTER * donor.pixels.shape[0], (5, 2))
    pixels = _to_bytes(relight(donor.pixels.astype(np.float32), rng))
    return DonorChoice(replace(donor, pixels=pixels, points=donor.points + jitter), choice.tone)


def _tone(truth: FloatArray, unknown: BoolArray) -> npt.NDArray[np.float64]:
    """Return the mean Lab colour of the face, over pixels deep inside the mask."""
    depth = distance_to_zero(unknown)
    face = cv2.cvtColor(truth / np.float32(255), cv2.COLOR_RGB2LAB)[depth >= _DEEP * depth.max()]
    return np.asarray(face.mean(axis=0), np.float64)


def _to_bytes(pixels: FloatArray) -> PixelArray:
    return np.rint(pixels).clip(0, 255).astype(np.uint8)
