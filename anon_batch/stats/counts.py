"""Counts by key: the kind of state that the statistics consist of.

A count is a dict of whole numbers without zeros. Adding such dicts is associative and commutative, with the
empty one as identity, so shards can be merged in any order and grouping.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
import numpy.typing as npt

MAX_KEYS = 64
OTHER = "other"

_Key = TypeVar("_Key", int, str)
_Value = TypeVar("_Value")


def add(a: Mapping[_Key, int], b: Mapping[_Key, int]) -> dict[_Key, int]:
    """Return the sum of two counts."""
    total = dict(a)
    for key, count in b.items():
        total[key] = total.get(key, 0) + count
    return {key: count for key, count in total.items() if count}


def add_capped(a: Mapping[str, int], b: Mapping[str, int]) -> dict[str, int]:
    """Return the sum of two counts with at most MAX_KEYS keys beside `other`, as `merge_capped`."""
    return merge_capped(add(a, b), {}, lambda one, two: one + two, MAX_KEYS)


def merge_capped(
    a: Mapping[str, _Value], b: Mapping[str, _Value], merge: Callable[[_Value, _Value], _Value], limit: int
) -> dict[str, _Value]:
    """Merge the values of equal keys; keep at most `limit` keys, and merge the rest into `other`.

    Kept are the first keys in alphabetical order, not the most frequent ones: a key that is dropped from a part
    is dropped from the whole too, so the result does not depend on how the parts were grouped, and every kept value
    is exact.
    """
    total = dict(a)
    for key, value in b.items():
        total[key] = merge(total[key], value) if key in total else value
    for key in sorted(key for key in total if key != OTHER)[limit:]:
        value = total.pop(key)
        total[OTHER] = merge(total[OTHER], value) if OTHER in total else value
    return total


def add_bins(into: dict[int, int], bins: npt.NDArray[np.integer]) -> None:
    """Count each element of `bins` (N,) in place."""
    for key, count in zip(*np.unique(bins, return_counts=True), strict=True):
        into[int(key)] = into.get(int(key), 0) + int(count)


def to_pairs(counts: Mapping[int, int]) -> list[int]:
    """Return a flat list key, count, key, count, ... by rising key: the shortest JSON of sparse bins."""
    return [number for key in sorted(counts) for number in (key, counts[key])]


def from_pairs(numbers: list[int]) -> dict[int, int]:
    """Return the counts that `to_pairs` wrote.

    Raises:
        ValueError: an odd length, a key twice, or something other than a whole number above 0.
    """
    keys, values = numbers[::2], numbers[1::2]
    whole = all(type(number) is int and number >= 0 for number in numbers)
    if not whole or len(keys) != len(values) or len(set(keys)) < len(keys) or 0 in values:
        raise ValueError(f"{str(numbers)[:80]} is not a list of keys and counts")
    return dict(zip(keys, values, strict=True))


def checked(counts: Mapping[str, int]) -> dict[str, int]:
    """Return counts by name as read from JSON.

    Raises:
        ValueError: a count is not a whole number.
    """
    if not all(type(count) is int for count in counts.values()):
        raise ValueError(f"{str(counts)[:80]}: expected whole numbers")
    return dict(counts)
