"""Destroy the ledger, a key or the seal of a finished release, and record that in the release.

A release is called unlinked on the word of a record. So a record is complete only when everything that it speaks of was deleted,
and whatever dies on the way, the same command again ends what was begun.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

from anon_batch.errors import ConfigError, StorageError
from anon_batch.formats import layout
from anon_batch.formats.destroyed_json import IDENTITY_KEY, LEDGER, LINK, RUN_KEY, SEAL, Destroyed, Destruction
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.release import Release
from anon_batch.formats.run_json import now
from anon_batch.storage import PARTIAL_PREFIX, ObjectVersion

_SHOWN = 5
_KEYS = {RUN_KEY: "run_key_file", IDENTITY_KEY: "identity.key_file"}  # key -> where a job names one of its own
# What goes last: while it is there, the same command can end what was begun. Only the plan says whose ledger it is.
_LAST = {
    RUN_KEY: layout.LEDGER_RUN_KEY,
    IDENTITY_KEY: layout.LEDGER_IDENTITY_KEY,
    SEAL: layout.LEDGER_SEALS,
    LINK: layout.LEDGER_LINKS,
    LEDGER: layout.LEDGER_PLAN,
}
_ENCRYPTED = {SEAL: layout.ENCRYPTED["seal"], LINK: layout.ENCRYPTED["link"]}


@dataclasses.dataclass(frozen=True, slots=True)
class Destroyer:
    """Destroys private files of one finished release.

    Args:
        release: whose files they are; gets the record.
        ledger: where they lie, or lay.
        said_by: who says that no copy is left.
    """

    release: Release
    ledger: Ledger
    said_by: str

    def count(self, what: str) -> int:
        """Return how many objects would be deleted.

        Raises:
            ConfigError: the run or a version is not finished, the ledger is of another run or holds other files, or there is
                nothing to delete and no record of an earlier deletion.
            StorageError, IntegrityError: ledger or release cannot be read.
        """
        run_id = self._finished_run()
        known = self.release.read_destroyed(run_id).find(what)
        plan = self.ledger.plan()
        if plan is not None and plan.run_id != run_id:
            raise ConfigError(f"ledger {self.ledger.uri} is of run {plan.run_id}, the release is of {run_id}")
        if (unfinished := self.ledger.version_in_the_making()) is not None:
            raise ConfigError(
                f"version {unfinished.number} of {self.release.uri} is not finished, and without its ledger and run key it never "
                "can be; repeat the command that began it first"
            )
        if what in _KEYS:
            address = self.ledger.address(_LAST[what])
            found = int(self.ledger.storage.exists(address))
            if plan is None and not self._is_destroyed(run_id):
                raise ConfigError(f"no ledger at {self.ledger.uri}: name it with --ledger")
            if not found and known is None:
                raise ConfigError(
                    f"{address} does not exist: the job named its own `{_KEYS[what]}`, or the key is deleted already. Destroy "
                    "every copy of it, then repeat this with --already-destroyed"
                )
            return found
        if what in _ENCRYPTED:
            found = len(self._encrypted_keys(what))
            if not found and known is None:
                nothing = "nothing is sealed here" if what == SEAL else "no index of faces is here"
                raise ConfigError(f"{self.ledger.uri}: {nothing}, or no ledger: name it with --ledger")
            return found
        keys = self._ledgers_keys()
        if plan is None and known is None:
            where = (
                "no ledger"
                if not keys
                else f"a ledger without {layout.LEDGER_PLAN}, so that nobody knows of which run,"
            )
            raise ConfigError(
                f"{where} at {self.ledger.uri}: name it with --ledger, or, if every copy of it is destroyed, repeat this with "
                "--already-destroyed"
            )
        return len(keys)

    def destroy(self, what: str) -> Destroyed:
        """Delete what `count` counted, versions of it in its bucket too, as far as the store allows; return the record.

        With the ledger go the keys, the seal and the index of faces in it.

        Raises:
            ConfigError, StorageError, IntegrityError: as `count`, or the store refuses; the record is not complete then.
        """
        self.count(what)
        run_id = self._finished_run()
        for part in (*_KEYS, *_ENCRYPTED):
            if what == part or (what == LEDGER and self._is_there(run_id, part)):
                self._delete(run_id, part)
        if what == LEDGER:
            self._delete(run_id, LEDGER)
            self.ledger.storage.prune(self.ledger.uri)
        return self.release.read_destroyed(run_id)

    def _is_there(self, run_id: str, what: str) -> bool:
        """Return whether something has to be deleted: it exists, or its deletion was begun and not ended."""
        known = self.release.read_destroyed(run_id).find(what)
        return (known is not None and not known.counts) or self.ledger.storage.exists(self.ledger.address(_LAST[what]))

    def record(self, what: str) -> Destroyed:
        """Record that something was destroyed by other means, on somebody's word; return the record.

        Raises:
            ConfigError: the run is not finished, or it is still there.
        """
        run_id = self._finished_run()
        if self.ledger.storage.exists(self.ledger.address(_LAST[what])) or self._others(what):
            raise ConfigError(f"the {what} is still at {self.ledger.uri}: repeat this without --already-destroyed")
        known, versions = self.release.read_destroyed(run_id).find(what), self._versions(what)
        left = _count(versions) if versions is not None or known is None else known.versions_left
        deleted = 0 if known is None else known.deleted_count
        return self._write(run_id, Destruction(what, now(), self.said_by, deleted, left, complete=True))

    def _finished_run(self) -> str:
        record = self.release.read_run_json()
        if not record.is_finished:
            raise ConfigError(
                f"{self.release.uri}: this run is not finished, and without its ledger and run key it never can be; run the "
                "same job again to resume it first"
            )
        return record.run_id

    def _is_destroyed(self, run_id: str) -> bool:
        return self.release.read_destroyed(run_id).find(LEDGER) is not None

    def _others(self, what: str) -> list[str]:
        """Return the keys below the ledger of what is destroyed, without the last one."""
        keys = self._ledgers_keys() if what == LEDGER else self._encrypted_keys(what) if what in _ENCRYPTED else []
        return [key for key in keys if key != _LAST[what]]

    def _encrypted_keys(self, what: str) -> list[str]:
        """Return the keys of what is encrypted: those that wrap first, because ciphertexts without them are closed for good."""
        files = _ENCRYPTED[what]
        folders = (files.keys, files.ciphertexts)
        keys = [f"{folder}/{info.key}" for folder in folders for info in self.ledger.objects(folder)]
        there = self.ledger.storage.exists(self.ledger.address(files.recipients))
        return [*keys, *([files.recipients] if there else [])]

    def _ledgers_keys(self) -> list[str]:
        keys = [info.key for info in self.ledger.objects("")]
        if foreign := [key for key in keys if not layout.is_ledgers(key) and not key.startswith(PARTIAL_PREFIX)]:
            more = f" and {len(foreign) - _SHOWN} more" if len(foreign) > _SHOWN else ""
            raise ConfigError(
                f"{self.ledger.uri} holds files that are not of the ledger: {', '.join(foreign[:_SHOWN])}{more}; move them "
                "elsewhere first, or delete them if they are copies of it"
            )
        return keys

    def _delete(self, run_id: str, what: str) -> None:
        """Delete keys below the ledger, then their versions; the record is begun before the last key goes, and ended after."""
        others, last = self._others(what), _LAST[what]
        known = self.release.read_destroyed(run_id).find(what)
        is_there = self.ledger.storage.exists(self.ledger.address(last))
        new = Destruction(what, now(), self.said_by, len(others) + is_there, None, complete=False)
        if known is not None:
            since = new.destroyed_at if new.deleted_count or not known.counts else known.destroyed_at
            new = dataclasses.replace(new, destroyed_at=since, deleted_count=new.deleted_count + known.deleted_count)
        self.ledger.delete(others)
        self._write(run_id, new)
        self.ledger.delete([last])
        self._write(run_id, dataclasses.replace(new, versions_left=self._delete_versions(what), complete=True))

    def _delete_versions(self, what: str) -> int | None:
        """Delete the versions that the bucket holds, as far as it lets us; return how many are left, None if nobody can say."""
        if (versions := self._versions(what)) is None:
            return None
        try:
            self.ledger.storage.delete_versions(self._prefix(what), versions)
        except StorageError as exc:
            if exc.retryable:
                raise
        return _count(self._versions(what))

    def _versions(self, what: str) -> Sequence[ObjectVersion] | None:
        keep: dict[str, Callable[[ObjectVersion], bool]] = {
            LEDGER: lambda own: layout.is_ledgers(own.key),
            **{name: partial(_is_of, files) for name, files in _ENCRYPTED.items()},
        }
        return self.ledger.storage.versions(self._prefix(what), keep.get(what, lambda own: True))

    def _prefix(self, what: str) -> str:
        return self.ledger.address(_LAST[what]) if what in _KEYS else self.ledger.uri

    def _write(self, run_id: str, new: Destruction) -> Destroyed:
        record = self.release.read_destroyed(run_id).with_(new)
        self.release.write_destroyed(record)
        return record


def _is_of(files: layout.EncryptedFiles, own: ObjectVersion) -> bool:
    return own.key == files.recipients or own.key.partition("/")[0] in (files.keys, files.ciphertexts)


def _count(versions: Sequence[ObjectVersion] | None) -> int | None:
    """Return how many versions hold content, and do not only mark a deletion."""
    return None if versions is None else sum(not own.is_marker for own in versions)
