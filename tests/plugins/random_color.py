"""A complete method of another package."""

import numpy as np
from pydantic import Field

from anon_batch.anonymize.protocol import Method, Patch
from anon_batch.plugins import PluginOptions


class RandomColor(Method):
    """Fills each region with one random colour."""

    name = "random_color"

    class Options(PluginOptions):
        darkest: int = Field(0, ge=0, le=255, description="Lowest value of a channel.")

    def render(self, targets):
        return [self._fill(target) for target in targets]

    def _fill(self, target):
        color = np.random.default_rng(target.seed).integers(self.options.darkest, 256, 3, np.uint8)
        return Patch(np.broadcast_to(color, target.shape))
