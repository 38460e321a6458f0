"""Composites of the training faces, as a run makes them, with the truth: prepared once, and kept as files.

Each view of a face gives two: with a donor of the bank, and with the face itself as its donor, in another light and displaced,
for which the original is the truth. A file belongs to a face, the settings and the bank by its name, so a stopped preparation
goes on, and a changed one starts again.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from anon_batch import geometry
from anon_batch.anonymize.faces import align, surroundings
from anon_batch.anonymize.faces.blend import Composite, blend_donor
from anon_batch.anonymize.faces.donors import Donor, DonorBank
from anon_batch.anonymize.faces.encoder import SurroundingsEncoder
from anon_batch.anonymize.faces.retrieve import Choice, Retrieval
from anon_batch.errors import StorageError
from anon_batch.records import FloatArray, PixelArray
from anon_batch.train.augmentation import draw_augmentation
from anon_batch.train.face_crops import FaceCrop
from anon_batch.train.own_donor import displace, disturb, own_donor, thumbnail

FOLDER = "composites"
SOFT_EDGE = 0.16  # of the regions, as `swap` and `gan` have it
_MARGIN_PX = 64  # by which an image is continued, because its face may be near the border
_INNER = (slice(8, 40), slice(12, 36))  # rows and columns of the frame that show the face
_SAME_LAB = 4.0  # mean difference up to which a donor is the face itself
_TRIES = 4

Rows: TypeAlias = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True, slots=True, eq=False)
class Composites:
    """Composites of many faces.

    Args:
        placed: (n, side, side, 3) uint8 RGB, the new face in its surroundings.
        truth: (n, side, side, 3) uint8 RGB.
        unknown: (n, side, side) bool.
        share: (n, side, side) uint8, 255 where only the new face shows.
        points: (n, 5, 2) float32 landmarks, px.
        own: (n,) bool, whether the face is its own donor.
    """

    placed: PixelArray
    truth: PixelArray
    unknown: npt.NDArray[np.bool_]
    share: PixelArray
    points: FloatArray
    own: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.own)


class CompositeMaker:
    """Makes the composites of faces.

    Args:
        bank: bytes of the donor bank.
        side: of the crops, px.
        views: of each face and of its mirror image.
        expansions: range of the mask's expansion.
        seed: of all random draws.
    """

    def __init__(self, bank: bytes, side: int, views: int, expansions: tuple[float, float], seed: int) -> None:
        self._bank = DonorBank(bank)
        self._retrieval = Retrieval(self._bank, SurroundingsEncoder(self._bank.tensors))
        self._lock = threading.Lock()  # around the bank, which keeps decoded donors
        self._side, self._views, self._expansions, self._seed = side, views, expansions, seed
        settings = f"1 {side} {views} {expansions} {seed} {hashlib.sha256(bank).hexdigest()}"
        self._settings = settings.encode()

    def prepare(self, faces: Sequence[FaceCrop], folder: Path, on_done: Callable[[int], None]) -> Composites:
        """Return the composites of faces in their order; read those that the folder holds, and write the others.

        Args:
            faces: training faces.
            folder: of the files; made if needed.
            on_done: gets the number of faces done, now and then.

        Raises:
            StorageError: a file cannot be written.
        """
        parts: list[Rows] = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with ThreadPoolExecutor(os.cpu_count() or 1, "composites") as pool:
                for rows in pool.map(lambda face: self._read_or_make(face, folder), faces):
                    parts.append(rows)
                    if len(parts) % 100 == 0:
                        on_done(len(parts))
        except OSError as exc:
            raise StorageError(f"cannot write composites: {exc.strerror or exc}", str(folder)) from None
        return join(parts)

    def make(self, face: FaceCrop, *, augmented: bool = True) -> Rows:
        """Return the composites of a face: of each view that with a donor of the bank, then that with itself."""
        digest = self._digest(face)
        rng = np.random.default_rng([self._seed, int.from_bytes(digest[:8], "little")])
        made: list[Rows] = []
        for number in range(2 * self._views if augmented else 1):
            view = face.mirror() if number % 2 else face
            made += self._view(view, rng, augmented)
        return {name: np.stack([rows[name] for rows in made]) for name in made[0]}

    def _digest(self, face: FaceCrop) -> bytes:
        parts = (self._settings, face.name.encode(), face.pixels.tobytes(), face.box.tobytes(), face.points.tobytes())
        return hashlib.sha256(b" ".join(parts)).digest()

    def _read_or_make(self, face: FaceCrop, folder: Path) -> Rows:
        path = folder / f"{self._digest(face).hex()[:24]}.npz"
        if path.exists():
            with np.load(path) as stored:
                return dict(stored)
        rows = self.make(face)
        partial = folder / f".{path.stem}-{os.getpid()}.npz"
        np.savez(partial, **rows)  # type: ignore[arg-type]
        os.replace(partial, path)
        return rows

    def _view(self, face: FaceCrop, rng: np.random.Generator, augmented: bool) -> Iterable[Rows]:
        own = own_donor(face)
        expansion = float(np.mean(self._expansions))
        if augmented:
            expansion = float(rng.uniform(*self._expansions))
            pixels = draw_augmentation(rng)(face.pixels.astype(np.float32))
            face = displace(replace(face, pixels=np.rint(pixels).clip(0, 255).astype(np.uint8)), rng)
        face = _continue(face)
        region = face.region(expansion, "face", SOFT_EDGE)
        height, width = face.pixels.shape[:2]
        unknown = geometry.union_of_masks([region], width, height)
        frame = align.frame_of(region, self._side)
        crop = align.extract(np.where(unknown[:, :, None], np.uint8(0), face.pixels), unknown, frame, region)
        truth = align.extract(face.pixels, np.zeros_like(unknown), frame, region).pixels
        seed, reach = int(rng.integers(2**62)), region.edge_px / frame.scale
        choice = self._choose(crop, own, seed)
        own = disturb(own, rng)
        for donor, is_own in ((self._donor(choice.donor), False), (own, True)):
            yield _row(crop, blend_donor(crop, donor, choice, seed, reach), truth, is_own)

    def _choose(self, crop: align.Crop, own: Donor, seed: int) -> Choice:
        """Return a choice of another face than this one."""
        place, inner = surroundings.describe(crop), thumbnail(own)[_INNER]
        for attempt in range(_TRIES):
            choice = self._retrieval.choose([(crop, place)], [seed + attempt])[0]
            chosen = thumbnail(self._donor(choice.donor))[_INNER]
            if min(float(np.abs(one - inner).mean()) for one in (chosen, chosen[:, ::-1])) > _SAME_LAB:
                break
        return choice

    def _donor(self, index: int) -> Donor:
        with self._lock:
            return self._bank.donor(index)


def join(parts: Sequence[Rows]) -> Composites:
    """Join the composites of several faces."""
    return Composites(*(np.concatenate([rows[name] for rows in parts]) for name in Composites.__slots__))


def _row(crop: align.Crop, composite: Composite, truth: FloatArray, own: bool) -> Rows:
    share = composite.alpha[:, :, None]
    placed = crop.pixels + (composite.pixels - crop.pixels) * share
    return {
        "placed": _to_bytes(placed),
        "truth": _to_bytes(truth),
        "unknown": crop.unknown,
        "share": _to_bytes(composite.alpha * 255),
        "points": crop.points.astype(np.float32),
        "own": np.array(own),
    }


def _continue(face: FaceCrop) -> FaceCrop:
    """Return the face in an image that its mirror images continue at each side."""
    pixels = np.pad(face.pixels, ((_MARGIN_PX,) * 2, (_MARGIN_PX,) * 2, (0, 0)), "reflect")
    return FaceCrop(face.name, pixels, face.box + _MARGIN_PX, face.points + _MARGIN_PX)


def _to_bytes(values: FloatArray) -> PixelArray:
    return np.rint(values).clip(0, 255).astype(np.uint8)
