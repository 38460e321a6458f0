from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anon_batch.errors import ManifestError
from anon_batch.formats.provenance import RESERVED_COLUMNS
from anon_batch.manifest import open_manifest, rows_from_table
from anon_batch.manifest.addresses import Cell, parse_cell
from anon_batch.manifest.schema import FIXED_COLUMNS, FIXED_SCHEMA


def test_every_column_arrives_in_the_row(write_manifest, read_rows):
    path = write_manifest(
        {
            "image_id": ["a.jpg", "b.jpg", "c.jpg", "d.jpg"],
            "uri": ["s3://b/x.tar", "s3://b/y.jpg", "s3://b/z", "s3://b/w"],
            "offset": pa.array([512, None, None, None], pa.int32()),
            "length": pa.array([100, None, None, None], pa.uint16()),
            "size_bytes": [100, None, 7, None],
            "sha256": ["ab" * 32, None, None, None],
            "faces": [
                [{"x1": 1.0, "y1": 2.0, "x2": 3.0, "y2": 4.0, "ignore": True}],
                [],
                None,
                [
                    {"x1": 5.0, "y1": 6.0, "x2": 7.0, "y2": 8.0, "ignore": None},
                    {"x1": 0.5, "y1": 0.0, "x2": 1.0, "y2": 1.0, "ignore": False},
                ],
            ],
            "label": pa.array(["cat", "dog", None, "cat"]).dictionary_encode(),
            "tags": [["x"], [], None, ["y", "z"]],
        }
    )
    a, b, c, d = read_rows(path)
    assert (a.index, a.image_id, a.uri, a.offset, a.length) == (0, "a.jpg", "s3://b/x.tar", 512, 100)
    assert (a.size_bytes, a.sha256) == (100, "ab" * 32)
    assert a.regions.boxes.tolist() == [[1, 2, 3, 4]]
    assert a.regions.ignore.tolist() == [True]
    assert b.offset is None
    assert b.length is None
    assert len(b.regions) == 0
    assert c.regions is None
    assert d.index == 3
    assert d.regions.boxes.tolist() == [[5, 6, 7, 8], [0.5, 0, 1, 1]]
    assert d.regions.ignore.tolist() == [False, False]
    assert [r.extra for r in (a, c)] == [{"label": "cat", "tags": ["x"]}, {"label": None, "tags": None}]


def test_regions_have_labels_and_flags(write_manifest, read_rows):
    box = {"x1": 1.0, "y1": 2.0, "x2": 3.0, "y2": 4.0}
    regions = [
        [{**box, "label": "licence_plate", "ignore": None, "keep": True}, {**box, "label": None}],
        [],
        None,
    ]
    kind = pa.list_(
        pa.struct(
            [*((n, pa.float64()) for n in box), ("label", pa.string()), ("ignore", pa.bool_()), ("keep", pa.bool_())]
        )
    )
    path = write_manifest({"image_id": ["a", "b", "c"], "uri": ["/a", "/b", "/c"], "regions": pa.array(regions, kind)})
    a, b, c = read_rows(path)
    assert a.regions.labels == ("licence_plate", "face")
    assert a.regions.keep.tolist() == [True, False]
    assert a.regions.ignore.tolist() == [False, False]
    assert len(b.regions) == 0
    assert c.regions is None


def test_both_names_of_the_regions_are_refused(storage, write_manifest):
    kind = pa.list_(pa.struct([(n, pa.float32()) for n in ("x1", "y1", "x2", "y2")]))
    columns = {"image_id": ["a"], "uri": ["/a"], "regions": pa.nulls(1, kind), "faces": pa.nulls(1, kind)}
    with pytest.raises(ManifestError, match="both `regions` and `faces`"):
        open_manifest(storage, write_manifest(columns))


