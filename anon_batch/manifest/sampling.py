"""Draw a random subset of images that does not depend on the order of the list: those with the smallest seeded hashes."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt


def sample_hashes(image_ids: Iterable[str], seed: int) -> npt.NDArray[np.uint64]:
    """Return a hash of each id, uint64: the first 8 bytes of BLAKE2b keyed by the seed.

    Args:
        image_ids: of the images.
        seed: of the sample, 0 to 2**128 - 1.
    """
    key = seed.to_bytes(16, "big")
    names = (str(image_id).encode("utf-8", "surrogatepass") for image_id in image_ids)
    digests = b"".join(hashlib.blake2b(name, digest_size=8, key=key).digest() for name in names)
    return np.frombuffer(digests, np.dtype(">u8")).astype(np.uint64)


def sample_threshold(hashes: npt.NDArray[np.uint64], limit: int | None) -> int | None:
    """Return the largest hash in a sample of `limit` images; None if the sample contains all images."""
    if limit is None or limit >= len(hashes):
        return None
    return int(np.partition(hashes, limit - 1)[limit - 1])


def draw(rows: Iterable[tuple[str, str]], numbers: Mapping[str, int], seed: int) -> list[tuple[str, str]]:
    """Return a random sample in strata, in random order, that does not depend on the order of `rows`.

    A large list can be cut up: the draw from the draws of all pieces is the draw from the whole.

    Args:
        rows: (id, stratum); each id once.
        numbers: stratum -> how many to draw, or all if there are fewer; strata without a number give none.
        seed: 0 to 2**128 - 1.
    """
    heaps: dict[str, list[tuple[int, str, str]]] = {stratum: [] for stratum, number in numbers.items() if number > 0}
    for image_id, stratum in rows:
        if stratum not in heaps:
            continue
        rank = int(sample_hashes((image_id,), seed)[0])
        entry = (-rank, image_id, stratum)  # the heap's first entry is the largest hash, the next to be given up
        if len(heaps[stratum]) < numbers[stratum]:
            heapq.heappush(heaps[stratum], entry)
        else:
            heapq.heappushpop(heaps[stratum], entry)
    drawn = sorted((-rank, image_id, stratum) for heap in heaps.values() for rank, image_id, stratum in heap)
    return [(image_id, stratum) for _, image_id, stratum in drawn]
