"""The forms in which datasets write boxes: two corners or a corner and a size, in px or in shares of the image's sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anon_batch.errors import ConfigError
from anon_batch.records import UNIT_SIZE

_NORMALISED = "_normalised"


@dataclass(frozen=True, slots=True)
class BoxFormat:
    """What the four numbers of a box mean.

    Args:
        has_corners: whether they are x1, y1, x2, y2; else x, y, width, height.
        is_normalised: whether they are shares of the image's width and height; else px.
    """

    has_corners: bool = True
    is_normalised: bool = False

    @classmethod
    def parse(cls, text: str) -> BoxFormat:
        """Return the format of a name: `xyxy`, `xywh`, `xyxy_normalised` or `xywh_normalised`.

        Raises:
            ConfigError: another name.
        """
        plain = text.removesuffix(_NORMALISED)
        if plain not in ("xyxy", "xywh"):
            raise ConfigError(f"boxes {text}: expected xyxy, xywh, xyxy{_NORMALISED} or xywh{_NORMALISED}")
        return cls(plain == "xyxy", plain != text)

    @property
    def size(self) -> tuple[int, int] | None:
        """Return the size of the image that the boxes are for: 1 x 1 for shares, else unknown."""
        return UNIT_SIZE if self.is_normalised else None

    def to_corners(self, boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return boxes, (N, 4), as x1, y1, x2, y2."""
        return boxes if self.has_corners else np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


PIXELS = BoxFormat()
