"""LEDGER/keys/rotation-NAME.json: that the recipients of sealed originals are being changed, and to whom.

Because every shard's keys are wrapped for the new recipients before the list of recipients is changed, two changes at once, or a
new version beside a change, would leave keys that nobody on the list can open.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from anon_batch.errors import IntegrityError
from anon_batch.formats.seals_json import Seals
from anon_batch.sealing.envelope import Need, check_need

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Rotation:
    """A change of recipients that has begun.

    Args:
        key_ids: of the new recipients, sorted.
        need: how many of them are needed.
        wraps: whether keys may have been wrapped for them; before, nothing has changed.
    """

    key_ids: tuple[str, ...]
    need: Need
    wraps: bool = False

    def leads_to(self, seals: Seals) -> bool:
        """Return whether these are the recipients that it leads to."""
        return (list(self.key_ids), self.need) == (seals.key_ids, seals.need)

    def is_like(self, other: Rotation) -> bool:
        """Return whether both lead to the same recipients."""
        return (self.key_ids, self.need) == (other.key_ids, other.need)

    def to_json(self) -> bytes:
        """Return the content of the file."""
        fields = {"version": _VERSION, "key_ids": list(self.key_ids), "need": self.need, "wraps": self.wraps}
        return json.dumps(fields, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes, uri: str) -> Rotation:
        """Parse the file; `uri` is its address, for messages.

        Raises:
            IntegrityError: it is damaged, or another version of this package wrote it.
        """
        try:
            fields = json.loads(data)
            if fields["version"] != _VERSION:
                raise ValueError("another version")
            keys = tuple(str(own) for own in fields["key_ids"])
            return cls(keys, check_need(fields["need"]), bool(fields["wraps"]))
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise IntegrityError(f"{uri}: damaged ({exc})") from None
