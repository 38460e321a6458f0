"""What a ledger holds of sealed originals: the recipients, and for each shard ciphertexts and wrapped keys."""

from __future__ import annotations

import contextlib

from anon_batch.errors import IntegrityError, ObjectExistsError, ObjectNotFoundError
from anon_batch.formats import layout
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.sealed import SealedShard, parse_sealed, read_places, write_ciphertexts, write_keys
from anon_batch.formats.seals_json import Seals
from anon_batch.records import ShardSpec


class SealStore:
    """Read and write the sealed originals of a run.

    Args:
        ledger: of the run.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._storage = ledger, ledger.storage

    def recipients(self) -> Seals | None:
        """Return to whom originals are sealed; None if they are not kept.

        Raises:
            IntegrityError: the file is damaged.
        """
        uri = self._ledger.address(layout.LEDGER_SEALS)
        try:
            return Seals.from_json(self._storage.read(uri), uri)
        except ObjectNotFoundError:
            return None

    def publish_recipients(self, seals: Seals) -> Seals:
        """Write to whom originals are sealed unless it is written; return what counts."""
        uri = self._ledger.address(layout.LEDGER_SEALS)
        try:
            self._storage.put_if_absent(uri, seals.to_json())
        except ObjectExistsError:
            return Seals.from_json(self._storage.read(uri), uri)
        return seals

    def replace_recipients(self, seals: Seals) -> None:
        """Write to whom originals are sealed over what is written, because every key is wrapped for them."""
        self._storage.put(self._ledger.address(layout.LEDGER_SEALS), seals.to_json())

    def put(self, spec: ShardSpec, attempt: str, shard: SealedShard) -> None:
        """Write what one attempt at a shard sealed, ciphertexts first, because keys without them open nothing."""
        self._storage.put(self._ledger.address(layout.sealed_part(spec.name, attempt)), write_ciphertexts(shard))
        self._storage.put(self._ledger.address(layout.seal_keys_part(spec.name, attempt)), write_keys(shard))

    def put_keys(self, spec: ShardSpec, attempt: str, shard: SealedShard) -> None:
        """Write the wrapped keys of one attempt over those that are there; the ciphertexts stay."""
        self._storage.put(self._ledger.address(layout.seal_keys_part(spec.name, attempt)), write_keys(shard))

    def read(self, spec: ShardSpec, attempt: str, run_id: str) -> SealedShard:
        """Return what one attempt at a shard sealed; nothing if it sealed nothing.

        Raises:
            IntegrityError: a part is damaged, or one of the two is missing.
        """
        uri = self._ledger.address(layout.seal_keys_part(spec.name, attempt))
        parts: list[bytes] = []
        for address in (self._ledger.address(layout.sealed_part(spec.name, attempt)), uri):
            with contextlib.suppress(ObjectNotFoundError):
                parts.append(self._storage.read(address))
        if not parts:
            return SealedShard((), ())
        if len(parts) == 1:
            raise IntegrityError(f"{uri}: keys or ciphertexts of this shard are missing; restore them from a copy")
        return parse_sealed(parts[0], parts[1], run_id, uri)

    def places(self, spec: ShardSpec, attempt: str) -> list[tuple[str, int]]:
        """Return (image id, region) of everything that one attempt sealed; -1 is the source's file.

        Raises:
            IntegrityError: the part is damaged.
        """
        uri = self._ledger.address(layout.seal_keys_part(spec.name, attempt))
        try:
            return read_places(self._storage.read(uri), uri)
        except ObjectNotFoundError:
            return []
