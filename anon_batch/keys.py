"""Seeds of faces: a function of the secret run key, the picture and the face, and of nothing else.

No order, batch, shard or worker enters, so a face gets the same seed however the job is cut up.
"""

from __future__ import annotations

import hashlib
import hmac

import numpy as np

_DOMAIN = b"anon-batch face seed 1\x00"


def face_seed(run_key: bytes, image_id: str, subject: int) -> int:
    """Seed of one face, 0 .. 2**64 - 1.

    The first 8 bytes, big-endian, of HMAC-SHA256 (RFC 2104) with the run key over a domain tag, the length of
    the id in bytes (8 bytes, big-endian), the id (UTF-8), and the face index (8 bytes, big-endian). The
    length makes the encoding one-to-one: no two faces share a message.

    Args:
        run_key: the run's secret.
        image_id: the manifest's id.
        subject: position of the face in the picture's detections, from 0.

    Raises:
        ValueError: an empty key, or a face index below 0 or above 2**63 - 1.
    """
    if not run_key:
        raise ValueError("run key: empty, expected secret bytes")
    if not 0 <= subject < 2**63:
        raise ValueError(f"face index: {subject}, expected 0 .. 2**63 - 1")
    name = image_id.encode("utf-8", "surrogatepass")
    message = b"".join((_DOMAIN, len(name).to_bytes(8, "big"), name, int(subject).to_bytes(8, "big")))
    return int.from_bytes(hmac.digest(run_key, message, hashlib.sha256)[:8], "big")


def generator(seed: int) -> np.random.Generator:
    """A random generator of its own for `seed` (0 .. 2**128 - 1).

    Philox is counter-based: the seed is its key as it stands, so different seeds give different streams, the
    same on every platform, and no global state is read or written.
    """
    return np.random.Generator(np.random.Philox(key=seed))
