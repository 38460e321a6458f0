"""Training faces: crops of images with box and landmarks."""

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
from anon_batch.anonymize.faces import align, landmarks
from anon_batch.errors import ConfigError
from anon_batch.records import Detections, PixelArray, Region, Shape

LISTING = "meta.jsonl"
CROPS = "crops"
DONOR_SIDE = 208  # px of a donor's image
DONOR_REACH = 1.6  # side of a donor's image in units of the box's longer side
_HELD_OUT_EVERY = 10  # one crop in ten
_EXPECTED = "expected file, box [x, y, width, height], lm, five [x, y]"


@dataclass(frozen=True, slots=True, eq=False)
class FaceCrop:
    """One training face.

    Args:
        name: of its file.
        pixels: (h, w, 3) uint8 RGB, the face and its context.
        box: (4,) float32 xyxy px.
        points: (5, 2) float32 landmarks, px.
    """

    name: str
    pixels: PixelArray
    box: npt.NDArray[np.float32]
    points: npt.NDArray[np.float32]

    def mirror(self) -> FaceCrop:
        """Flip the face left to right."""
        width = self.pixels.shape[1]
        x1, y1, x2, y2 = (float(v) for v in self.box)
        points = landmarks.mirror(self.points.astype(np.float64), width)
        box = np.array([width - x2, y1, width - x1, y2], np.float32)
        return FaceCrop(self.name, np.ascontiguousarray(self.pixels[:, ::-1]), box, points.astype(np.float32))

    def region(self, expansion: float, shape: Shape, soft_edge: float = 0.0) -> Region:
        """Return the region that a run would anonymize."""
        height, width = self.pixels.shape[:2]
        found = Detections(self.box[None], np.ones(1, np.float32), self.points[None], ("training",))
        return geometry.regions_of(found, width, height, expansion, shape, soft_edge)[0]


@dataclass(frozen=True, slots=True, eq=False)
class CropEntry:
    """A line of a folder's meta.jsonl.

    Args:
        location: file and line, for messages.
        name: of the file in crops/.
        box: (4,) float32 xyxy px.
        points: (5, 2) float32 landmarks, px.
    """

    location: str
    name: str
    box: npt.NDArray[np.float32]
    points: npt.NDArray[np.float32]


def is_held_out(name: str) -> bool:
    """Return whether the file of this name is held out: one in ten by its digest, also when the set grows."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % _HELD_OUT_EVERY == 0


def read_listing(folder: Path) -> Iterator[CropEntry]:
    """Read the lines of a folder's meta.jsonl, without the images.

    Raises:
        ConfigError: the listing or a line of it cannot be read; names it.
    """
    listing = folder / LISTING
    try:
        lines = listing.read_text("utf-8").splitlines()
    except OSError as exc:
        raise ConfigError(
            f"training faces {folder}: cannot read {LISTING} ({exc.strerror or exc}); expected {CROPS}/ and {LISTING} "
            f"with one line for each face: {_EXPECTED.removeprefix('expected ')}"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"training faces {listing}: not UTF-8 text") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _parse_line(f"{listing}:{number}", line)


def read_crops(folders: Sequence[Path]) -> Iterator[FaceCrop]:
    """Read the faces of folders with crops/ and meta.jsonl (file, box = [x, y, width, height], lm = five [x, y]).

    Raises:
        ConfigError: a folder, line or image cannot be read, or a face lies outside its image; names it.
    """
    for folder in folders:
        for entry in read_listing(folder):
            yield _read_crop(folder / CROPS / entry.name, entry)


def _parse_line(location: str, line: str) -> CropEntry:
    try:
        entry = json.loads(line)
        name = str(entry["file"])
        x, y, width, height = (float(v) for v in entry["box"])
        points = np.array(entry["lm"], np.float32).reshape(5, 2)
    except (ValueError, KeyError, TypeError) as exc:
        raise ConfigError(f"{location}: {type(exc).__name__} {exc}; {_EXPECTED}") from None
    box = np.array([x, y, x + width, y + height], np.float32)
    if not (np.isfinite(box).all() and np.isfinite(points).all() and width > 0 and height > 0):
        raise ConfigError(
            f"{location}: box {entry['box']} and landmarks must be finite numbers, width and height above 0"
        )
    return CropEntry(location, name, box, points)


def _read_crop(path: Path, entry: CropEntry) -> FaceCrop:
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ConfigError(f"{entry.location}: {path} is not a readable image")
    height, width = pixels.shape[:2]
    centre = (entry.box[:2] + entry.box[2:]) / 2
    if not all_inside(np.concatenate([entry.points, centre[None]]), width, height):
        raise ConfigError(
            f"{entry.location}: landmarks or the box's centre lie outside the image of {width} x {height} px; give them in px "
            f"of {path.name}"
        )
    return FaceCrop(entry.name, np.ascontiguousarray(pixels[:, :, ::-1], np.uint8), entry.box, entry.points)


def all_inside(points: npt.NDArray[np.floating], width: int, height: int) -> bool:
    """Return whether all points (n, 2) px lie in an image."""
    return bool(((points >= 0) & (points <= (width, height))).all())


def donor_image(face: FaceCrop) -> tuple[PixelArray, landmarks.Points, landmarks.Points]:
    """Return the face as a donor: image (208, 208, 3), its landmarks (5, 2), and the transform (2, 3) from the crop."""
    x1, y1, x2, y2 = (float(v) for v in face.box)
    scale = DONOR_SIDE / (DONOR_REACH * max(x2 - x1, y2 - y1))
    shift = DONOR_SIDE / 2 - scale * np.array([(x1 + x2) / 2, (y1 + y2) / 2])
    transform = np.concatenate([np.eye(2) * scale, shift[:, None]], axis=1)
    pixels = (
        np.rint(align.warp_affine(face.pixels, transform, DONOR_SIDE, cv2.BORDER_REPLICATE))
        .clip(0, 255)
        .astype(np.uint8)
    )
    return pixels, landmarks.apply(transform[None], face.points[None].astype(np.float64))[0], transform