def test_missing_columns_are_null_and_the_schema_is_always_the_same(storage, write_manifest):
    manifest = open_manifest(storage, write_manifest({"image_id": ["a"], "uri": ["/x/a"], "n": [1]}))
    (table,) = manifest.iter_tables()
    assert table.schema == pa.schema([*FIXED_SCHEMA, ("n", pa.int64())])
    assert manifest.schema == table.schema
    assert manifest.extra_schema == pa.schema([("n", pa.int64())])
    assert manifest.rows_count == 1
    (row,) = rows_from_table(table, 41)
    assert row.index == 41
    assert row.regions is None


def test_tables_survive_a_round_trip_through_parquet(storage, write_manifest, tmp_path, read_rows):
    path = write_manifest(
        {
            "image_id": ["a", "b"],
            "uri": ["/x/a", "/x/b"],
            "k": [1, 2],
            "faces": [None, [{"x1": 1, "y1": 2, "x2": 3, "y2": 4}]],
        }
    )
    (table,) = open_manifest(storage, path).iter_tables()
    pq.write_table(table, tmp_path / "copy.parquet")
    again = rows_from_table(pq.read_table(tmp_path / "copy.parquet"), 0)
    assert [r.extra for r in again] == [{"k": 1}, {"k": 2}]
    assert again[0].regions is None
    assert again[1].regions.boxes.tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("base", "uri", "expected"),
    [
        (None, "photos/a.jpg", "{folder}/photos/a.jpg"),
        (".", "photos/a.jpg", "{folder}/photos/a.jpg"),
        ("photos", "a.jpg", "{folder}/photos/a.jpg"),
        ("/data/set/", "a.jpg", "/data/set/a.jpg"),
        ("s3://bucket/set", "a.jpg", "s3://bucket/set/a.jpg"),
        ("s3://bucket/set", "/data/a.jpg", "/data/a.jpg"),
        ("/data", "s3://bucket/a.jpg", "s3://bucket/a.jpg"),
        ("/data", "file:///x/a.jpg", "/x/a.jpg"),
        ("/data", "a#1 %20?.jpg", "/data/a#1 %20?.jpg"),
    ],
)
def test_relative_addresses_start_from_the_base(write_manifest, read_rows, tmp_path, base, uri, expected):
    path = write_manifest({"image_id": ["a"], "uri": [uri]}, {"base_uri": base} if base else None)
    assert read_rows(path)[0].uri == expected.format(folder=tmp_path)


def test_images_in_the_manifest_itself_become_cells_and_are_never_read(storage, write_manifest, read_rows):
    images = [{"bytes": bytes([i]) * 1000, "path": None} for i in range(5)]
    path = write_manifest({"image_id": [f"{i}.jpg" for i in range(5)], "image": images})
    manifest = open_manifest(storage, path)
    assert "image" not in manifest.schema.names
    rows = read_rows(manifest)
    assert rows[4].uri == f"{path}#column=image&row=4"
    assert parse_cell(rows[4].uri) == Cell(path, "image", 4)
    (uris,) = manifest.iter_tables(["uri"])
    assert uris.column("uri").to_pylist() == [r.uri for r in rows]


def test_selected_columns_have_the_requested_order(storage, write_manifest):
    manifest = open_manifest(storage, write_manifest({"image_id": ["a"], "uri": ["/x/a"], "n": [1], "m": [2]}))
    (table,) = manifest.iter_tables(["m", "image_id"])
    assert table.column_names == ["m", "image_id"]
    with pytest.raises(ValueError, match="nope"):
        next(manifest.iter_tables(["nope"]))


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"uri": ["x"]}, ["image_id"]),
        ({"image_id": ["x"]}, ["uri", "image"]),
        ({"image_id": [1], "uri": ["x"], "offset": ["0"]}, ["`image_id` is int64", "`offset` is string"]),
        ({"image_id": ["x"], "uri": ["x"], "faces": [[1.0]]}, ["`faces`"]),
        ({"image_id": ["x"], "uri": ["x"], "regions": [[{"x1": 1.0}]]}, ["`regions`"]),
        ({"image_id": ["x"], "image": [b"abc"]}, ["`image` is binary"]),
        (
            {"image_id": ["x"], "uri": ["x"], "thumb": [b"abc"], "deep": [[{"b": b"x"}]]},
            ["`thumb`", "`deep`", "binary"],
        ),
    ],
)
def test_columns_that_do_not_fit_are_named(storage, write_manifest, columns, named):
    with pytest.raises(ManifestError) as caught:
        open_manifest(storage, write_manifest(columns))
    for text in named:
        assert text in str(caught.value)


