"""The faces that a generator learns from: crops of pictures with box and landmarks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from anon_batch import geometry
from anon_batch.anonymize.compose import union_of_masks
from anon_batch.anonymize.faces import align, landmarks
from anon_batch.anonymize.faces.blend import warped
from anon_batch.errors import ConfigError
from anon_batch.records import Detections, FloatArray, PixelArray, Region, Shape

LISTING = "meta.jsonl"
PICTURES = "crops"
DONOR_SIDE = 160  # px of a donor's picture
DONOR_REACH = 1.3  # its side in units of the box's longer side
_HELD_OUT_SHARE = 10  # one crop in ten
_EXPECTED = "expected file, box [x, y, width, height], lm, five [x, y]"


@dataclass(frozen=True, slots=True, eq=False)
class FaceCrop:
    """One face of the training data.

    Args:
        name: of its file.
        pixels: (h, w, 3) uint8 RGB, the face and its surroundings.
        box: (4,) float32 xyxy px.
        points: (5, 2) float32 landmarks, px.
    """

    name: str
    pixels: PixelArray
    box: npt.NDArray[np.float32]
    points: npt.NDArray[np.float32]

    def mirrored(self) -> FaceCrop:
        """The face flipped left to right."""
        width = self.pixels.shape[1]
        x1, y1, x2, y2 = (float(v) for v in self.box)
        points = landmarks.mirrored(self.points.astype(np.float64), width)
        box = np.array([width - x2, y1, width - x1, y2], np.float32)
        return FaceCrop(self.name, np.ascontiguousarray(self.pixels[:, ::-1]), box, points.astype(np.float32))

    def region(self, expansion: float, shape: Shape) -> Region:
        """The region that a run would treat."""
        height, width = self.pixels.shape[:2]
        found = Detections(self.box[None], np.ones(1, np.float32), self.points[None], ("training",))
        return geometry.regions_of(found, width, height, expansion, shape)[0]


@dataclass(frozen=True, slots=True, eq=False)
class Listed:
    """A line of a folder's meta.jsonl.

    Args:
        where: file and line, for messages.
        name: of the picture in crops/.
        box: (4,) float32 xyxy px.
        points: (5, 2) float32 landmarks, px.
    """

    where: str
    name: str
    box: npt.NDArray[np.float32]
    points: npt.NDArray[np.float32]


def held_out(name: str) -> bool:
    """Whether the file of this name is kept from training: every tenth by its digest, however the set grows."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % _HELD_OUT_SHARE == 0


def listed_faces(folder: Path) -> Iterator[Listed]:
    """The lines of a folder's meta.jsonl, none of whose pictures is read.

    Raises:
        ConfigError: the listing or a line of it cannot be read; names it.
    """
    listing = folder / LISTING
    try:
        lines = listing.read_text("utf-8").splitlines()
    except OSError as exc:
        raise ConfigError(
            f"training faces {folder}: {LISTING} cannot be read ({exc.strerror or exc}); expected {PICTURES}/ and {LISTING} "
            f"with a line a face: {_EXPECTED.removeprefix('expected ')}"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"training faces {listing}: not UTF-8 text") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _listed(f"{listing}:{number}", line)


def read_crops(folders: Sequence[Path]) -> Iterator[FaceCrop]:
    """The faces of folders that hold crops/ and meta.jsonl (file, box = [x, y, width, height], lm = five [x, y]).

    Raises:
        ConfigError: a folder, a line or a picture cannot be read, or a face lies outside its picture; names it.
    """
    for folder in folders:
        for entry in listed_faces(folder):
            yield _read(folder / PICTURES / entry.name, entry)


def _listed(where: str, line: str) -> Listed:
    try:
        entry = json.loads(line)
        name = str(entry["file"])
        x, y, width, height = (float(v) for v in entry["box"])
        points = np.array(entry["lm"], np.float32).reshape(5, 2)
    except (ValueError, KeyError, TypeError) as exc:
        raise ConfigError(f"{where}: {type(exc).__name__} {exc}; {_EXPECTED}") from None
    box = np.array([x, y, x + width, y + height], np.float32)
    if not (np.isfinite(box).all() and np.isfinite(points).all() and width > 0 and height > 0):
        raise ConfigError(f"{where}: box {entry['box']} and landmarks must be finite numbers, width and height above 0")
    return Listed(where, name, box, points)


def _read(path: Path, entry: Listed) -> FaceCrop:
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ConfigError(f"{entry.where}: {path} is not a picture that can be read")
    height, width = pixels.shape[:2]
    centre = (entry.box[:2] + entry.box[2:]) / 2
    if not inside(np.concatenate([entry.points, centre[None]]), width, height):
        raise ConfigError(
            f"{entry.where}: landmarks or the box's centre lie outside the picture of {width} x {height} px; they are in px "
            f"of {path.name}"
        )
    return FaceCrop(entry.name, np.ascontiguousarray(pixels[:, :, ::-1], np.uint8), entry.box, entry.points)


def inside(points: npt.NDArray[np.floating], width: int, height: int) -> bool:
    """Whether all points (n, 2) px lie in a picture."""
    return bool(((points >= 0) & (points <= (width, height))).all())


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """A face as the generator meets it.

    Args:
        crop: what the generator may see.
        truth: (side, side, 3) float32 RGB, what is really there.
    """

    crop: align.Crop
    truth: FloatArray


def surroundings(face: FaceCrop, expansion: float, shape: Shape, side: int) -> Surroundings:
    """Cuts a face's crop as a run does, and the truth in the same frame."""
    region = face.region(expansion, shape)
    height, width = face.pixels.shape[:2]
    unknown = union_of_masks([region], width, height)
    frame = align.frame_of(region)
    erased = np.where(unknown[:, :, None], np.uint8(0), face.pixels)
    crop = align.extract(erased, unknown, frame, side)
    truth = align.extract(face.pixels, np.zeros_like(unknown), frame, side)
    return Surroundings(crop, truth.pixels)


def donor_picture(face: FaceCrop) -> tuple[PixelArray, landmarks.Points, landmarks.Points]:
    """The face as a donor: picture (160, 160, 3), landmarks (5, 2) in it, and the transform (2, 3) from the crop to it."""
    x1, y1, x2, y2 = (float(v) for v in face.box)
    scale = DONOR_SIDE / (DONOR_REACH * max(x2 - x1, y2 - y1))
    shift = DONOR_SIDE / 2 - scale * np.array([(x1 + x2) / 2, (y1 + y2) / 2])
    transform = np.concatenate([np.eye(2) * scale, shift[:, None]], axis=1)
    pixels = np.rint(warped(face.pixels, transform, DONOR_SIDE)).clip(0, 255).astype(np.uint8)
    return pixels, landmarks.apply(transform[None], face.points[None].astype(np.float64))[0], transform
