"""A release on storage: everything below OUTPUT."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pyarrow as pa

from anon_batch.errors import ConfigError, IntegrityError, ObjectExistsError, ObjectNotFoundError
from anon_batch.formats import layout
from anon_batch.formats.destroyed_json import Destroyed
from anon_batch.formats.evidence_json import Evidence
from anon_batch.formats.gates_json import Gates
from anon_batch.formats.part import PartMeta, read_meta, read_part
from anon_batch.formats.provenance import PROVENANCE_SCHEMA
from anon_batch.formats.run_json import RunJson
from anon_batch.formats.stats_json import StatsJson
from anon_batch.formats.stored_folder import StoredFolder
from anon_batch.formats.version_json import Version
from anon_batch.records import ShardSpec
from anon_batch.storage import Storage

_READERS = 16
_READ_AHEAD = 1024


class Part(NamedTuple):
    """A provenance part: its metadata and its rows."""

    meta: PartMeta
    table: pa.Table


class Release(StoredFolder):
    """Read and write the files of a release. Picklable.

    Parts are those of the current version, which is looked up once; `look_up_versions` does it again.

    Args:
        storage: where it lies.
        uri: address of OUTPUT.
    """

    def __init__(self, storage: Storage, uri: str) -> None:
        super().__init__(storage, uri)
        self._versions: tuple[Version, ...] | None = None
        self._rewritten: dict[str, int] = {}

    def exists(self) -> bool:
        """Return whether a run has begun to write here."""
        return self.storage.exists(self.address(layout.RUN))

    def is_empty(self) -> bool:
        """Return whether no run has written here: no run.json, no part, no image."""
        if self.exists():
            return False
        folders = (layout.PROVENANCE, layout.IMAGES, layout.SHARDS)
        return not any(next(self.objects(folder), None) for folder in folders)

    def put(self, key: str, data: bytes) -> None:
        """Write a whole object."""
        self.storage.put(self.address(key), data)

    def read(self, key: str) -> bytes:
        """Return the bytes of an object."""
        return self.storage.read(self.address(key))

    @property
    def versions(self) -> tuple[Version, ...]:
        """The versions in order; none if there is only what the run made.

        Raises:
            ConfigError: another version of this package wrote one.
            IntegrityError: one is damaged or missing.
        """
        if self._versions is None:
            self.look_up_versions()
        return self._versions or ()

    @property
    def version(self) -> int:
        """Number of the current version, from 1."""
        return len(self.versions) or 1

    def look_up_versions(self) -> None:
        """Read the versions, because a new one may have been published; raise as `versions`."""
        found = (layout.parse_version(info.key) for info in self.objects(layout.VERSIONS))
        numbers = sorted(number for number in found if number is not None)
        if numbers != list(range(1, len(numbers) + 1)):
            missing = min(set(range(1, numbers[-1])) - set(numbers))
            raise IntegrityError(f"{self.address(layout.version_file(missing))}: missing; restore it from a backup")
        keys = [self.address(layout.version_file(number)) for number in numbers]
        versions = tuple(Version.from_json(self.storage.read(key), key) for key in keys)
        for number, version in zip(numbers, versions, strict=True):
            if version.number != number:
                raise IntegrityError(f"{keys[number - 1]}: holds version {version.number}")
        self._versions = versions
        self._rewritten = {shard: version.number for version in versions for shard in version.parts}

    def publish_version(self, version: Version) -> Version:
        """Write the file whose existence makes a version, unless it exists; return the version that counts."""
        uri = self.address(layout.version_file(version.number))
        try:
            self.storage.put_if_absent(uri, version.to_json())
        except ObjectExistsError:
            return Version.from_json(self.storage.read(uri), uri)
        finally:
            self._versions = None
        return version

    def part_key(self, spec: ShardSpec) -> str:
        """Return the key of the part that a shard has in the current version."""
        return layout.provenance_part(spec.name, self._version_of(spec))

    def _version_of(self, spec: ShardSpec) -> int:
        return self._rewritten.get(spec.name, 1) if self.versions else 1

    def parts(self) -> list[ShardSpec]:
        """Return the shards that have a provenance part in the current version, in row order."""
        return sorted(name.spec for name in self._part_names() if name.version == self._version_of(name.spec))

    def other_parts(self) -> list[layout.PartName]:
        """Return the parts that are not of the current version: superseded ones, and those of a version in the making."""
        return sorted(name for name in self._part_names() if name.version != self._version_of(name.spec))

    def _part_names(self) -> Iterator[layout.PartName]:
        if self._versions is None:  # before the parts, so that an empty release looks them up once too
            self.look_up_versions()
        found = (layout.parse_part(info.key) for info in self.objects(layout.PROVENANCE))
        return (name for name in found if name is not None)

    def has_part(self, spec: ShardSpec) -> bool:
        """Return whether the shard is committed."""
        return self.storage.exists(self.address(self.part_key(spec)))

    def commit_part(self, spec: ShardSpec, data: bytes, version: int = 1) -> bool:
        """Write a shard's provenance part of a version unless it exists; return whether it was written."""
        try:
            self.storage.put_if_absent(self.address(layout.provenance_part(spec.name, version)), data)
        except ObjectExistsError:
            return False
        return True

    def read_part(self, spec: ShardSpec, version: int | None = None) -> Part:
        """Return metadata and rows of a shard's part in a version, None for the current one.

        Raises:
            IntegrityError: it is damaged.
        """
        key = self.part_key(spec) if version is None else layout.provenance_part(spec.name, version)
        data = self.read(key)
        return Part(read_meta(data, key), read_part(data, key, PROVENANCE_SCHEMA))

    def read_metas(self, specs: Sequence[ShardSpec]) -> Iterator[tuple[ShardSpec, PartMeta]]:
        """Yield each shard with its part's metadata, in the order given; read only the footers.

        Raises:
            IntegrityError: a part is damaged or holds another shard.
        """
        with ThreadPoolExecutor(_READERS) as pool:
            for start in range(0, len(specs), _READ_AHEAD):  # because a slow consumer would let all footers pile up
                batch = specs[start : start + _READ_AHEAD]
                yield from zip(batch, pool.map(self._read_meta, batch), strict=True)

    def _read_meta(self, spec: ShardSpec) -> PartMeta:
        uri = self.address(self.part_key(spec))
        with self.storage.open(uri) as file:
            meta = read_meta(file, uri)
        if meta.shard != spec.name:
            raise IntegrityError(f"{uri}: holds shard {meta.shard}")
        return meta

    def read_run_json(self) -> RunJson:
        """Return the description of the run.

        Raises:
            ConfigError: there is no release here, or another version of this package wrote it.
            IntegrityError: run.json is damaged.
        """
        uri = self.address(layout.RUN)
        try:
            return RunJson.from_json(self.storage.read(uri), uri)
        except ObjectNotFoundError:
            raise ConfigError(f"{self.uri}: no release here (no {layout.RUN}); name the OUTPUT of a run") from None

    def write_run_json(self, record: RunJson) -> None:
        """Write run.json."""
        self.put(layout.RUN, record.to_json())

    def read_stats(self) -> StatsJson:
        """Return the statistics of a finished release.

        Raises:
            IntegrityError: stats.json is missing or damaged.
        """
        uri = self.address(layout.STATS)
        try:
            return StatsJson.from_json(self.storage.read(uri), uri)
        except ObjectNotFoundError:
            raise IntegrityError(f"{uri}: missing; run the same job again to write it") from None

    def write_stats(self, stats: StatsJson) -> None:
        """Write stats.json."""
        self.put(layout.STATS, stats.to_json())

    def read_gates(self) -> Gates | None:
        """Return the gates of a finished release; None if gates.json does not exist.

        Raises:
            IntegrityError: gates.json is damaged.
        """
        uri = self.address(layout.GATES)
        try:
            return Gates.from_json(self.storage.read(uri), uri)
        except ObjectNotFoundError:
            return None

    def write_gates(self, gates: Gates) -> None:
        """Write gates.json."""
        self.put(layout.GATES, gates.to_json())

    def read_evidence(self, key: str) -> Evidence | None:
        """Return the measures of `layout.EVALUATION` or `layout.REVIEW`; None if they do not exist.

        Raises:
            ConfigError: another version of this package wrote them.
            IntegrityError: the file is damaged.
        """
        uri = self.address(key)
        try:
            return Evidence.from_json(self.storage.read(uri), uri)
        except ObjectNotFoundError:
            return None

    def write_evidence(self, key: str, evidence: Evidence) -> None:
        """Write `layout.EVALUATION` or `layout.REVIEW`."""
        self.put(key, evidence.to_json())

    def read_destroyed(self, run_id: str) -> Destroyed:
        """Return what is recorded as destroyed of the private files of the release's run.

        Raises:
            ConfigError: another version of this package wrote the record.
            IntegrityError: it is damaged, or of another run.
        """
        uri = self.address(layout.DESTROYED)
        try:
            record = Destroyed.from_json(self.storage.read(uri), uri)
        except ObjectNotFoundError:
            return Destroyed(run_id)
        if record.run_id != run_id:
            raise IntegrityError(f"{uri}: of run {record.run_id}, the release is of {run_id}")
        return record

    def write_destroyed(self, record: Destroyed) -> None:
        """Write what is destroyed."""
        self.put(layout.DESTROYED, record.to_json())
