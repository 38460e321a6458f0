"""LEDGER/access/: who opened what was sealed or searched for a face, why, and what came of it.

Each entry holds the digest of the one before.

An entry names rows by their numbers, never by ids, so that the log survives the erasure of an image and tells nothing of it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from typing import Literal

from anon_batch.errors import IntegrityError, ObjectExistsError
from anon_batch.formats import layout
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.run_json import now

_VERSION = 1
_NAME = re.compile(r"^(\d{10})\.json\Z", re.ASCII)
Verb = Literal["reveal", "ticket", "rotate", "link"]


@dataclasses.dataclass(frozen=True, slots=True)
class Access:
    """One entry.

    Args:
        verb: what was asked.
        by: who asked.
        reason: why.
        case: file number of the one who asked; "" without one.
        key_id: of the private key that opens; several are joined by "+".
        rows: number of each row, and the index of each region in it; -1 for the source's file.
        outcome: `begun`, or what came of the entry `of`.
        of: number of the entry whose outcome this is; None for one that begins.
        at: UTC, ISO 8601.
        previous_sha256: digest of the entry before; "" for the first.
        photo: code of the photograph that was searched with, which the holder of the same private key alone can make again.
    """

    verb: Verb
    by: str
    reason: str
    case: str
    key_id: str
    rows: tuple[tuple[int, int], ...]
    outcome: str = "begun"
    of: int | None = None
    at: str = ""
    previous_sha256: str = ""
    photo: str = ""

    def to_json(self) -> bytes:
        """Return the content of the entry's file."""
        return json.dumps({"version": _VERSION, **dataclasses.asdict(self)}, sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes, uri: str) -> Access:
        """Parse an entry; `uri` is its address, for messages.

        Raises:
            IntegrityError: it is damaged, or another version of this package wrote it.
        """
        try:
            fields = json.loads(data)
            if fields.pop("version") != _VERSION:
                raise ValueError("another version")
            return cls(**{**fields, "rows": tuple((int(row), int(region)) for row, region in fields["rows"])})
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise IntegrityError(f"{uri}: damaged ({exc})") from None


class AccessLog:
    """Read and extend the log of a ledger.

    Args:
        ledger: where it lies.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def read(self) -> list[Access]:
        """Return all entries, the oldest first.

        Raises:
            IntegrityError: one is missing, damaged, or was changed.
        """
        entries, before = list[Access](), ""
        for number in self._numbers():
            uri = self._address(number)
            data = self._ledger.storage.read(uri)
            entry = Access.from_json(data, uri)
            if number != len(entries) or entry.previous_sha256 != before:
                raise IntegrityError(f"{uri}: the entry before it was changed or is missing")
            entries.append(entry)
            before = hashlib.sha256(data).hexdigest()
        return entries

    def append(self, entry: Access) -> int:
        """Write an entry behind the last one, and read it back; return its number.

        Nothing may be opened before this returns.

        Raises:
            IntegrityError: the log is damaged, or what was read back is something else.
            StorageError: it cannot be written.
        """
        while True:
            self.read()  # because an entry behind a damaged one would vouch for it
            number = len(self._numbers())
            before = self._ledger.storage.read(self._address(number - 1)) if number else None
            digest = "" if before is None else hashlib.sha256(before).hexdigest()
            data = dataclasses.replace(entry, at=now(), previous_sha256=digest).to_json()
            try:
                self._ledger.storage.put_if_absent(self._address(number), data)
            except ObjectExistsError:  # because another command has taken the number
                continue
            if self._ledger.storage.read(self._address(number)) != data:
                raise IntegrityError(f"{self._address(number)}: another entry than was written")
            return number

    def _numbers(self) -> list[int]:
        found = (_NAME.match(info.key) for info in self._ledger.objects(layout.LEDGER_ACCESS))
        return sorted(int(match[1]) for match in found if match)

    def _address(self, number: int) -> str:
        return self._ledger.address(f"{layout.LEDGER_ACCESS}/{number:010d}.json")
