"""stats.json: the merged statistics of a finished release."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anon_batch.errors import IntegrityError


@dataclass(frozen=True, slots=True)
class StatsJson:
    """The figures of a release.

    Args:
        summary: what `stats.summarise` returns, which documents the keys.
    """

    summary: Mapping[str, Any]

    @property
    def rows(self) -> int:
        """Number of manifest rows."""
        return int(self.summary["rows"])

    @property
    def statuses(self) -> dict[str, int]:
        """Map each of the four statuses to its number of rows."""
        return {str(status): int(rows) for status, rows in self.summary["statuses"].items()}

    @property
    def sha256(self) -> str:
        """Digest of the file."""
        return hashlib.sha256(self.to_json()).hexdigest()

    def to_json(self) -> bytes:
        """Return the content of stats.json."""
        return json.dumps(self.summary, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes, uri: str) -> StatsJson:
        """Parse stats.json; `uri` is its address, for messages.

        Raises:
            IntegrityError: it is damaged.
        """
        try:
            summary = json.loads(data)
            if type(summary["rows"]) is not int or not isinstance(summary["statuses"], dict):
                raise TypeError("rows must be a whole number and statuses a mapping")
        except (ValueError, KeyError, TypeError) as exc:
            raise IntegrityError(f"{uri}: damaged ({exc})") from None
        return cls(summary)
