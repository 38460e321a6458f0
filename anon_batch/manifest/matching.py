"""Assignment of ground truth to the images that it describes."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping

from anon_batch.manifest.unicode_names import comparable
from anon_batch.records import GroundTruth


class RegionMatcher:
    """Find the ground truth of each image: by its id, else by the id in another spelling, else by its base name.

    Spelling: composed or decomposed accents, backslashes, `./` or `/` at the front. Other than the id itself, a name has to be
    unambiguous on both sides.

    Args:
        regions: from `read_ground_truth`.

    Pass all ids to `observe`, call `resolve`, then ask with `regions_of`.
    """

    def __init__(self, regions: Mapping[str, GroundTruth]) -> None:
        self._regions = regions
        self._exact: set[str] = set()
        plain_names = list(map(comparable, regions))
        self._images_of_plain: dict[str, int] = dict.fromkeys(plain_names, 0)
        self._images_of_base: dict[str, int] = dict.fromkeys(map(posixpath.basename, plain_names), 0)

    def observe(self, image_ids: Iterable[str]) -> None:
        """Count the spellings and base names of ids."""
        for image_id in image_ids:
            if image_id in self._regions:
                self._exact.add(image_id)
            elif (plain := comparable(image_id)) in self._images_of_plain:
                self._images_of_plain[plain] += 1
            elif (base := posixpath.basename(plain)) in self._images_of_base:
                self._images_of_base[base] += 1

    def resolve(self) -> None:
        """Decide which names are unambiguous; call it once, after all `observe`."""
        left = [name for name in self._regions if name not in self._exact]
        self._by_plain = _unambiguous({name: comparable(name) for name in left}, self._images_of_plain)
        matched = set(self._by_plain.values())
        bases = {name: posixpath.basename(comparable(name)) for name in left if name not in matched}
        self._by_base = _unambiguous(bases, self._images_of_base)

    def regions_of(self, image_id: str) -> GroundTruth | None:
        """Return the regions of an image; None when the ground truth does not mention it."""
        if image_id in self._exact:
            return self._regions[image_id]
        plain = comparable(image_id)
        name = self._by_plain.get(plain)
        if name is None and plain not in self._images_of_plain:
            name = self._by_base.get(posixpath.basename(plain))
        return None if name is None else self._regions[name]

    def unmatched(self) -> list[str]:
        """Return the names in the ground truth that belong to no image, or to several."""
        used = self._exact | set(self._by_plain.values()) | set(self._by_base.values())
        return [name for name in self._regions if name not in used]


def _unambiguous(spelling_of: Mapping[str, str], images_of: Mapping[str, int]) -> dict[str, str]:
    """Return spelling -> name, for spellings that one name and one image have."""
    names: dict[str, list[str]] = {}
    for name, spelling in spelling_of.items():
        names.setdefault(spelling, []).append(name)
    return {spelling: found[0] for spelling, found in names.items() if len(found) == 1 and images_of[spelling] == 1}
