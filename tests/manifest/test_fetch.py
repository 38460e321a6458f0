"""Source bytes from objects, ranges and Parquet cells; what is wrong with them ends the row, not the shard."""

from __future__ import annotations

import io
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anon_batch.config import SourcesConfig, StorageConfig
from anon_batch.errors import FailedError, ObjectNotFoundError, TransientStorageError
from anon_batch.manifest.addresses import cell_prefix
from anon_batch.manifest.allowed import AllowedSources
from anon_batch.manifest.fetch import SourceReader
from anon_batch.records import ManifestRow
from anon_batch.storage import Storage, join

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture(params=["local", "memory"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}"


@pytest.fixture
def reader(base: str) -> SourceReader:
    return SourceReader(Storage(StorageConfig(retries=0, retry_for_s=0)), _allowed(base))


def _allowed(base: str) -> AllowedSources:
    return AllowedSources.of(SourcesConfig(), join(base, "m.parquet"))


def cell_uri(uri: str, column: str, row: int) -> str:
    return f"{cell_prefix(uri, column)}{row}"


def _row(uri: str, **fields: Any) -> ManifestRow:
    return ManifestRow(0, "a", uri, **fields)


def _put(uri: str, data: bytes) -> str:
    Storage().put(uri, data)
    return uri


def _parquet(uri: str, cells: list[Any], group_rows: int = 2, **columns: list[Any]) -> str:
    buffer = io.BytesIO()
    table = pa.table(
        {"image": pa.array([None if c is None else {"bytes": c, "path": "p"} for c in cells], STRUCT), **columns}
    )
    pq.write_table(table, buffer, row_group_size=group_rows)
    return _put(uri, buffer.getvalue())


def _reason(reader: SourceReader, row: ManifestRow, max_bytes: int = 100) -> str:
    with pytest.raises(FailedError) as caught:
        reader.read(row, max_bytes)
    return caught.value.reason


def test_whole_objects_and_ranges(reader: SourceReader, base: str) -> None:
    uri = _put(join(base, "o"), b"0123456789")
    assert reader.read(_row(uri), 10) == b"0123456789"
    assert reader.read(_row(uri, size_bytes=10), 10) == b"0123456789"
    assert reader.read(_row(uri, offset=3, length=4), 4) == b"3456"
    assert reader.read(_row(uri, offset=0, length=10), 10) == b"0123456789"
    assert reader.read(_row(uri, offset=3, length=0), 10) == b""


@pytest.mark.parametrize(("offset", "length"), [(8, 4), (10, 1), (500, 5)])
def test_a_range_beyond_the_end_is_truncated(reader: SourceReader, base: str, offset: int, length: int) -> None:
    uri = _put(join(base, "o"), b"0123456789")
    assert _reason(reader, _row(uri, offset=offset, length=length)) == "source_truncated"


@pytest.mark.parametrize("known", [{}, {"size_bytes": 11}, {"size_bytes": 3}, {"offset": 0, "length": 11}])
def test_too_many_bytes_with_and_without_a_known_size(reader: SourceReader, base: str, known: dict[str, int]) -> None:
    uri = _put(join(base, "o"), b"0123456789A")
    assert _reason(reader, _row(uri, **known), 10) == "too_many_bytes"


def test_an_object_that_is_not_there(reader: SourceReader, base: str) -> None:
    for row in (
        _row(join(base, "no")),
        _row(join(base, "no"), offset=0, length=1),
        _row(cell_uri(join(base, "no"), "image", 0)),
    ):
        with pytest.raises(ObjectNotFoundError):
            reader.read(row, 100)


def test_cells_across_row_groups_and_files_in_any_order(reader: SourceReader, base: str) -> None:
    a = _parquet(join(base, "a.parquet"), [b"a%d" % i for i in range(7)])
    b = _parquet(join(base, "b#c%20?.parquet"), [b"b%d" % i for i in range(5)], group_rows=3)
    for uri, row in ((a, 0), (a, 1), (a, 6), (b, 3), (a, 2), (b, 0), (b, 4), (a, 5), (a, 0)):
        expected = b"%s%d" % (b"a" if uri == a else b"b", row)
        assert reader.read(_row(cell_uri(uri, "image", row)), 100) == expected


def test_empty_row_groups_do_not_shift_the_rows(reader: SourceReader, base: str) -> None:
    buffer = io.BytesIO()
    schema = pa.schema([("image", STRUCT)])
    with pq.ParquetWriter(buffer, schema) as writer:
        for cells in ([], [b"0", b"1"], [], [b"2"], []):
            writer.write_table(pa.table([pa.array([{"bytes": c, "path": ""} for c in cells], STRUCT)], schema=schema))
    uri = _put(join(base, "e.parquet"), buffer.getvalue())
    assert [reader.read(_row(cell_uri(uri, "image", n)), 9) for n in range(3)] == [b"0", b"1", b"2"]
    assert _reason(reader, _row(cell_uri(uri, "image", 3))) == "source_unreadable"


@pytest.mark.parametrize(
    ("cell", "reason"), [(None, "source_empty"), (b"", "source_empty"), (b"x" * 101, "too_many_bytes")]
)
def test_cells_without_an_image(reader: SourceReader, base: str, cell: bytes | None, reason: str) -> None:
    uri = _parquet(join(base, "a.parquet"), [b"fine", cell])
    assert _reason(reader, _row(cell_uri(uri, "image", 1))) == reason
    assert reader.read(_row(cell_uri(uri, "image", 0)), 100) == b"fine"


@pytest.mark.parametrize(
    ("column", "row"), [("image", 2), ("image", 10**30), ("nothing", 0), ("label", 0), ("number", 1)]
)
def test_cells_that_do_not_exist(reader: SourceReader, base: str, column: str, row: int) -> None:
    uri = _parquet(join(base, "a.parquet"), [b"a", b"b"], label=["face", "x"], number=[4, 5])
    assert _reason(reader, _row(cell_uri(uri, column, row))) == "source_unreadable"


def test_a_file_without_rows(reader: SourceReader, base: str) -> None:
    uri = _parquet(join(base, "a.parquet"), [])
    assert _reason(reader, _row(cell_uri(uri, "image", 0))) == "source_unreadable"


@pytest.mark.parametrize(
    "damage", [lambda d: b"", lambda d: b"PAR1", lambda d: d[:-20], lambda d: d[:40] + bytes(60) + d[100:]]
)
def test_a_damaged_file_fails_the_row_and_not_the_shard(reader: SourceReader, base: str, damage: Any) -> None:
    good = _parquet(join(base, "good.parquet"), [b"fine" * 10, b"b" * 40])
    bad = _put(join(base, "bad.parquet"), damage(Storage().read(good)))
    assert reader.read(_row(cell_uri(good, "image", 0)), 100) == b"fine" * 10
    assert _reason(reader, _row(cell_uri(bad, "image", 0))) == "source_unreadable"
    assert reader.read(_row(cell_uri(good, "image", 0)), 100) == b"fine" * 10


def test_a_storage_failure_below_the_reader_is_transient(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(StorageConfig(retries=0, retry_for_s=0))
    uri = _parquet(join(base, "a.parquet"), [b"a", b"b"])

    class Broken(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise TimeoutError("the store went away")

    reader = SourceReader(storage, _allowed(base))
    with monkeypatch.context() as patch:
        patch.setattr(storage, "open", lambda uri: Broken(b"x" * 100))
        with pytest.raises(TransientStorageError):
            reader.read(_row(cell_uri(uri, "image", 0)), 100)
    assert reader.read(_row(cell_uri(uri, "image", 0)), 100) == b"a"


@pytest.mark.parametrize(("stored", "asked"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_name_is_found_with_other_accents(reader: SourceReader, base: str, stored: Any, asked: Any) -> None:
    name = "caf\u00e9/stra\u00dfe \u00e9.jpg"
    _put(join(base, unicodedata.normalize(stored, name)), b"image")
    assert reader.read(_row(join(base, unicodedata.normalize(asked, name))), 10) == b"image"
    with pytest.raises(ObjectNotFoundError):
        reader.read(_row(join(base, "caf\u00e9/none.jpg")), 10)


def test_no_more_than_the_limit_is_read_of_an_object_that_is_larger_than_the_manifest_says(
    reader: SourceReader, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = _put(join(base, "o"), b"x" * 1000)
    asked: list[tuple[int | None, int | None]] = []
    real = Storage.read

    def read(storage: Storage, uri: str, offset: int | None = None, length: int | None = None) -> bytes:
        asked.append((offset, length))
        return real(storage, uri, offset, length)

    monkeypatch.setattr(Storage, "read", read)
    assert _reason(reader, _row(uri, size_bytes=5), 10) == "too_many_bytes"
    assert asked == [(0, 11)]
