"""`solid`: one colour. Nothing of the face enters the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from anon_batch.anonymize.compose import paint
from anon_batch.anonymize.protocol import Batch
from anon_batch.config import AnonymizeConfig
from anon_batch.records import AnonymizedImage


class Solid:
    """Paints regions with a colour.

    Args:
        color: RGB, 0 .. 255.
        soft_edge: width of the blend outside the mask, as a share of the region's longer side.
    """

    def __init__(self, color: Sequence[int] = (0, 0, 0), soft_edge: float = 0.0) -> None:
        self.name = "solid"
        self.model_names: tuple[str, ...] = ()
        self._color = np.asarray(color, np.uint8)
        self._soft_edge = soft_edge

    def anonymize(self, batch: Batch, run_key: bytes) -> list[AnonymizedImage]:
        """Treats every face; refuses none."""
        return [
            paint(image, regions, self._soft_edge, self.name, lambda _region, _extent: self._color)
            for image, regions in batch
        ]


def create(config: AnonymizeConfig, store: Any, threads: int, device: str) -> Solid:
    """Factory of the registry."""
    return Solid(config.color, config.soft_edge)
