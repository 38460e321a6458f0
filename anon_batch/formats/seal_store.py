"""What a ledger keeps encrypted to public keys, seals or the index of faces: recipients, and ciphertexts and keys by shard."""

from __future__ import annotations

import contextlib
import hashlib

from anon_batch.errors import IntegrityError, ObjectExistsError, ObjectNotFoundError
from anon_batch.formats import layout
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.rotation_json import Rotation
from anon_batch.formats.sealed import SealedShard, parse_sealed, read_places, write_ciphertexts, write_keys
from anon_batch.formats.seals_json import Seals
from anon_batch.records import ShardSpec


def read_kept(ledger: Ledger) -> dict[layout.Kind, Seals]:
    """Return what a run keeps encrypted, and to whom, by kind; raise as `SealStore.recipients`."""
    found = {kind: SealStore(ledger, kind).recipients() for kind in layout.ENCRYPTED}
    return {kind: own for kind, own in found.items() if own is not None}


class SealStore:
    """Read and write what a run keeps encrypted.

    Args:
        ledger: of the run.
        kind: `seal` for sealed originals, `link` for the index of faces.
    """

    def __init__(self, ledger: Ledger, kind: layout.Kind) -> None:
        self._ledger, self._storage = ledger, ledger.storage
        self.files = layout.ENCRYPTED[kind]

    def recipients(self) -> Seals | None:
        """Return to whom it is encrypted; None if nothing is kept.

        Raises:
            IntegrityError: the file is damaged.
        """
        uri = self._ledger.address(self.files.recipients)
        try:
            return Seals.from_json(self._storage.read(uri), uri)
        except ObjectNotFoundError:
            return None

    def publish_recipients(self, seals: Seals) -> Seals:
        """Write to whom it is encrypted unless it is written; return what counts."""
        uri = self._ledger.address(self.files.recipients)
        try:
            self._storage.put_if_absent(uri, seals.to_json())
        except ObjectExistsError:
            return Seals.from_json(self._storage.read(uri), uri)
        return seals

    def rotation(self) -> Rotation | None:
        """Return the change of recipients that has begun and not ended; None if there is none.

        Raises:
            IntegrityError: the file is damaged.
        """
        uri = self._rotation_uri()
        try:
            return Rotation.from_json(self._storage.read(uri), uri)
        except ObjectNotFoundError:
            return None

    def begin_rotation(self, own: Rotation) -> Rotation:
        """Claim the change of recipients, unless one has begun; return what counts."""
        uri = self._rotation_uri()
        try:
            self._storage.put_if_absent(uri, own.to_json())
        except ObjectExistsError:
            return Rotation.from_json(self._storage.read(uri), uri)
        return own

    def note_rotation(self, own: Rotation) -> None:
        """Write how far the change of recipients is over what is written."""
        self._storage.put(self._rotation_uri(), own.to_json())

    def give_up_rotation(self) -> None:
        """Forget a change of recipients that has changed nothing."""
        self._storage.delete(self._rotation_uri())

    def end_rotation(self, seals: Seals) -> None:
        """Write to whom it is encrypted, because every key is wrapped for them, and forget the change that led there."""
        uri = self._rotation_uri()
        self._storage.put(self._ledger.address(self.files.recipients), seals.to_json())
        self._storage.delete(uri)

    def _rotation_uri(self) -> str:
        """Return the address of the change that leads away from the recipients of now; each list of recipients has its own.

        So a change is over as soon as the new list is written.
        """
        try:
            now = self._storage.read(self._ledger.address(self.files.recipients))
        except ObjectNotFoundError:
            now = b""
        return self._ledger.address(layout.rotation(hashlib.sha256(now).hexdigest()[:16]))

    def keys_address(self, spec: ShardSpec, attempt: str) -> str:
        """Return the address of the part with the wrapped keys."""
        return self._address(self.files.keys, spec, attempt)

    def put(self, spec: ShardSpec, attempt: str, shard: SealedShard) -> None:
        """Write what one attempt at a shard sealed, ciphertexts first, because keys without them open nothing."""
        self._storage.put(self._address(self.files.ciphertexts, spec, attempt), write_ciphertexts(shard))
        self.put_keys(spec, attempt, shard)

    def put_keys(self, spec: ShardSpec, attempt: str, shard: SealedShard) -> None:
        """Write the wrapped keys of one attempt over those that are there; the ciphertexts stay."""
        self._storage.put(self.keys_address(spec, attempt), write_keys(shard))

    def read(self, spec: ShardSpec, attempt: str, run_id: str) -> SealedShard:
        """Return what one attempt at a shard sealed; nothing if it sealed nothing.

        Raises:
            IntegrityError: a part is damaged, or one of the two is missing.
        """
        uri, sealed_uri = self.keys_address(spec, attempt), self._address(self.files.ciphertexts, spec, attempt)
        parts: list[bytes] = []
        for address in (sealed_uri, uri):
            with contextlib.suppress(ObjectNotFoundError):
                parts.append(self._storage.read(address))
        if not parts:
            return SealedShard((), ())
        if len(parts) == 1:
            raise IntegrityError(f"{uri}: keys or ciphertexts of this shard are missing; restore them from a copy")
        return parse_sealed(parts[0], parts[1], run_id, uri, sealed_uri)

    def places(self, spec: ShardSpec, attempt: str) -> list[tuple[str, int]]:
        """Return (image id, region) of everything that one attempt sealed; -1 is the source's file.

        Raises:
            IntegrityError: the part is damaged.
        """
        uri = self.keys_address(spec, attempt)
        try:
            return read_places(self._storage.read(uri), uri)
        except ObjectNotFoundError:
            return []

    def _address(self, folder: str, spec: ShardSpec, attempt: str) -> str:
        return self._ledger.address(layout.encrypted_part(folder, spec.name, attempt))
