"""How many labelled faces a release still shows: counts by image, for intervals that know that images are clusters.

Only published images count, because an image that is withheld shows nobody. A face is missed if it is uncovered; see
`uncovered`. Everything but the size is counted for faces from MIN_SIDE_PX, because smaller ones show hardly anybody. Regions of
other labels, such as licence plates, are counted by their label alone.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anon_batch.records import DEFAULT_LABEL
from anon_batch.stats import counts
from anon_batch.stats.clustered import ClusteredShare
from anon_batch.stats.label import MAX_LABELS
from anon_batch.stats.uncovered import MAX_OUTSIDE, UNKNOWN, LabelledRegions

MIN_SIDE_PX = 16
FEW_FACES = 100  # below, a share says little
ALL, FROM_MIN_SIDE, SIZE, LABEL = "all", f"from_{MIN_SIDE_PX}_px", "size", "label"
_SIZES = (16, 32, 64, 128, 256)
_BRIGHTNESSES = (64, 128, 192)
_CROWDS = (2, 4, 10)

Groups = dict[str, dict[str, ClusteredShare]]  # dimension -> value -> counts


@dataclass(slots=True)
class MissedStats:
    """Labelled faces and how many of them are uncovered.

    Args:
        images: published images with ground truth.
        unpublished_images: images with ground truth that are withheld or failed.
        unpublished_faces: labelled faces in them.
        groups: dimension -> value -> counts. The dimensions are `all` (values `all` and `from_16_px`), `size`, `brightness`,
            `pose` and `crowding` of faces, and `label` of all regions; at most MAX_LABELS values, then `other`.
        slices: the same of faces by the manifest's columns `slice_*`.
    """

    images: int = 0
    unpublished_images: int = 0
    unpublished_faces: int = 0
    groups: Groups = field(default_factory=dict)
    slices: Groups = field(default_factory=dict)

    def add(self, faces: LabelledRegions, slices: Mapping[str, str]) -> None:
        """Count one published image with ground truth.

        Args:
            faces: its labelled regions.
            slices: column -> value of the image.
        """
        self.images += 1
        if len(faces):
            self.groups = _merge_groups(self.groups, _grouped(faces))
            self.slices = _merge_groups(self.slices, _sliced(faces, slices))

    def add_unpublished(self, faces: int) -> None:
        """Count one image with ground truth that has no output."""
        self.unpublished_images += 1
        self.unpublished_faces += faces

    def merge(self, other: MissedStats) -> MissedStats:
        """Return the sum of both; neither changes."""
        return MissedStats(
            self.images + other.images,
            self.unpublished_images + other.unpublished_images,
            self.unpublished_faces + other.unpublished_faces,
            _merge_groups(self.groups, other.groups),
            _merge_groups(self.slices, other.slices),
        )

    def public(self) -> MissedStats:
        """Return the counts of images alone, as the public part of a shard holds them."""
        return MissedStats(self.images, self.unpublished_images)

    def summary(self) -> dict[str, Any] | None:
        """Return the figures of `missed` in stats.json, None without ground truth; see `summary.summarise`."""
        if not (self.images or self.unpublished_images):
            return None
        empty = ClusteredShare()
        overall = {name: self.groups.get(ALL, {}).get(name, empty) for name in (ALL, FROM_MIN_SIDE)}
        others = sorted({**self.groups, **self.slices}.items())
        groups = {ALL: overall, **{name: own for name, own in others if name != ALL}}
        return {
            "max_outside": MAX_OUTSIDE,
            "images": self.images,
            "unpublished_images": self.unpublished_images,
            "unpublished_faces": self.unpublished_faces,
            "groups": {
                name: {value: _figures(share) for value, share in sorted(own.items(), key=_order)}
                for name, own in groups.items()
            },
        }

    def to_state(self) -> list[Any]:
        """Return a JSON value."""
        numbers = (self.images, self.unpublished_images, self.unpublished_faces)
        return [*numbers, _groups_to_state(self.groups), _groups_to_state(self.slices)]

    @classmethod
    def from_state(cls, state: list[Any]) -> MissedStats:
        """Return what `to_state` wrote; ValueError, TypeError or AttributeError for anything else."""
        images, unpublished_images, unpublished_faces, groups, slices = state
        numbers = (images, unpublished_images, unpublished_faces)
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError(f"{str(numbers)[:80]}: expected whole numbers from 0")
        return cls(*numbers, _groups_from_state(groups), _groups_from_state(slices))


def _grouped(faces: LabelledRegions) -> Groups:
    everything, large = _faces(faces), _faces_from_min_side(faces)

    def by(value_of: Callable[[int], str], among: Sequence[int]) -> dict[str, ClusteredShare]:
        members: dict[str, list[int]] = {}
        for at in among:
            members.setdefault(value_of(at), []).append(at)
        return {value: _share_of(faces, own) for value, own in members.items()}

    groups = {
        ALL: {**by(lambda at: ALL, everything), **by(lambda at: FROM_MIN_SIDE, large)},
        SIZE: by(lambda at: _bin(faces.longer_px[at], _SIZES, 0, "px"), everything),
        "brightness": by(lambda at: _bin(faces.brightness[at], _BRIGHTNESSES, 0, "", 255), large),
        "pose": by(lambda at: faces.poses[at], large),
        "crowding": by(lambda at: _bin(len(everything), _CROWDS, 1, ""), large),
        LABEL: by(lambda at: faces.labels[at], _from_min_side(faces, range(len(faces)))),
    }
    return {name: own for name, own in groups.items() if own}


def _sliced(faces: LabelledRegions, slices: Mapping[str, str]) -> Groups:
    large = _faces_from_min_side(faces)
    return {column: {value: _share_of(faces, large)} for column, value in slices.items()} if large else {}


def _faces(regions: LabelledRegions) -> list[int]:
    return [at for at, label in enumerate(regions.labels) if label == DEFAULT_LABEL]


def _faces_from_min_side(regions: LabelledRegions) -> list[int]:
    return _from_min_side(regions, _faces(regions))


def _from_min_side(regions: LabelledRegions, among: Iterable[int]) -> list[int]:
    return [at for at in among if regions.longer_px[at] >= MIN_SIDE_PX]


def _share_of(faces: LabelledRegions, members: Sequence[int]) -> ClusteredShare:
    return ClusteredShare.of(int(faces.uncovered[members].sum()), len(members))


def _bin(number: float, borders: Sequence[int], first: int, unit: str, last: int | None = None) -> str:
    """Return the name of the bin that holds a number, for example `16 to 31 px`."""
    if not math.isfinite(number):
        return UNKNOWN
    at = bisect_right(borders, number)
    low = borders[at - 1] if at else first
    high = borders[at] - 1 if at < len(borders) else last
    name = f"{low} and more" if high is None else str(low) if low == high else f"{low} to {high}"
    return f"{name} {unit}".strip()


def _order(item: tuple[str, Any]) -> tuple[bool, float, str]:
    """Sort values that start with a number by it, then the others by name, `other` and `unknown` last."""
    number = item[0].partition(" ")[0]
    return item[0] in (counts.OTHER, UNKNOWN), float(number) if number.isdecimal() else math.inf, item[0]


def _figures(share: ClusteredShare) -> dict[str, Any]:
    low, high = share.interval() or (None, None)
    numbers = {"faces": share.faces, "uncovered": share.hits, "images": share.images}
    return {**numbers, "share": share.share, "low": low, "high": high}


def _groups_to_state(groups: Groups) -> dict[str, dict[str, list[int]]]:
    return {name: {value: share.to_state() for value, share in own.items()} for name, own in groups.items()}


def _groups_from_state(state: Mapping[str, Mapping[str, list[int]]]) -> Groups:
    return {
        name: {value: ClusteredShare.from_state(share) for value, share in own.items()} for name, own in state.items()
    }


def _merge_groups(a: Groups, b: Groups) -> Groups:
    names = dict.fromkeys((*a, *b))
    return {
        name: counts.merge_capped(a.get(name, {}), b.get(name, {}), ClusteredShare.merge, MAX_LABELS) for name in names
    }
