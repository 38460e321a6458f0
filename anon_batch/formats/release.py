"""A release on storage: everything below OUTPUT."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pyarrow as pa

from anon_batch.errors import ConfigError, IntegrityError, ObjectExistsError, ObjectNotFoundError
from anon_batch.formats import layout
from anon_batch.formats.evidence_json import Evidence
from anon_batch.formats.gates_json import Gates
from anon_batch.formats.part import PartMeta, read_meta, read_part
from anon_batch.formats.provenance import PROVENANCE_SCHEMA
from anon_batch.formats.run_json import RunJson
from anon_batch.formats.stats_json import StatsJson
from anon_batch.formats.stored_folder import StoredFolder
from anon_batch.records import ShardSpec

_READERS = 16
_READ_AHEAD = 1024


class Part(NamedTuple):
    """A provenance part: its metadata and its rows."""

    meta: PartMeta
    table: pa.Table


class Release(StoredFolder):
    """Read and write the files of a release. Picklable.

    Args:
        storage: where it lies.
        uri: address of OUTPUT.
    """

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

    def parts(self) -> list[ShardSpec]:
        """Return the shards that have a provenance part, in the order of their names."""
        found = (layout.parse_part(info.key) for info in self.objects(layout.PROVENANCE))
        return [spec for spec in found if spec is not None]

    def has_part(self, spec: ShardSpec) -> bool:
        """Return whether the shard is committed."""
        return self.storage.exists(self.address(layout.provenance_part(spec.name)))

    def commit_part(self, spec: ShardSpec, data: bytes) -> bool:
        """Write a shard's provenance part unless it exists; return whether it was written."""
        try:
            self.storage.put_if_absent(self.address(layout.provenance_part(spec.name)), data)
        except ObjectExistsError:
            return False
        return True

    def read_part(self, spec: ShardSpec) -> Part:
        """Return metadata and rows of a shard's part.

        Raises:
            IntegrityError: it is damaged.
        """
        key = layout.provenance_part(spec.name)
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
        uri = self.address(layout.provenance_part(spec.name))
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
