"""Batches: faces with composites of themselves or of donors, a function of seed, step and process alone."""

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
from anon_batch.anonymize.faces.blend import Composite, compose
from anon_batch.anonymize.faces.donors import Choice, Donor, DonorBank
from anon_batch.anonymize.faces.matte import head_of, matte_of
from anon_batch.anonymize.methods.gan import network_input
from anon_batch.geometry import distance_to_zero
from anon_batch.records import BoolArray, FloatArray, PixelArray, Shape
from anon_batch.train.augmentation import drawn_change, relit
from anon_batch.train.config import TrainConfig
from anon_batch.train.face_crops import FaceCrop, donor_picture, surroundings

_RECTANGLES = 0.1  # share of crops whose mask is a rectangle
_LANDMARK_JITTER = 0.006  # deviation of an own donor's landmarks, in units of its picture's side
_TONE_JITTER = (4, 2, 2)  # of the tone that a donor gets: L, a, b
_DEEP = 0.35  # depth inside the mask, as a share of the greatest, from where on all is face

Sample = tuple[Crop, Composite, FloatArray]


@dataclass(frozen=True, slots=True)
class Batch:
    """Training samples; pictures (B, 3, S, S) in [-1, 1].

    Args:
        inputs: (B, 10, S, S) of the generator.
        latent: (B, latent).
        truth: what is really there.
        unknown: (B, 1, S, S), 1 where the generator paints.
        donor_share: (B, 1, S, S).
        own: (B,) bool, whether the donor is the face itself.
    """

    inputs: Tensor
    latent: Tensor
    truth: Tensor
    unknown: Tensor
    donor_share: Tensor
    own: Tensor

    def to(self, device: torch.device) -> Batch:
        """The batch on a device, pictures in channels-last order."""
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

    def pinned(self) -> Batch:
        """The batch in memory from which CUDA copies while it computes."""
        return Batch(*(getattr(self, name).pin_memory() for name in self.__slots__))


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """One crop of one face, kept as bytes: about 0.25 MB with its share of the donor.

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


class SamplePool:
    """Crops of all faces, made once, and the batches drawn from them.

    Args:
        faces: to learn from.
        bank: donors.
        config: of the training.
    """

    def __init__(self, faces: Sequence[FaceCrop], bank: DonorBank, config: TrainConfig) -> None:
        self._bank = bank
        self._config = config
        rng = np.random.default_rng([config.seed, 0])
        drawn = [[_drawn_mask(rng, config.expansions) for _ in range(2 * config.views)] for _ in faces]
        with ThreadPoolExecutor(os.cpu_count() or 1, "crops") as makers:
            self._views = [view for views in makers.map(_views, faces, drawn) for view in views]

    def __len__(self) -> int:
        return len(self._views)

    def batch(self, step: int, process: int, latent: int) -> Batch:
        """The batch of a step: the same whenever it is asked for.

        Args:
            step: from 0.
            process: rank of the process.
            latent: length of the latent.
        """
        rng = np.random.Generator(np.random.Philox(key=[self._config.seed, (step << 16) + process]))
        count = self._config.batch_size
        own = np.arange(count) < round(self._config.own_share * count)
        picks = rng.integers(0, len(self._views), count)
        samples = [self._sample(self._views[i], bool(mine), rng) for i, mine in zip(picks, own, strict=True)]
        return collated(samples, own, rng.standard_normal((count, latent)).astype(np.float32))

    def fixed(self, count: int, latent: int) -> Batch:
        """The same faces each time, at most `count`, each with another donor: for sheets and metrics."""
        rng = np.random.default_rng([self._config.seed, 1])
        picks = rng.permutation(len(self._views))[:count]
        samples = [self._sample(self._views[i], False, rng, changed=False) for i in picks]
        own = np.zeros(len(picks), np.bool_)
        return collated(samples, own, rng.standard_normal((len(picks), latent)).astype(np.float32))

    def _sample(self, view: _View, own: bool, rng: np.random.Generator, *, changed: bool = True) -> Sample:
        known, truth = view.known.astype(np.float32), view.truth.astype(np.float32)
        if changed:
            change = drawn_change(rng)
            truth = change(truth)
            # Seams of the change (blur, JPEG) carry nothing of the face: the known part is changed by itself.
            known = np.where(view.unknown[:, :, None], change(known), truth)
        crop = Crop(known, view.unknown, view.points)
        choice = self._bank.choose(crop, int(rng.integers(2**63)))
        if own:
            choice = _disturbed(view.donor, choice, rng)
        # The truth's tone, about: what the surroundings ask for is a rule that the generator is not to learn better than.
        choice = replace(choice, tone=_tone(truth, view.unknown) + rng.normal(0, 1, 3) * _TONE_JITTER)
        return crop, compose(crop, choice), truth


def upcoming(draw: Callable[[int], Batch], first: int, end: int, ahead: int) -> Iterator[Batch]:
    """The batches of steps `first` .. `end` - 1 in their order; `ahead` of them are drawn meanwhile, each by a thread."""
    with ThreadPoolExecutor(ahead, "batches") as readers:
        coming: deque[Future[Batch]] = deque()
        try:
            for step in range(first, end):
                coming.append(readers.submit(draw, step))
                if len(coming) > ahead:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()
        finally:
            readers.shutdown(wait=False, cancel_futures=True)


def collated(samples: Sequence[Sample], own: BoolArray, latent: FloatArray) -> Batch:
    """Samples (crop, composite, truth) as one batch."""
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
    """The face as a donor of itself."""
    pixels, points, transform = donor_picture(face)
    box = face.box.astype(np.float64) * transform[0, 0] + np.tile(transform[:, 2], 2)
    matte = matte_of(pixels, box)
    return Donor(0, pixels, points, box, matte, head_of(pixels, box, matte))


def _drawn_mask(rng: np.random.Generator, expansions: tuple[float, float]) -> tuple[Shape, float]:
    shape: Shape = "rectangle" if rng.random() < _RECTANGLES else "ellipse"
    return shape, float(rng.uniform(*expansions))


def _views(face: FaceCrop, drawn: Sequence[tuple[Shape, float]]) -> list[_View]:
    """Views of a face, which is flipped at every second one: as it is, flipped, flipped, as it is, ..."""
    views, donor = [], own_donor(face)
    for number, (shape, expansion) in enumerate(drawn):
        if number % 2:
            face, donor = face.mirrored(), _mirrored(donor)
        view = surroundings(face, expansion, shape, CROP_SIDE)
        views.append(_View(_bytes(view.crop.pixels), _bytes(view.truth), view.crop.unknown, view.crop.points, donor))
    return views


def _mirrored(donor: Donor) -> Donor:
    """The donor flipped left to right."""
    side = donor.pixels.shape[1]
    x1, y1, x2, y2 = (float(v) for v in donor.box)
    return Donor(
        0,
        np.ascontiguousarray(donor.pixels[:, ::-1]),
        landmarks.mirrored(donor.points, side),
        np.array([side - x2, y1, side - x1, y2]),
        np.ascontiguousarray(donor.matte[:, ::-1]),
        np.ascontiguousarray(donor.head[:, ::-1]),
    )


def _disturbed(donor: Donor, choice: Choice, rng: np.random.Generator) -> Choice:
    """An own donor in another light, a little displaced."""
    jitter = rng.normal(0, _LANDMARK_JITTER * donor.pixels.shape[0], (5, 2))
    pixels = _bytes(relit(donor.pixels.astype(np.float32), rng))
    return Choice(replace(donor, pixels=pixels, points=donor.points + jitter), choice.tone)


def _tone(truth: FloatArray, unknown: BoolArray) -> npt.NDArray[np.float64]:
    """Mean Lab of the face: of the part of the mask that lies deep inside it."""
    depth = distance_to_zero(unknown)
    face = cv2.cvtColor(truth / np.float32(255), cv2.COLOR_RGB2LAB)[depth >= _DEEP * depth.max()]
    return np.asarray(face.mean(axis=0), np.float64)


def _bytes(pixels: FloatArray) -> PixelArray:
    return np.rint(pixels).clip(0, 255).astype(np.uint8)
