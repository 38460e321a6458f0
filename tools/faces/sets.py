"""The sets of images on which replaced faces are measured and looked at.

    sample   the photographs with people that come with the repository
    pairs    two portraits of each person
    held     single synthetic faces on which nothing is trained
    photos   photographs of streets and crowds, with labelled faces

The folder has the layout that `ANON_BATCH_TEST_DATA` has for the tests: photos/ with images/ and boxes.json, pairs/ with images/
and pairs.csv, and faces/ with folders of crops/ and meta.jsonl.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from anon_batch.errors import ConfigError
from anon_batch.records import PixelArray
from anon_batch.train.face_crops import CROPS, CropEntry, is_held_out, read_listing

SETS = ("sample", "pairs", "held", "photos")
SAMPLE = Path(__file__).parents[2] / "manifests/sample/photos/people"
WITHOUT_MASK = "without_mask"


class Labelled(NamedTuple):
    """A labelled face: its box xyxy, px, and its class."""

    box: tuple[float, float, float, float]
    kind: str


@dataclass(frozen=True, slots=True)
class Data:
    """The folder with all sets but `sample`.

    Args:
        root: of the folder.
    """

    root: Path

    @classmethod
    def from_environment(cls) -> Data:
        """Return the folder that ANON_BATCH_TEST_DATA names.

        Raises:
            ConfigError: it names none.
        """
        value = os.environ.get("ANON_BATCH_TEST_DATA")
        if not value:
            raise ConfigError("set ANON_BATCH_TEST_DATA to the folder with photos/, pairs/ and faces/")
        return cls(Path(value))

    def images(self, name: str) -> list[Path]:
        """Return the images of a set in a fixed order; their stems differ."""
        if name == "sample":
            return sorted(path for path in SAMPLE.rglob("*") if path.suffix.lower() in {".jpg", ".png"})
        if name == "pairs":
            return [path for pair in self.pairs() for path in pair]
        if name == "photos":
            return sorted((self.root / "photos/images").iterdir())
        if name == "held":
            return [folder / CROPS / entry.name for folder, entry in self._held_out()]
        raise ConfigError(f"unknown set {name!r}; choose from {', '.join(SETS)}")

    def pairs(self) -> list[tuple[Path, Path]]:
        """Return the neutral and the smiling portrait of each person."""
        folder = self.root / "pairs"
        with (folder / "pairs.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return [(folder / "images" / row["neutral"], folder / "images" / row["smiling"]) for row in rows]

    def labelled(self) -> dict[str, list[Labelled]]:
        """Return file of `photos` -> its labelled faces."""
        images = json.loads((self.root / "photos/boxes.json").read_text("utf-8"))
        return {
            image["file"]: [Labelled((x1, y1, x2, y2), kind) for x1, y1, x2, y2, kind in image["boxes"]]
            for image in images
        }

    def traits(self) -> Mapping[str, Mapping[str, str]]:
        """Return file of a synthetic face -> what its labels say; faces of unlabelled folders are left out."""
        found: dict[str, Mapping[str, str]] = {}
        for table in sorted((self.root / "faces").glob("*/labels.tsv")):
            with table.open(encoding="utf-8", newline="") as file:
                found |= {row["file"]: row for row in csv.DictReader(file, delimiter="\t")}
        return found

    def _held_out(self) -> Iterator[tuple[Path, CropEntry]]:
        for folder in sorted(path.parent for path in (self.root / "faces").glob("*/meta.jsonl")):
            for entry in read_listing(folder):
                if is_held_out(entry.name):
                    yield folder, entry


def read_pixels(path: Path) -> PixelArray:
    """Return an image as (H, W, 3) uint8 RGB.

    Raises:
        ConfigError: it cannot be read.
    """
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ConfigError(f"{path}: not a readable image")
    return np.ascontiguousarray(pixels[:, :, ::-1], np.uint8)
