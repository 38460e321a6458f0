"""`solid`: one colour. Nothing of the original enters the result."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field, field_validator

from anon_batch.anonymize.protocol import Method, Patch, Target
from anon_batch.models.runtime import Runtime
from anon_batch.plugins import PluginOptions


class SolidOptions(PluginOptions):
    """Options of `solid`."""

    color: tuple[int, int, int] = Field((0, 0, 0), description="RGB, each channel 0 to 255.")

    @field_validator("color")
    @classmethod
    def _in_range(cls, value: tuple[int, int, int]) -> tuple[int, int, int]:
        if any(not 0 <= channel <= 255 for channel in value):
            raise ValueError(f"{list(value)}: each of the three channels is 0 to 255")
        return value


class Solid(Method):
    """Renders one colour."""

    name = "solid"
    Options = SolidOptions

    def __init__(self, options: SolidOptions, runtime: Runtime) -> None:
        super().__init__(options, runtime)
        self._color = np.array(options.color, np.uint8)

    def render(self, targets: Sequence[Target]) -> list[Patch]:
        """Return a patch for every target; refuse none."""
        return [Patch(np.broadcast_to(self._color, target.shape)) for target in targets]
