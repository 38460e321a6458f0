"""What a run keeps of an image, encrypted to public keys: the interface of those that make it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from anon_batch.outcomes import Anonymized
from anon_batch.records import EncodedImage
from anon_batch.sealing.envelope import Sealed, WrappedKek


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of one image.

    Args:
        records: encrypted.
        counts: what -> how often, for the statistics.
    """

    records: tuple[Sealed, ...]
    counts: Mapping[str, int] = field(default_factory=dict)


class Keeper(Protocol):
    """Encrypts something of each anonymized image of an attempt. Threads may share it.

    Attributes:
        wrapped: the key of the attempt, encrypted to the recipients.
    """

    wrapped: WrappedKek

    def keep(self, outcome: Anonymized, output: EncodedImage) -> Kept:
        """Return what is kept of an image.

        Raises:
            WithheldError: it cannot be kept, so that the image must not be published.
        """
