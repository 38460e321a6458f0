from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anon_batch.manifest import ManifestFile, open_manifest, rows_from_table
from anon_batch.records import ManifestRow
from anon_batch.storage import Storage

TarMaker = Callable[..., bytes]


@pytest.fixture
def storage() -> Storage:
    return Storage()


@pytest.fixture
def bucket() -> Iterator[str]:
    """A prefix of a store that is not the local disk."""
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    yield "memory://bucket/data"
    fs.store.clear()


@pytest.fixture
def make_tar() -> TarMaker:
    def make(members: dict[str, bytes], layout: int = tarfile.PAX_FORMAT) -> bytes:
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w", format=layout) as tar:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return sink.getvalue()

    return make


@pytest.fixture
def write_manifest(tmp_path: Path) -> Callable[..., str]:
    def write(
        columns: dict[str, Any] | pa.Table, metadata: dict[str, str] | None = None, name: str = "m.parquet"
    ) -> str:
        table = columns if isinstance(columns, pa.Table) else pa.table(columns)
        if metadata:
            table = table.replace_schema_metadata(metadata)
        path = tmp_path / name
        pq.write_table(table, path)
        return str(path)

    return write


@pytest.fixture
def read_rows(storage: Storage) -> Callable[..., list[ManifestRow]]:
    def read(manifest: str | ManifestFile) -> list[ManifestRow]:
        opened = open_manifest(storage, manifest) if isinstance(manifest, str) else manifest
        rows: list[ManifestRow] = []
        for table in opened.iter_tables(batch_rows=3):
            rows += rows_from_table(table, len(rows))
        return rows

    return read
