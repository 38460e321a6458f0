"""Intervals by leaving out one group of images at a time, for figures that are computed from merged counts.

Images fall into groups by the hashes of their ids, so a group's counts merge over any split of the images, at a fixed size. The
spread of the figures without one group gives a standard error (delete-a-group jackknife: Kott 2001, "The delete-a-group
jackknife", Journal of Official Statistics 17). Faces of one image are in one group, as they must be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.special import stdtrit

GROUPS = 20
MIN_GROUPS = 10  # with images: fewer give no interval


def group_of(key: int) -> int:
    """Return the group of an image's hash."""
    return key % GROUPS


def standard_error(left_out: Sequence[float]) -> float:
    """Return the standard error of a figure.

    Args:
        left_out: the figure without the first group, without the second group, and so on.
    """
    groups = len(left_out)
    mean = math.fsum(left_out) / groups
    return math.sqrt((groups - 1) / groups * math.fsum((own - mean) ** 2 for own in left_out))


def interval(
    value: float, left_out: Sequence[float], lowest: float = -math.inf, highest: float = math.inf
) -> tuple[float, float] | None:
    """Return the 95 % interval of a figure by Student's distribution, cut to its range; None with too few groups.

    Args:
        value: the figure.
        left_out: as for `standard_error`, of the groups that have images.
        lowest: that the figure can be.
        highest: likewise.
    """
    if len(left_out) < MIN_GROUPS:
        return None
    half = float(stdtrit(len(left_out) - 1, 0.975)) * standard_error(left_out)
    return max(lowest, value - half), min(highest, value + half)
