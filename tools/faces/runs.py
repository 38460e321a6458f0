"""The outputs of all variants, as the measures and sheets read them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anon_batch.records import Detections
from tools.faces.sets import Data
from tools.faces.stored import Outputs

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Runs:
    """The outputs of all variants.

    Args:
        data: the sets.
        folder: of the outputs.
        embedders: addresses of face recognisers.
        every: use one in so many images of the photographs and of the single faces.
    """

    data: Data
    folder: Path
    embedders: tuple[str, ...] = ()
    every: int = 1

    def outputs(self, name: str, own_set: str) -> Outputs:
        """Return a variant's outputs of a set or pass."""
        return Outputs(self.folder / name / own_set)

    def images(self, own_set: str) -> list[Path]:
        """Return the images of a set that are used."""
        images = self.data.images(own_set)
        return images[:: self.every] if own_set in {"photos", "held"} else images

    def detections(self, name: str, own_set: str) -> Iterator[tuple[Path, Detections]]:
        """Yield the used images that a variant was run on, and what it found in each."""
        outputs = self.outputs(name, own_set)
        listed = outputs.listing() if outputs.exists else {}
        for path in self.images(own_set):
            if path.name in listed:
                yield path, listed[path.name].detections


def largest(found: Detections) -> int | None:
    """Return the index of the largest face, if it has landmarks."""
    if not len(found):
        return None
    sides = np.clip(found.boxes[:, 2:] - found.boxes[:, :2], 0, None)
    index = int(np.argsort(-sides.prod(axis=1), kind="stable")[0])
    return index if np.isfinite(found.landmarks[index]).all() else None
