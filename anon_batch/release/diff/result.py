"""What a comparison of a release with its source found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

_MAX_NAMES = 100
_MAX_GROUPS = 10_000
_OTHERS = "(others)"
MOSTLY = 0.5

# What contradicts "only pixels inside regions changed".
FAULTS = (
    *("changed outside", "other size", "not in the source", "source unreadable", "source changed", "output damaged"),
    *("other values", "other class names"),
)


@dataclass(slots=True)
class Difference:
    """Counts of a comparison; grows while it runs.

    Args:
        is_part: whether the release is of a sample of the source, so that rows may be missing.
        counts: what was found -> rows: `source`, `released`, `missing`, `erased`, statuses, `status:reason`, outcomes of
            `pixels.compare`, and the names of FAULTS.
        groups: value of the chosen columns -> the same counts.
        pixels: of the images that were compared.
        pixels_in_regions: how many of them lie in regions, and so are not compared.
        names: fault, or `missing` -> ids of its rows, the first hundred.
    """

    is_part: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    groups: dict[str, Counter[str]] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    pixels: int = 0
    pixels_in_regions: int = 0

    def add_area(self, pixels: int, in_regions: int) -> None:
        """Count the pixels of one compared image; `mostly in regions` counts images that are so by more than MOSTLY."""
        self.pixels += pixels
        self.pixels_in_regions += in_regions
        self.counts["mostly in regions"] += in_regions > MOSTLY * pixels

    @property
    def share_in_regions(self) -> float | None:
        """Share of the compared images' pixels that lie in regions; None if no image was compared."""
        return self.pixels_in_regions / self.pixels if self.pixels else None

    def add(self, what: str, group: str | None, image_id: str = "") -> None:
        """Count one row.

        Args:
            what: was found.
            group: of the row; None if no column was chosen.
            image_id: of the row, to be shown if it is a fault.
        """
        self.counts[what] += 1
        if group is not None:
            known = group in self.groups or len(self.groups) < _MAX_GROUPS
            self.groups.setdefault(group if known else _OTHERS, Counter())[what] += 1
        if what in FAULTS or what == "missing":
            names = self.names.setdefault(what, [])
            if len(names) < _MAX_NAMES:
                names.append(image_id)

    @property
    def faults_count(self) -> int:
        """Number of rows that contradict the claim; missing rows count unless the release is of a sample."""
        missing = 0 if self.is_part else self.counts["missing"]
        return missing + sum(self.counts[fault] for fault in FAULTS)

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {
            "faults_count": self.faults_count,
            "is_part": self.is_part,
            "counts": dict(sorted((+self.counts).items())),
            "pixels": self.pixels,
            "pixels_in_regions": self.pixels_in_regions,
            "share_in_regions": self.share_in_regions,
            "groups": {name: dict(sorted(own.items())) for name, own in sorted(self.groups.items())},
            "names": self.names,
        }
