"""A ledger on storage: the private files of a run."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from datetime import datetime

import pyarrow as pa

from anon_batch.errors import IntegrityError, ObjectExistsError, ObjectNotFoundError
from anon_batch.formats import layout
from anon_batch.formats.audit import AUDIT_SCHEMA
from anon_batch.formats.part import PartMeta, read_meta, read_part
from anon_batch.formats.plan import Plan
from anon_batch.formats.stored_folder import StoredFolder
from anon_batch.formats.version_plan import VersionPlan
from anon_batch.records import ShardSpec
from anon_batch.storage import PARTIAL_PREFIX, Storage, join

RUN_KEY_BYTES = 32


class Ledger(StoredFolder):
    """Read and write the files of a ledger. Picklable.

    Args:
        storage: where it lies.
        uri: address of LEDGER. Its files and folders on a local disk are for their owner only.
    """

    def __init__(self, storage: Storage, uri: str) -> None:
        super().__init__(storage, uri)
        storage.keep_private(self.uri)

    def exists(self) -> bool:
        """Return whether there is a plan."""
        return self.storage.exists(self.address(layout.LEDGER_PLAN))

    def make_private(self) -> None:
        """Create a local folder that only its owner may enter, or tighten it; a bucket's own policy decides elsewhere."""
        self.storage.make_private(self.uri)

    def plan(self) -> Plan | None:
        """Return the plan; None if there is none.

        Raises:
            IntegrityError: it is damaged.
            ResumeRefusedError: another version of this package wrote it.
        """
        uri = self.address(layout.LEDGER_PLAN)
        try:
            return Plan.from_json(self.storage.read(uri), uri)
        except ObjectNotFoundError:
            return None

    def publish_plan(self, plan: Plan) -> Plan:
        """Write the plan unless there is one; return the plan that counts."""
        uri = self.address(layout.LEDGER_PLAN)
        try:
            self.storage.put_if_absent(uri, plan.to_json())
        except ObjectExistsError:  # because another driver started the same output at the same time
            return Plan.from_json(self.storage.read(uri), uri)
        return plan

    def version_plans(self) -> list[VersionPlan]:
        """Return the plans of all versions that were begun, in order.

        Raises:
            IntegrityError: one is damaged.
            ResumeRefusedError: another version of this package wrote it.
        """
        found = (layout.parse_version(info.key) for info in self.objects(layout.LEDGER_VERSIONS))
        keys = [self.address(layout.version_file(number)) for number in sorted(n for n in found if n is not None)]
        return [VersionPlan.from_json(self.storage.read(key), key) for key in keys]

    def version_in_the_making(self) -> VersionPlan | None:
        """Return the plan of the version that was begun and not finished; None if there is none."""
        plans = self.version_plans()
        return plans[-1] if plans and not plans[-1].done else None

    def publish_version_plan(self, plan: VersionPlan) -> VersionPlan:
        """Write the plan of a version unless it was begun already; return the plan that counts."""
        uri = self.address(layout.version_file(plan.number))
        try:
            self.storage.put_if_absent(uri, plan.to_json())
        except ObjectExistsError:
            return VersionPlan.from_json(self.storage.read(uri), uri)
        return plan

    def replace_version_plan(self, plan: VersionPlan) -> None:
        """Write the plan of a version over the one that is there, because the version is done."""
        self.storage.put(self.address(layout.version_file(plan.number)), plan.to_json())

    def key(self, key: str) -> bytes | None:
        """Return a secret, such as `layout.LEDGER_RUN_KEY`; None if it does not exist."""
        try:
            return self.storage.read(self.address(key))
        except ObjectNotFoundError:
            return None

    def run_key(self) -> bytes | None:
        """Return the run key; None if it does not exist."""
        return self.key(layout.LEDGER_RUN_KEY)

    def create_key(self, key: str) -> None:
        """Write a random secret unless there is one."""
        with contextlib.suppress(ObjectExistsError):
            self.storage.put_if_absent(self.address(key), secrets.token_bytes(RUN_KEY_BYTES))

    def put_rows(self, rows_id: str, start: int, count: int, data: bytes) -> None:
        """Write one chunk of manifest rows: `count` rows from row `start`, as Parquet."""
        self.storage.put(self.rows_address(rows_id, start, count), data)

    def rows_address(self, rows_id: str, start: int, count: int) -> str:
        """Return the address of one chunk of manifest rows."""
        return join(self.address(layout.rows_folder(rows_id)), layout.rows_part(start, count))

    def put_audit(self, spec: ShardSpec, attempt: str, data: bytes) -> None:
        """Write the audit part of one attempt at a shard."""
        self.storage.put(self.address(layout.audit_part(spec.name, attempt)), data)

    def read_audit(self, spec: ShardSpec, attempt: str) -> pa.Table:
        """Return the rows of the audit part of one attempt at a shard.

        Raises:
            IntegrityError: it is damaged.
        """
        key = layout.audit_part(spec.name, attempt)
        return read_part(self.storage.read(self.address(key)), key, AUDIT_SCHEMA)

    def read_audit_meta(self, spec: ShardSpec, attempt: str) -> PartMeta:
        """Return the metadata of the audit part of one attempt at a shard; read only its footer.

        Raises:
            IntegrityError: it is missing or damaged.
        """
        uri = self.address(layout.audit_part(spec.name, attempt))
        try:
            with self.storage.open(uri) as file:
                return read_meta(file, uri)
        except ObjectNotFoundError:
            raise IntegrityError(f"{uri}: missing") from None

    def put_driver_log(self, started_at: datetime, invocation: str, text: str) -> None:
        """Write the log of one start of the driver so far, over what was written before."""
        self.storage.put(self.address(layout.driver_log(started_at, invocation)), text.encode())

    def last_driver_log(self) -> str | None:
        """Return the address of the log of the latest start of the driver; None without one."""
        names = [info.key for info in self.objects(layout.LEDGER_LOGS) if not info.key.startswith(PARTIAL_PREFIX)]
        return self.address(f"{layout.LEDGER_LOGS}/{max(names)}") if names else None

    @property
    def has_commits(self) -> bool:
        """Whether an attempt at a shard has written its audit part."""
        return next(iter(self.objects(layout.LEDGER_AUDIT)), None) is not None

    def mark_attempt(self, spec: ShardSpec, attempt: str) -> bool:
        """Write the marker of an attempt; return False if another worker has taken this name."""
        # Because put_if_absent takes equal bytes for its own, random content tells two workers apart.
        content = secrets.token_hex(8).encode()
        try:
            self.storage.put_if_absent(self.address(layout.attempt(spec.name, attempt)), content)
        except ObjectExistsError:
            return False
        return True

    def attempts_at(self, spec: ShardSpec) -> list[str]:
        """Return the names of the attempts that began at a shard."""
        found = (info.key for info in self.objects(f"{layout.LEDGER_ATTEMPTS}/{spec.name}"))
        return [name for name in found if not name.startswith(PARTIAL_PREFIX)]

    def attempts(self) -> Iterator[tuple[ShardSpec, str]]:
        """Yield shard and name of every attempt, in the order in which the store lists them."""
        for info in self.objects(layout.LEDGER_ATTEMPTS):
            marker = layout.parse_attempt(info.key)
            if marker is not None and not marker[1].startswith(PARTIAL_PREFIX):
                yield marker
