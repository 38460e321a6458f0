"""What a variant made of each set, in a folder: images, masks and detections.

RUNS/NAME/SET/STEM.png         output; absent where no face was found
RUNS/NAME/SET/STEM.mask.png    255 in any region's mask, 128 where a soft edge may have changed more
RUNS/NAME/SET.json             image -> detections, and the method that rendered each
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from anon_batch.records import BoolArray, Detections, PixelArray
from tools.faces.sets import read_pixels

FAST = [cv2.IMWRITE_PNG_COMPRESSION, 1]


@dataclass(frozen=True, slots=True)
class Found:
    """What was found and done in one image.

    Args:
        detections: in the original, in its order.
        methods: index of a detection -> the method that rendered it; empty if the image is withheld.
    """

    detections: Detections
    methods: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Outputs:
    """The outputs of one variant for one set.

    Args:
        folder: of the images.
    """

    folder: Path

    @property
    def exists(self) -> bool:
        """Whether the set was produced to its end."""
        return self._listing.is_file()

    @property
    def _listing(self) -> Path:
        return self.folder.with_name(self.folder.name + ".json")

    def pixels(self, source: Path) -> PixelArray:
        """Return the output, (H, W, 3) uint8 RGB; the original where no face was found."""
        path = self.folder / f"{source.stem}.png"
        return read_pixels(path if path.is_file() else source)

    def has_mask(self, source: Path) -> bool:
        """Return whether anything was anonymized in an image."""
        return self._mask(source).is_file()

    def _mask(self, source: Path) -> Path:
        return self.folder / f"{source.stem}.mask.png"

    def mask(self, source: Path) -> BoolArray:
        """Return the pixels in any mask, (H, W) bool.

        Raises:
            FileNotFoundError: the image has no mask, because no face was found.
        """
        path = self._mask(source)
        stored = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if stored is None:
            raise FileNotFoundError(path)
        return np.asarray(stored == 255, np.bool_)

    def put(self, source: Path, pixels: PixelArray, mask: BoolArray, touched: BoolArray) -> None:
        """Write an output, its mask, and which pixels may have changed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(self.folder / f"{source.stem}.png"), pixels[:, :, ::-1], FAST)
        cv2.imwrite(
            str(self._mask(source)),
            np.where(mask, 255, np.where(touched, 128, 0)).astype(np.uint8),
            FAST,
        )

    def put_listing(self, found: Mapping[str, Found]) -> None:
        """Write what was found in each image."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._listing.write_text(json.dumps({name: _to_json(own) for name, own in found.items()}), "utf-8")

    def listing(self) -> dict[str, Found]:
        """Return image -> what was found in it."""
        return {name: _from_json(own) for name, own in json.loads(self._listing.read_text("utf-8")).items()}


def _to_json(found: Found) -> dict[str, Any]:
    detections = found.detections
    return {
        "boxes": detections.boxes.tolist(),
        "scores": detections.scores.tolist(),
        "landmarks": detections.landmarks.tolist(),  # NaN where the detector has none
        "methods": {str(index): name for index, name in found.methods.items()},
    }


def _from_json(values: Mapping[str, Any]) -> Found:
    count = len(values["scores"])
    detections = Detections(
        np.array(values["boxes"], np.float32).reshape(count, 4),
        np.array(values["scores"], np.float32),
        np.array(values["landmarks"], np.float32).reshape(count, 5, 2),
        ("stored",) * count,
    )
    return Found(detections, {int(index): name for index, name in values["methods"].items()})
