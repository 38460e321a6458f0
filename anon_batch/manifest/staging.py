"""Stage tables on the local disk until all sources are read, when the columns and ids of all of them are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from anon_batch.errors import ManifestError
from anon_batch.formats.features import KEY, fits, read_features, to_metadata
from anon_batch.manifest.schema import FIXED_COLUMNS, FIXED_SCHEMA


class StagedTables:
    """Tables by source, in order; all are read back in one schema. Close it before its folder is deleted.

    Args:
        folder: an existing, empty one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: list[tuple[int, Path, pa.Schema]] = []
        self._counts: dict[int, int] = {}
        self._features = _SharedFeatures()
        self._writer: pa.ipc.RecordBatchFileWriter | None = None

    def add(self, source: int, table: pa.Table) -> None:
        """Stage a table. A new file begins where the source or the columns change."""
        fixed = [
            table.column(n) if n in table.column_names else pa.nulls(len(table), FIXED_SCHEMA.field(n).type)
            for n in FIXED_COLUMNS
        ]
        extra = [n for n in table.column_names if n not in FIXED_COLUMNS]
        full = pa.table([*fixed, *(table.column(n) for n in extra)], names=[*FIXED_COLUMNS, *extra])
        self._features.add(extra, table.schema.metadata)
        self._writer_for(source, full.schema).write_table(full)
        self._counts[source] = self._counts.get(source, 0) + len(full)

    def _writer_for(self, source: int, schema: pa.Schema) -> pa.ipc.RecordBatchFileWriter:
        if self._writer is None or self._files[-1][0] != source or self._files[-1][2] != schema:
            self.close()
            path = self._folder / f"staged-{len(self._files)}.arrow"
            self._files.append((source, path, schema))
            self._writer = pa.ipc.new_file(str(path), schema, options=pa.ipc.IpcWriteOptions(compression="zstd"))
        return self._writer

    @property
    def rows_count(self) -> int:
        return sum(self._counts.values())

    def count_of(self, source: int) -> int:
        """Return the number of rows of one source."""
        return self._counts.get(source, 0)

    def extra_schema(self) -> pa.Schema:
        """Return the pass-through columns of all sources, each with a type that holds all its values, and their features.

        Raises:
            ManifestError: a column has types that cannot be unified.
        """
        if not self._files:
            return pa.schema([])
        schemas = [pa.schema(list(s)[len(FIXED_COLUMNS) :]) for _, _, s in self._files]
        try:
            unified = pa.unify_schemas(schemas, promote_options="permissive")
        except pa.ArrowException as exc:
            raise ManifestError(
                f"a pass-through column has several types: {exc}; give its values one type, or drop it"
            ) from None
        return unified.with_metadata(to_metadata(self._features.fitting(unified)))

    @property
    def differing(self) -> tuple[str, ...]:
        """Return the columns whose classes have other names, or none, in some of the files, and so are not kept."""
        return self._features.differing

    def tables(self, source: int) -> Iterator[pa.Table]:
        """Yield the tables of one source: the fixed columns, then those of `extra_schema`, null where absent."""
        self.close()
        schema = pa.schema([*FIXED_SCHEMA, *self.extra_schema()])
        for at, path, _ in self._files:
            if at != source:
                continue
            with pa.memory_map(str(path)) as mapped, pa.ipc.open_file(mapped) as reader:
                for number in range(reader.num_record_batches):
                    table = pa.Table.from_batches([reader.get_batch(number)])
                    yield _fitted(table, schema)

    def close(self) -> None:
        """Finish the file that is being written."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __enter__(self) -> StagedTables:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _SharedFeatures:
    """What all tables that have a column say about it."""

    def __init__(self) -> None:
        self._found: dict[str, Any] = {}
        self._read: tuple[bytes | None, dict[str, Any]] = (None, {})

    def add(self, columns: Sequence[str], metadata: Mapping[bytes, bytes] | None) -> None:
        """Take the columns of a table, and the metadata of its schema."""
        raw = (metadata or {}).get(KEY)
        if raw != self._read[0]:
            self._read = (raw, read_features(metadata))
        for name in columns:
            own = self._read[1].get(name)
            self._found[name] = own if self._found.setdefault(name, own) == own else _DIFFERS

    def fitting(self, schema: pa.Schema) -> dict[str, Any]:
        """Return column -> feature of those that are the same in all tables and fit the type."""
        found = {name: own for name, own in self._found.items() if own not in (None, _DIFFERS)}
        return {name: own for name, own in found.items() if fits(own, schema.field(name).type)}

    @property
    def differing(self) -> tuple[str, ...]:
        return tuple(name for name, own in self._found.items() if own == _DIFFERS)


_DIFFERS = "differs"


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pa.nulls(len(table), field.type))
            continue
        try:
            columns.append(table.column(field.name).cast(field.type))
        except pa.ArrowException as exc:
            raise ManifestError(f"column `{field.name}`: {exc}; give its values one type, or drop it") from None
    return pa.table(columns, schema=schema)