@pytest.mark.parametrize("name", sorted(RESERVED_COLUMNS - set(FIXED_COLUMNS)))
def test_a_column_that_the_release_writes_itself_is_refused(storage, write_manifest, name):
    with pytest.raises(ManifestError, match=f"`{name}`"):
        open_manifest(storage, write_manifest({"image_id": ["a"], "uri": ["x"], name: ["1"]}))


def test_the_error_about_other_files_says_how_to_make_a_manifest(storage, tmp_path, write_manifest):
    (tmp_path / "no.parquet").write_bytes(b"image_id,uri\na,b\n")
    for path, text in (
        (tmp_path / "no.parquet", "cannot be read"),
        (tmp_path / "gone.parquet", "no manifest at"),
    ):
        with pytest.raises(ManifestError, match=text) as caught:
            open_manifest(storage, str(path))
        assert "anon-batch manifest" in str(caught.value)
    with pytest.raises(ManifestError, match="anon-batch manifest"):
        open_manifest(storage, str(tmp_path))
    with pytest.raises(ManifestError, match="lists no image"):
        open_manifest(
            storage,
            write_manifest(pa.table({"image_id": pa.array([], pa.string()), "uri": pa.array([], pa.string())})),
        )
    with pytest.raises(ManifestError, match="version '2'"):
        open_manifest(storage, write_manifest({"image_id": ["a"], "uri": ["x"]}, {"anon_batch.manifest_version": "2"}))


def test_damage_inside_the_file_is_an_error(storage, write_manifest, tmp_path):
    path = write_manifest({"image_id": [f"{i:060d}" for i in range(5000)], "uri": [f"/x/{i}" for i in range(5000)]})
    data = bytearray((tmp_path / "m.parquet").read_bytes())
    data[1000:3000] = bytes(2000)
    (tmp_path / "m.parquet").write_bytes(data)
    manifest = open_manifest(storage, path)
    with pytest.raises(ManifestError, match="cannot be read"):
        list(manifest.iter_tables())


def test_text_that_is_not_utf8_is_an_error(storage, tmp_path):
    bad = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\3\0\0\0"), pa.py_buffer(b"a\xff\xfe")])
    pq.write_table(pa.table({"image_id": ["a"], "uri": bad}), tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match=r"(?i)utf"):
        list(open_manifest(storage, str(tmp_path / "m.parquet")).iter_tables())


def test_a_number_that_does_not_fit_is_an_error(storage, write_manifest):
    path = write_manifest({"image_id": ["a"], "uri": ["/x"], "size_bytes": pa.array([2**64 - 1], pa.uint64())})
    with pytest.raises(ManifestError, match="cannot be read"):
        list(open_manifest(storage, path).iter_tables())


def test_a_manifest_in_a_bucket_reads_like_a_local_one(storage, bucket, read_rows, write_manifest, tmp_path):
    path = write_manifest({"image_id": ["a.jpg"], "uri": ["photos/a.jpg"]})
    storage.put(f"{bucket}/m.parquet", (tmp_path / "m.parquet").read_bytes())
    assert path
    assert read_rows(f"{bucket}/m.parquet")[0].uri == f"{bucket}/photos/a.jpg"


def test_a_protocol_in_capitals_means_the_same(write_manifest, read_rows):
    given = ["HTTP://Host/A.jpg", "S3://bucket/A.jpg", "Https://h/x", "https://h/HTTP://y"]
    path = write_manifest({"image_id": list("abcd"), "uri": given})
    assert [row.uri for row in read_rows(path)] == [
        "http://Host/A.jpg",
        "s3://bucket/A.jpg",
        "https://h/x",
        "https://h/HTTP://y",
    ]
