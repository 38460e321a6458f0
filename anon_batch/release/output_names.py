"""Find duplicates and orphans among the outputs that parts name: exact, in 8 bytes of memory for each name.

Names are kept as 64-bit hashes. Among a billion names, two different ones have the same hash with a probability of 2.7 %. So the
parts that hold equal hashes are read again, and the names themselves are compared.

DuckDB would do this in two queries, but is not worth a dependency: with 2,000,000 names it took 1.2 to 1.5 times the CPU time
and 2 to 4 times the peak memory of this module.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from anon_batch.records import ShardSpec

Rows = Sequence[Mapping[str, Any]]
Hashes = npt.NDArray[np.uint64]

_COMPARED = 1_000_000  # hashes whose names are in memory at a time
_LOOKED_UP = 65_536  # listed keys at a time


class OutputNames:
    """Collect the names of the outputs of all parts.

    Args:
        reread: returns the published rows of a part that was added.
    """

    def __init__(self, reread: Callable[[ShardSpec], Rows]) -> None:
        self._reread = reread
        self._parts: list[ShardSpec] = []
        self._objects: list[Hashes] = []
        self._images: list[Hashes] = []

    def add(self, spec: ShardSpec, published: Rows) -> None:
        """Add the rows of a part that have an output. Add each part once."""
        images = _hashes(_image(row) for row in published)
        in_containers = any(row["member"] for row in published)
        self._parts.append(spec)
        self._images.append(images)
        # Because an image without a container is its own object, share one array; else names would take twice the memory.
        self._objects.append(_distinct([_hashes(_object(row) for row in published)]) if in_containers else images)

    def duplicates(self) -> int:
        """Return the number of rows that name an image which an earlier row names too.

        Raises:
            IntegrityError: a part changed since it was added. Other errors of `reread` may follow.
        """
        count = 0
        for some in _slices(_repeats(self._images)):
            times = Counter(self._names(some, self._images, _image))
            count += times.total() - len(times)
        return count

    def orphans(self, listed: Callable[[], Iterable[str]]) -> Iterator[str]:
        """Yield the listed keys that no row names.

        Args:
            listed: lists all keys, each once; called again if the hash of an orphan equals that of a name.

        Raises:
            IntegrityError: as `duplicates`.
        """
        known, again = _sorted(self._objects)
        # Because listing again costs more than reading a few parts, resolve equal hashes among the rows' names first.
        alike = _distinct([known[again]])[:_COMPARED]
        known = known[~again] if again.any() else known
        del again
        alike_names = set(self._names(alike, self._objects, _object))
        met = np.zeros(len(known), np.bool_)
        shared: list[Hashes] = []
        for keys in _batches(listed()):
            hashes = _hashes(keys)
            at, hit = _find(known, hashes)
            _, looked_at = _find(alike, hashes)
            for key, is_known, is_alike in zip(keys, hit, looked_at, strict=True):
                if not is_known or (is_alike and key not in alike_names):
                    yield key
            slots, times = np.unique(at[hit & ~looked_at], return_counts=True)
            shared.append(known[slots[met[slots] | (times > 1)]])
            met[slots] = True
        # Two listed keys share the hash of one name. (A key that is alone with its hash is the name itself, because the object
        # of that name exists, as it was read and checked, and would be the second key.)
        for some in _slices(_distinct(shared)):
            names = set(self._names(some, self._objects, _object))
            for keys in _batches(listed()):
                _, hit = _find(some, _hashes(keys))
                yield from (key for key, is_shared in zip(keys, hit, strict=True) if is_shared and key not in names)

    def _names(self, hashes: Hashes, parts: list[Hashes], name: Callable[[Mapping[str, Any]], str]) -> Iterator[str]:
        """Yield the names that have these hashes, row by row."""
        for spec, held in zip(self._parts, parts, strict=True):
            if _find(hashes, held)[1].any():
                names = [name(row) for row in self._reread(spec)]
                _, hit = _find(hashes, _hashes(names))
                yield from (text for text, is_wanted in zip(names, hit, strict=True) if is_wanted)


def _object(row: Mapping[str, Any]) -> str:
    return str(row["output"])


def _image(row: Mapping[str, Any]) -> str:
    return f"{row['output']}\0{row['member']}" if row["member"] else _object(row)


def _hash(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=8).digest()


def _hashes(names: Iterable[str]) -> Hashes:
    return np.frombuffer(b"".join(_hash(name) for name in names), np.uint64)


def _find(known: Hashes, hashes: Hashes) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Return the position of each hash in the sorted `known`, and whether it is there."""
    at = np.searchsorted(known, hashes)
    if not len(known):
        return at, np.zeros(len(hashes), np.bool_)
    return at, known[np.minimum(at, len(known) - 1)] == hashes


def _distinct(parts: list[Hashes]) -> Hashes:
    """Return all hashes, sorted, each once."""
    every, again = _sorted(parts)
    return every if not again.any() else every[~again]


def _repeats(parts: list[Hashes]) -> Hashes:
    """Return the hashes that occur more than once, sorted, each once."""
    every, again = _sorted(parts)
    return _distinct([every[again]])


def _sorted(parts: list[Hashes]) -> tuple[Hashes, npt.NDArray[np.bool_]]:
    """Return all hashes, sorted in place because there may be a billion, and which of them equal the one before."""
    every = np.concatenate([np.zeros(0, np.uint64), *parts])
    every.sort()
    again = np.zeros(len(every), np.bool_)
    np.equal(every[1:], every[:-1], out=again[1:])
    return every, again


def _slices(hashes: Hashes) -> Iterator[Hashes]:
    for start in range(0, len(hashes), _COMPARED):
        yield hashes[start : start + _COMPARED]


def _batches(keys: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for key in keys:
        batch.append(key)
        if len(batch) == _LOOKED_UP:
            yield batch
            batch = []
    if batch:
        yield batch
