"""Seeds and further keys, derived from the secret run key.

A seed depends on the run key and on whom or what it is for, never on order, batch, shard or worker. So a region gets the same
seed however the job is cut up.
"""

from __future__ import annotations

import hashlib
import hmac

import numpy as np

# The first tag is that of the first releases: it must not change, because a release is repeated with its run key years later.
_REGION_TAG = b"anon-batch face seed 1\x00"
_SUBJECT_TAG = b"anon-batch subject seed 1\x00"
_PURPOSE_TAG = b"anon-batch derived key 1\x00"


def seed(run_key: bytes, image_id: str, subject: int | str) -> int:
    """Return the seed of one region, 0 .. 2**64 - 1.

    The first 8 bytes, big-endian, of HMAC-SHA256 (RFC 2104) with the run key over a tag and length-prefixed parts. The lengths
    make the encoding one-to-one: no two subjects share a message.

    Args:
        run_key: the run's secret.
        image_id: the manifest's id.
        subject: an integer is a position or a track inside the image; text names one subject throughout the dataset, so that
            the image's id does not enter and the same person gets the same seed in every image.

    Raises:
        ValueError: an empty key or text, or an integer below 0 or above 2**63 - 1.
    """
    if isinstance(subject, str):
        if not subject:
            raise ValueError("subject: empty, expected text or an integer")
        message = _SUBJECT_TAG + _prefix_length(_encode(subject))
    else:
        if not 0 <= subject < 2**63:
            raise ValueError(f"subject: {subject}, expected 0 .. 2**63 - 1")
        message = _REGION_TAG + _prefix_length(_encode(image_id)) + int(subject).to_bytes(8, "big")
    return int.from_bytes(_digest(run_key, message)[:8], "big")


def derive(run_key: bytes, purpose: str, *parts: str | bytes) -> bytes:
    """Return 32 secret bytes for another purpose, which say nothing about seeds or about the keys of other purposes.

    Args:
        run_key: the run's secret.
        purpose: a fixed name, e.g. "link".
        parts: what the key is for, e.g. an image's id.

    Raises:
        ValueError: an empty key or purpose.
    """
    if not purpose:
        raise ValueError("purpose: empty, expected a name")
    encoded = (part if isinstance(part, bytes) else _encode(part) for part in (purpose, *parts))
    return _digest(run_key, _PURPOSE_TAG + b"".join(map(_prefix_length, encoded)))


def generator(seed: int) -> np.random.Generator:
    """Return a random generator for `seed` (0 .. 2**128 - 1).

    Philox is counter-based: the seed is its key as it stands, so that different seeds give different streams, the same on every
    platform, and no global state is read or written.
    """
    return np.random.Generator(np.random.Philox(key=seed))


def _digest(run_key: bytes, message: bytes) -> bytes:
    if not run_key:
        raise ValueError("run key: empty, expected secret bytes")
    return hmac.digest(run_key, message, hashlib.sha256)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _prefix_length(part: bytes) -> bytes:
    return len(part).to_bytes(8, "big") + part
