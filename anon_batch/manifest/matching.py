"""Assignment of ground truth to the images that it describes."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping

from anon_batch.records import GroundTruth


class RegionMatcher:
    """Find the ground truth of each image: by its id, else by its base name when that is unambiguous on both sides.

    Args:
        regions: from `read_ground_truth`.

    Pass all ids to `observe`, call `resolve`, then ask with `regions_of`.
    """

    def __init__(self, regions: Mapping[str, GroundTruth]) -> None:
        self._regions = regions
        self._exact: set[str] = set()
        self._images_of_base: dict[str, int] = dict.fromkeys(map(posixpath.basename, regions), 0)

    def observe(self, image_ids: Iterable[str]) -> None:
        """Count the base names of ids."""
        for image_id in image_ids:
            if image_id in self._regions:
                self._exact.add(image_id)
            elif (base := posixpath.basename(image_id)) in self._images_of_base:
                self._images_of_base[base] += 1

    def resolve(self) -> None:
        """Decide which base names are unambiguous; call it once, after all `observe`."""
        rest: dict[str, list[str]] = {}
        for name in self._regions:
            if name not in self._exact:
                rest.setdefault(posixpath.basename(name), []).append(name)
        self._by_base = {
            base: names[0] for base, names in rest.items() if len(names) == 1 and self._images_of_base[base] == 1
        }

    def regions_of(self, image_id: str) -> GroundTruth | None:
        """Return the regions of an image; None when the ground truth does not mention it."""
        if image_id in self._exact:
            return self._regions[image_id]
        name = self._by_base.get(posixpath.basename(image_id))
        return None if name is None else self._regions[name]

    def unmatched(self) -> list[str]:
        """Return the names in the ground truth that belong to no image, or to several."""
        used = self._exact | set(self._by_base.values())
        return [name for name in self._regions if name not in used]
