"""Counts by key: the one kind of state that the statistics are made of.

A count is a dict of whole numbers without zeros. Adding such dicts is associative and commutative, with the
empty one as identity, so that shards can be merged in any order and grouping.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
import numpy.typing as npt

MAX_KEYS = 64
OTHER = "other"

_Key = TypeVar("_Key", int, str)


def add(a: Mapping[_Key, int], b: Mapping[_Key, int]) -> dict[_Key, int]:
    """Sum of two counts."""
    total = dict(a)
    for key, count in b.items():
        total[key] = total.get(key, 0) + count
    return {key: count for key, count in total.items() if count}


def add_capped(a: Mapping[str, int], b: Mapping[str, int]) -> dict[str, int]:
    """Sum of two counts whose keys may be many: at most `MAX_KEYS` keys are kept, the rest counts as `other`.

    Kept are the first keys in alphabetical order, not the most frequent ones: a key that falls in some part
    falls in the whole too, so the result does not depend on how the parts were grouped, and every kept count
    is exact.
    """
    total = add(a, b)
    names = sorted(key for key in total if key != OTHER)
    spilled = sum(total.pop(key) for key in names[MAX_KEYS:])
    return add(total, {OTHER: spilled})


def add_bins(into: dict[int, int], bins: npt.NDArray[np.integer]) -> None:
    """Counts each element of `bins` (N,) in place."""
    for key, count in zip(*np.unique(bins, return_counts=True), strict=True):
        into[int(key)] = into.get(int(key), 0) + int(count)


def to_pairs(counts: Mapping[int, int]) -> list[int]:
    """Flat list key, count, key, count, ... by rising key: the shortest JSON of sparse bins."""
    return [number for key in sorted(counts) for number in (key, counts[key])]


def from_pairs(numbers: list[int]) -> dict[int, int]:
    """Inverse of `to_pairs`.

    Raises:
        ValueError: an odd length, a key twice, or something that is no whole number above 0.
    """
    keys, values = numbers[::2], numbers[1::2]
    whole = all(type(number) is int and number >= 0 for number in numbers)
    if not whole or len(keys) != len(values) or len(set(keys)) < len(keys) or 0 in values:
        raise ValueError(f"{str(numbers)[:80]} is no list of keys and counts")
    return dict(zip(keys, values, strict=True))
