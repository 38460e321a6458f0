"""Draw a random subset of images that does not depend on the order of the list: those with the smallest seeded hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

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
