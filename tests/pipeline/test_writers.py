"""All layouts hold the same images, and the manifest's other columns with their types."""

from __future__ import annotations

import datetime as dt
import decimal
import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pipeline_fixtures import image_bytes

from anon_batch.config import WriteConfig
from anon_batch.formats.release import Release
from anon_batch.pipeline.writers import Sink, open_sink
from anon_batch.records import EncodedImage, ManifestRow
from anon_batch.storage import Storage, join

EXTRA = pa.schema(
    [
        ("label", pa.int8()),
        ("text", pa.string()),
        ("ratio", pa.float32()),
        ("when", pa.timestamp("ms", "UTC")),
        ("tags", pa.list_(pa.string())),
        ("where", pa.struct([("lat", pa.float64()), ("n", pa.int32())])),
        ("price", pa.decimal128(8, 2)),
        ("day", pa.date32()),
    ]
)
FULL: dict[str, Any] = {
    "label": 3,
    "text": 'with "quotes"\n',
    "ratio": float("nan"),
    "when": dt.datetime(2024, 1, 2, 3, tzinfo=dt.UTC),
    "tags": ["a", None],
    "where": {"lat": float("inf"), "n": None},
    "price": decimal.Decimal("1.50"),
    "day": dt.date(2024, 1, 2),
}
EMPTY: dict[str, Any] = dict.fromkeys(FULL)


@pytest.fixture(params=["local", "memory"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}"


def _image(seed: int) -> EncodedImage:
    return EncodedImage(image_bytes(seed), "PNG", 24, 20)


def _rows(extras: list[dict[str, Any]]) -> list[ManifestRow]:
    return [ManifestRow(index + 100, f"d/{index}.png", "u", extra=extra) for index, extra in enumerate(extras)]


def _open(
    layout: str, base: str, key: str = "shards/s", image_format: str = "keep", rows: Sequence[ManifestRow] = ()
) -> Sink:
    write = WriteConfig(layout=layout, format=image_format)  # type: ignore[arg-type]
    return open_sink(write, Release(Storage(), base), key, EXTRA, rows)


def _fill(layout: str, base: str, key: str, order: list[int], extras: list[dict[str, Any]], **write: str) -> str:
    rows = _rows(extras)
    sink = _open(layout, base, key, rows=rows, **write)
    for index in order:
        sink.add(rows[index], _image(index))
    return sink.close()


def test_files_are_named_by_their_ids(base: str) -> None:
    sink = _open("files", base)
    placed = sink.add(ManifestRow(0, "dir/a b#%.JPEG", "u"), _image(1))
    assert placed == ("images/dir/a b#%.JPEG", None)
    assert sink.add(ManifestRow(1, "noname", "u"), _image(2)).output == "images/noname.png"
    assert sink.close() == ""
    assert Storage().read(join(base, placed.output)) == image_bytes(1)


def test_tar_bytes_do_not_depend_on_the_order_of_threads(base: str) -> None:
    extras = [FULL, EMPTY, FULL]
    first = _fill("webdataset", base, "shards/1.tar", [0, 1, 2], extras)
    second = _fill("webdataset", base, "shards/2.tar", [2, 0, 1], extras)
    data = Storage().read(join(base, "shards/1.tar"))
    assert data == Storage().read(join(base, "shards/2.tar"))
    assert first == second == hashlib.sha256(data).hexdigest()


def test_tar_members_are_images_and_strict_json_of_every_column(base: str) -> None:
    _fill("webdataset", base, "shards/1.tar", [0, 1], [FULL, EMPTY])
    with tarfile.open(fileobj=io.BytesIO(Storage().read(join(base, "shards/1.tar")))) as tar:
        members = {info.name: (info, tar.extractfile(info).read()) for info in tar}  # type: ignore[union-attr]
    assert list(members) == ["d/0.png", "d/0.cls", "d/0.json", "d/1.png", "d/1.json"]
    assert members["d/1.png"][1] == image_bytes(1)
    assert all((info.mtime, info.uid, info.uname) == (0, 0, "") for info, _ in members.values())

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    fields = json.loads(members["d/0.json"][1], parse_constant=refuse)
    assert fields == {
        "image_id": "d/0.png",
        "width": 24,
        "height": 20,
        "synthetic": False,
        "label": 3,
        "text": 'with "quotes"\n',
        "ratio": None,
        "when": "2024-01-02T03:00:00+00:00",
        "tags": ["a", None],
        "where": {"lat": None, "n": None},
        "price": "1.50",
        "day": "2024-01-02",
    }
    empty = json.loads(members["d/1.json"][1])
    assert {name: empty[name] for name in EXTRA.names} == EMPTY


def test_parquet_shards_have_the_same_schema_for_any_values(base: str) -> None:
    digests = [
        _fill("parquet", base, f"shards/{n}.parquet", [1, 0], extras)
        for n, extras in enumerate([[FULL, EMPTY], [EMPTY, EMPTY]])
    ]
    tables = [pq.read_table(io.BytesIO(Storage().read(join(base, f"shards/{n}.parquet")))) for n in (0, 1)]
    assert tables[0].schema.equals(tables[1].schema, check_metadata=True)
    for field in EXTRA:
        assert tables[1].schema.field(field.name).type == field.type
    both = pa.concat_tables(tables)
    assert both.column("image_id").to_pylist() == ["d/0.png", "d/1.png"] * 2
    assert both.column("tags").to_pylist() == [["a", None], None, None, None]
    assert both.column("when").to_pylist()[0] == FULL["when"]
    assert digests[0] != digests[1]


def test_parquet_images_can_be_read_and_are_declared_to_hugging_face(base: str) -> None:
    _fill("parquet", base, "shards/1.parquet", [0], [FULL], image_format="png")
    table = pq.read_table(io.BytesIO(Storage().read(join(base, "shards/1.parquet"))))
    assert table.schema.field("image").type == pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    assert json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]["image"] == {"_type": "Image"}
    [cell] = table.column("image").to_pylist()
    assert cell["path"] == "d/0.png"
    assert Image.open(io.BytesIO(cell["bytes"])).size == (24, 20)


@pytest.mark.parametrize("layout", ["webdataset", "parquet"])
def test_a_shard_without_images_has_no_file(layout: str, base: str) -> None:
    assert _open(layout, base).close() == ""
    assert not list(Storage().list(join(base, "shards")))
