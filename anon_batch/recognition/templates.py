"""Templates of faces: which side of 512 random planes a feature lies on. Those of different keys are not comparable.

Sign random projections (Charikar 2002, "Similarity estimation techniques from rounding algorithms", section 3): a bit of two
features differs with probability angle / pi, so that equal bits estimate the cosine. The planes' normals have entries of +-1
drawn from HMAC-SHA256, because no library promises a stable stream of normal numbers. A template does not hide the feature from
who has its key: it can be inverted to a feature with a cosine above 0.8.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any

import numpy as np
import numpy.typing as npt

from anon_batch.records import FloatArray

TEMPLATE_BITS = 512
TEMPLATE_BYTES = TEMPLATE_BITS // 8
TEMPLATE_KEY_BYTES = 32
_TAG = b"anon-batch template planes 1\x00"

Templates = npt.NDArray[np.uint8]


class TemplateKey:
    """The secret that templates depend on. It is never shown, and cannot be pickled.

    Args:
        key: 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._planes: dict[int, npt.NDArray[np.float64]] = {}

    @classmethod
    def new(cls) -> TemplateKey:
        """Return a random key."""
        return cls(secrets.token_bytes(TEMPLATE_KEY_BYTES))

    @property
    def secret(self) -> bytes:
        """The 32 bytes, to be encrypted."""
        return self._key

    def template(self, feature: FloatArray) -> bytes:
        """Return the template of a feature (D,), 64 bytes."""
        return np.packbits(np.asarray(feature, np.float64) @ self._normals(len(feature)) > 0).tobytes()

    def similarities(self, feature: FloatArray, templates: Templates) -> npt.NDArray[np.float64]:
        """Estimate the cosines of a feature (D,) to those of templates (N, 64) of this key."""
        own = np.frombuffer(self.template(feature), np.uint8)
        differing = np.bitwise_count(templates ^ own).sum(axis=1, dtype=np.int64)
        return np.asarray(np.cos(np.pi * differing / TEMPLATE_BITS), np.float64)

    def _normals(self, dimensions: int) -> npt.NDArray[np.float64]:
        """Return the normals of the planes, (D, 512) of +-1."""
        if dimensions not in self._planes:
            size = dimensions * TEMPLATE_BYTES
            blocks = -(-size // hashlib.sha256().digest_size)
            stream = b"".join(hmac.digest(self._key, _TAG + at.to_bytes(8, "big"), "sha256") for at in range(blocks))
            bits = np.unpackbits(np.frombuffer(stream[:size], np.uint8)).reshape(dimensions, TEMPLATE_BITS)
            self._planes[dimensions] = bits.astype(np.float64) * 2 - 1
        return self._planes[dimensions]

    def __repr__(self) -> str:
        return "TemplateKey()"

    def __reduce__(self) -> Any:
        raise TypeError("a key is not pickled")
