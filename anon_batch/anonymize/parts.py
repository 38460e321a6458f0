"""Which regions are parts of a person, and are anonymized with the person.

A face in a person's mask needs no method of its own where the person is removed or covered: its mask is added to the person's,
and what the person's method makes lies over both. This holds too where both methods see the original, because the person's cells
are larger than the face's. Only where the person is pixelated or blurred, and the face's method shows nothing of it, does the
face keep its own method, which then lies on top.

A region belongs to a person if the middle of its box lies in the person's mask. All other regions, such as a plate before a
person or a face beside the mask, keep their own methods and masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from anon_batch.anonymize.policy import Policy
from anon_batch.geometry import grow_extent, region_mask
from anon_batch.records import DEFAULT_LABEL, PERSON_LABEL, TEXT_LABEL, Region

PARTS = (DEFAULT_LABEL, TEXT_LABEL)  # labels of what belongs to a person: a face, a name tag
COARSE = ("pixelate", "blur")  # methods that show the original, coarsely


def join_parts(regions: Sequence[Region], policy: Policy, width: int, height: int) -> tuple[Region, ...]:
    """Return the regions, with the masks of persons grown by those of their parts, and `within` set for the parts.

    Args:
        regions: of one image.
        policy: says which methods the labels have.
        width: of the image, px.
        height: of the image, px.
    """
    persons = {region.index: region for region in regions if region.label == PERSON_LABEL}
    if not persons:
        return tuple(regions)
    owners = {
        region.index: owner
        for region in regions
        if region.label in PARTS and _is_hidden(region.label, policy)
        if (owner := _owner_of(region, persons)) is not None
    }
    joined: dict[int, Region] = {}
    for index, person in persons.items():
        parts = [region for region in regions if owners.get(region.index) == index]
        joined[index] = _grow(person, parts, width, height) if parts else person
    return tuple(
        joined.get(region.index, replace(region, within=owners.get(region.index, region.within))) for region in regions
    )


def _is_hidden(label: str, policy: Policy) -> bool:
    """Return whether a person's method hides what has this label as well as its own would."""
    return policy[PERSON_LABEL].method not in COARSE or policy[label].method in COARSE


def _owner_of(region: Region, persons: Mapping[int, Region]) -> int | None:
    """Return the person in whose mask the middle of a region's box lies, the one with the smallest box of several."""
    x, y = (region.box[0] + region.box[2]) / 2, (region.box[1] + region.box[3]) / 2
    holding = [person for person in persons.values() if _holds(person, x, y)]
    return min(holding, key=lambda person: (_area(person), person.index)).index if holding else None


def _holds(region: Region, x: float, y: float) -> bool:
    left, top, right, bottom = region.mask_extent
    return left <= x < right and top <= y < bottom and bool(region_mask(region)[int(y) - top, int(x) - left])


def _area(region: Region) -> float:
    return (region.box[2] - region.box[0]) * (region.box[3] - region.box[1])


def _grow(person: Region, parts: Sequence[Region], width: int, height: int) -> Region:
    """Return a person's region whose mask holds those of its parts."""
    extents = np.array([person.mask_extent, *(part.mask_extent for part in parts)])
    left, top = extents[:, :2].min(axis=0).tolist()
    right, bottom = extents[:, 2:].max(axis=0).tolist()
    mask = np.zeros((bottom - top, right - left), np.bool_)
    for region in (person, *parts):
        x1, y1, x2, y2 = region.mask_extent
        mask[y1 - top : y2 - top, x1 - left : x2 - left] |= region_mask(region)
    extent = (left, top, right, bottom)
    return replace(
        person,
        mask_extent=extent,
        extent=grow_extent(extent, person.edge_px, width, height),
        outline=mask,
    )
