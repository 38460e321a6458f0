"""Compare all rows of a release with their sources."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from anon_batch.errors import (
    CredentialsError,
    FailedError,
    IntegrityError,
    RowError,
    StorageError,
    TransientStorageError,
)
from anon_batch.formats.outputs import read_outputs
from anon_batch.formats.release import Release
from anon_batch.imaging.source import SourceImage
from anon_batch.manifest import ManifestFile
from anon_batch.manifest.fetch import SourceReader
from anon_batch.manifest.sampling import sample_hashes
from anon_batch.records import ManifestRow
from anon_batch.release.diff.pixels import compare, count_inside
from anon_batch.release.diff.result import Difference
from anon_batch.release.diff.rows import Pair, ReleaseRow, iter_pairs
from anon_batch.release.diff.values import Values

_READERS = 8
_HASHES = 2**64
USUAL_GROUPS = ("split", "label", "cls", "class", "class_name")


@dataclass(frozen=True, slots=True)
class DiffSettings:
    """How to compare.

    Args:
        by: pass-through columns of the manifest that make the groups; none: USUAL_GROUPS, else the first folder of the ids.
        share: of the images whose pixels are compared, above 0 to 1; rows are always compared.
        seed: of the choice of these.
        max_bytes, max_pixels: limits of a source.
    """

    by: tuple[str, ...] = ()
    share: float = 1.0
    seed: int = 0
    max_bytes: int = 2**28
    max_pixels: int = 2**28


def compare_rows(
    manifest: ManifestFile, reader: SourceReader, release: Release, settings: DiffSettings
) -> Iterator[Difference]:
    """Compare; yield the same growing result after every batch of rows. The last one is whole.

    Args:
        manifest: lists the source.
        reader: reads the sources of its rows.
        release: what was made of it.
        settings: how to compare.

    Raises:
        ConfigError: there is no release.
        IntegrityError: run.json or a part of the provenance is damaged.
        CredentialsError, TransientStorageError: storage cannot be used.
    """
    record = release.read_run_json()
    sample = record.config.get("sample") or {}
    result = Difference(is_part=sample.get("limit") is not None)
    columns = settings.by or tuple(name for name in USUAL_GROUPS if name in manifest.extra_schema.names)
    values = Values(manifest.extra_schema, record)
    for column in values.other_names():
        result.add("other class names", None, column)
    walk = _Walk(reader, release, settings, columns, values, result)
    with ThreadPoolExecutor(_READERS) as pool:
        for batch in iter_pairs(manifest, release, values.compared, is_part=result.is_part):
            walk.compare(batch, pool)
            yield result
    yield result


class _Walk:
    def __init__(
        self,
        reader: SourceReader,
        release: Release,
        settings: DiffSettings,
        columns: tuple[str, ...],
        values: Values,
        result: Difference,
    ) -> None:
        self._reader, self._release, self._settings = reader, release, settings
        self._columns, self._values, self._result = columns, values, result

    def compare(self, batch: Sequence[Pair], pool: ThreadPoolExecutor) -> None:
        to_look_at: list[tuple[ManifestRow, ReleaseRow]] = []
        for source, released in batch:
            if source is not None:
                self._result.add("source", self._group(source))
            if released is None:
                if source is not None:
                    self._result.add("missing", self._group(source), source.image_id)
                continue
            if released.is_erased:
                self._result.add("released", None if source is None else self._group(source))
                self._result.add("erased", None if source is None else self._group(source))
                continue
            if source is None:
                self._result.add("not in the source", None, released.image_id)
                continue
            self._count(source, released)
            if released.key and self._is_chosen(released.image_id):
                to_look_at.append((source, released))
        sources = {released.image_id: source for source, released in to_look_at}
        outputs = read_outputs(self._release, [released for _, released in to_look_at])
        found = pool.map(lambda own: self._look_at(sources[own[0].image_id], *own), outputs)
        for source, what, area in found:
            self._result.add(what, self._group(source), source.image_id)
            if area is not None:
                self._result.add_area(*area)

    def _count(self, source: ManifestRow, released: ReleaseRow) -> None:
        group = self._group(source)
        if self._values.differ(source.extra, released.extra):
            self._result.add("other values", group, source.image_id)
        self._result.add("released", group)
        self._result.add(released.status, group)
        if released.reason is not None:
            self._result.add(f"{released.status}:{released.reason}", None)

    def _look_at(
        self, source: ManifestRow, released: ReleaseRow, output: bytes | IntegrityError
    ) -> tuple[ManifestRow, str, tuple[int, int] | None]:
        """Return the row of the source, how its output differs, and its pixels, of them in regions, if both were compared."""
        if isinstance(output, IntegrityError):
            return source, "output damaged", None
        limits = {"max_pixels": self._settings.max_pixels, "max_bytes": self._settings.max_bytes}
        try:
            data = self._reader.read(source, self._settings.max_bytes)
            if source.sha256 is not None and hashlib.sha256(data).hexdigest() != source.sha256:
                return source, "source changed", None
            before = SourceImage.open(source.image_id, data, **limits)
            before.decode()
        except (CredentialsError, TransientStorageError):
            raise
        except (RowError, StorageError):
            return source, "source unreadable", None
        try:
            what = compare(before, SourceImage.open(released.image_id, output), released.regions)
        except FailedError:
            return source, "output damaged", None
        return source, what, (before.pixel_count, count_inside(before.width, before.height, released.regions))

    def _is_chosen(self, image_id: str) -> bool:
        return int(sample_hashes((image_id,), self._settings.seed)[0]) < self._settings.share * _HASHES

    def _group(self, row: ManifestRow) -> str | None:
        if self._columns:
            return " / ".join(self._values.show(name, row.extra.get(name)) for name in self._columns)
        folder = posixpath.dirname(row.image_id).partition("/")[0]
        return folder or None
