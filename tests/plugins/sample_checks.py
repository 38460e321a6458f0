"""Checks of another package: one that compares regions, one that looks at whole images."""

import numpy as np
from pydantic import Field

from anon_batch.anonymize.protocol import Finding, ImageCheck, RegionCheck
from anon_batch.geometry import crop
from anon_batch.plugins import PluginOptions
from anon_batch.records import Detections


class NotBlack(RegionCheck):
    """Fails regions that are mostly black."""

    name = "not_black"

    class Options(PluginOptions):
        max_share: float = Field(0.5, ge=0, le=1, description="Largest allowed share of black pixels.")

    def check(self, before, after, regions):
        shares = {region.index: (crop(after, region.extent) == 0).all(axis=2).mean() for region in regions}
        return {index: f"{share:.0%} is black" for index, share in shares.items() if share > self.options.max_share}


class NoRed(ImageCheck):
    """Adds a detection where a whole image has a red pixel left, and withholds images that are all red."""

    name = "no_red"

    def check(self, images):
        return [self._check_one(image.pixels) for image in images]

    def _check_one(self, pixels):
        red = (pixels == (255, 0, 0)).all(axis=2)
        if red.all():
            return Finding(withhold="all red", counts={"red": int(red.sum())})
        boxes = np.array([[x, y, x + 1, y + 1] for y, x in np.argwhere(red)[:1]], np.float32).reshape(-1, 4)
        n = len(boxes)
        marks = np.full((n, 5, 2), np.nan, np.float32)
        add = Detections(boxes, np.ones(n, np.float32), marks, (self.name,) * n)
        return Finding(add, counts={"red": int(red.sum())})
