from __future__ import annotations

import json
import os
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anon_batch.errors import ManifestError, StorageError
from anon_batch.manifest import build_manifest, open_manifest, rows_from_table, write


def make_files(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def rows_of(storage, uri):
    rows = []
    for table in open_manifest(storage, uri).iter_tables():
        rows += rows_from_table(table, len(rows))
    return rows


def build(storage, folder, *sources, **options):
    out = f"{folder}/out.parquet"
    report = build_manifest(storage, [str(s) for s in sources], out, **options)
    return report, rows_of(storage, out)


def test_a_folder_is_listed_completely(storage, tmp_path):
    make_files(
        tmp_path / "set",
        "a.jpg",
        "sub/B.JPEG",
        "sub/deep/c c#1.PNG",
        "d.webp",
        "e.tif",
        "notes.txt",
        "x",
        ".DS_Store",
        "._a.jpg",
    )
    report, rows = build(storage, tmp_path, tmp_path / "set")
    assert {r.image_id for r in rows} == {"a.jpg", "sub/B.JPEG", "sub/deep/c c#1.PNG", "d.webp", "e.tif"}
    assert all(storage.read(r.uri) == r.image_id.encode() for r in rows)
    assert all(r.size_bytes == len(r.image_id) for r in rows)
    assert all(r.regions is None for r in rows)
    assert report.images_count == 5
    assert report.skipped == {"not_an_image": 2, "system_file": 2}
    assert report.other_suffixes == {".txt": 1, "(no suffix)": 1}
    assert report.skipped_names == {"not_an_image": ("notes.txt", "x"), "system_file": (".DS_Store", "._a.jpg")}
    assert report.found_count == 9
    assert report.sources == ((str(tmp_path / "set"), "files", 5),)
    metadata = pq.read_metadata(tmp_path / "out.parquet")
    assert metadata.metadata[b"anon_batch.manifest_version"] == b"1"
    assert metadata.metadata[b"base_uri"] == str(tmp_path / "set").encode()
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    assert pq.read_table(tmp_path / "out.parquet").column("uri").to_pylist() == [r.image_id for r in rows]


def test_a_bucket_prefix_is_listed_with_whole_addresses(storage, bucket):
    for name in ("a.jpg", "sub/b.png", "c.txt"):
        storage.put(f"{bucket}/set/{name}", name.encode())
    report, rows = build(storage, bucket, f"{bucket}/set/")
    assert [(r.image_id, r.uri) for r in rows] == [
        ("a.jpg", f"{bucket}/set/a.jpg"),
        ("sub/b.png", f"{bucket}/set/sub/b.png"),
    ]
    assert report.base_uri is None
    assert report.other_suffixes == {".txt": 1}


def test_patterns_choose_files(storage, tmp_path):
    make_files(tmp_path / "set", "a.jpg", "b.png", "c.gif", "sub/d.jpg")
    assert [r.image_id for r in build(storage, tmp_path, tmp_path / "set/*.jpg")[1]] == ["a.jpg"]
    assert [r.image_id for r in build(storage, tmp_path, tmp_path / "set/**/*.jpg")[1]] == [
        "a.jpg",
        "sub/d.jpg",
    ]
    assert [r.image_id for r in build(storage, tmp_path, tmp_path / "set/*.{jpg,png}")[1]] == [
        "a.jpg",
        "b.png",
    ]
    assert [r.image_id for r in build(storage, tmp_path, tmp_path / "set/a.jpg")[1]] == ["a.jpg"]


def test_a_folder_whose_name_looks_like_a_pattern_is_a_folder(storage, tmp_path):
    make_files(tmp_path / "photos [2020] {x}", "a.jpg")
    assert [r.image_id for r in build(storage, tmp_path, tmp_path / "photos [2020] {x}")[1]] == ["a.jpg"]


def test_relative_to_the_manifests_own_folder_both_can_be_moved(storage, tmp_path):
    make_files(tmp_path / "one/photos", "a.jpg", "sub/b.jpg")
    build_manifest(storage, [str(tmp_path / "one/photos")], str(tmp_path / "one/m.parquet"), base_uri=".")
    raw = (tmp_path / "one/m.parquet").read_bytes()
    assert str(tmp_path).encode() not in raw
    shutil.move(tmp_path / "one", tmp_path / "two")
    rows = rows_of(storage, str(tmp_path / "two/m.parquet"))
    assert [storage.read(r.uri) for r in rows] == [b"a.jpg", b"sub/b.jpg"]
    make_files(tmp_path / "elsewhere", "c.jpg")
    build_manifest(storage, [str(tmp_path / "elsewhere")], str(tmp_path / "two/n.parquet"), base_uri=".")
    table = pq.read_table(tmp_path / "two/n.parquet")
    assert table.column("uri").to_pylist() == ["../elsewhere/c.jpg"]
    assert storage.read(rows_of(storage, str(tmp_path / "two/n.parquet"))[0].uri) == b"c.jpg"


def test_a_base_can_be_named(storage, bucket):
    storage.put(f"{bucket}/set/a.jpg", b"a")
    report, rows = build(storage, "memory://other", f"{bucket}/set", base_uri=bucket)
    assert report.base_uri == bucket
    assert rows[0].uri == f"{bucket}/set/a.jpg"


def test_several_sources_keep_their_ids_if_they_differ(storage, tmp_path):
    make_files(tmp_path, "one/a.jpg", "two/b.jpg")
    report, rows = build(storage, tmp_path, tmp_path / "one", tmp_path / "two")
    assert [r.image_id for r in rows] == ["a.jpg", "b.jpg"]
    assert not report.prefixed
    make_files(tmp_path, "two/a.jpg")
    report, rows = build(storage, tmp_path, tmp_path / "one", tmp_path / "two")
    assert [r.image_id for r in rows] == ["one/a.jpg", "two/a.jpg", "two/b.jpg"]
    assert report.prefixed
    assert [storage.read(r.uri) for r in rows] == [b"one/a.jpg", b"two/a.jpg", b"two/b.jpg"]
    make_files(tmp_path, "x/one/a.jpg")
    with pytest.raises(ManifestError, match="share image ids"):
        build(storage, tmp_path, tmp_path / "one", tmp_path / "x/one")


@pytest.mark.parametrize(
    ("names", "match"),
    [
        ((), "nothing is there"),
        (("a.txt", "b.txt"), r"no image .*found only 2 x \.txt"),
        (("x.tar.gz",), "compressed"),
    ],
)
def test_nothing_to_list_is_an_error(storage, tmp_path, names, match):
    (tmp_path / "set").mkdir()
    make_files(tmp_path / "set", *names)
    with pytest.raises(ManifestError, match=match):
        build(storage, tmp_path, tmp_path / "set")
    assert not os.path.exists(tmp_path / "out.parquet")


@pytest.mark.parametrize("name", ["m.csv", "m.v2.JSONL"])
def test_a_manifest_with_the_suffix_of_another_format_is_refused(storage, tmp_path, name):
    make_files(tmp_path / "photos", "a.jpg")
    with pytest.raises(ManifestError, match=r"a manifest is a Parquet file; name it .*/m(\.v2)?\.parquet"):
        build_manifest(storage, [str(tmp_path / "photos")], str(tmp_path / name))
    assert not (tmp_path / name).exists()


def test_a_ground_truth_that_is_not_there_names_the_argument(storage, tmp_path):
    make_files(tmp_path / "photos", "a.jpg")
    with pytest.raises(ManifestError, match=r"no ground truth at .*none\.csv; check .* --ground-truth"):
        build(storage, tmp_path, tmp_path / "photos", ground_truth=str(tmp_path / "none.csv"))


def test_a_manifest_that_cannot_be_written_names_the_argument(storage, tmp_path):
    make_files(tmp_path / "photos", "a.jpg")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(
        StorageError, match=r"a file stands where a folder is needed; or choose another place with --output"
    ):
        build_manifest(storage, [str(tmp_path / "photos")], str(tmp_path / "file/m.parquet"))


def test_rows_that_fail_the_check_are_not_published(storage, tmp_path):
    row = {"uri": "a.jpg", "offset": -1, "length": 3}
    (tmp_path / "list.jsonl").write_text(json.dumps(row))
    with pytest.raises(ManifestError, match="offset is negative: row 0"):
        build(storage, tmp_path, tmp_path / "list.jsonl")
    assert not os.path.exists(tmp_path / "out.parquet")


def test_a_file_name_that_is_not_utf8_is_an_error(storage, tmp_path):
    (tmp_path / "set").mkdir()
    with open(os.fsencode(tmp_path) + b"/set/a\xff.jpg", "wb"):
        pass
    with pytest.raises(ManifestError, match="not UTF-8"):
        build(storage, tmp_path, tmp_path / "set")


def hub_file(path, paths, first=0, **columns):
    images = [{"bytes": f"image {first + i}".encode(), "path": p} for i, p in enumerate(paths)]
    pq.write_table(pa.table({"image": images, **columns}), path, row_group_size=2)


def test_parquet_images_are_addressed_by_cell(storage, tmp_path):
    (tmp_path / "data").mkdir()
    hub_file(
        tmp_path / "data/train-0.parquet",
        ["a.jpg", "b.jpg", "c.jpg"],
        label=[1, 2, 3],
        width=[1, 1, 1],
        thumb=[b"x"] * 3,
    )
    hub_file(tmp_path / "data/train-1.parquet", ["d.jpg"], 3, label=[4], width=[2], thumb=[b"x"])
    report, rows = build(storage, tmp_path, tmp_path / "data")
    assert [r.image_id for r in rows] == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert rows[2].uri == f"{tmp_path}/data/train-0.parquet#column=image&row=2"
    assert rows[3].uri == f"{tmp_path}/data/train-1.parquet#column=image&row=0"
    assert rows[3].extra == {"label": 4, "source_width": 2}
    assert report.renamed_columns == {"width": "source_width"}
    assert report.dropped_columns == ("thumb",)
    assert report.sources[0][1] == "parquet"


@pytest.mark.parametrize("paths", [[None, None], ["same.jpg", "same.jpg"], ["/home/me/a.jpg", "b.jpg"], ["", "b.jpg"]])
def test_parquet_paths_that_cannot_be_ids_are_replaced_by_row_numbers(storage, tmp_path, paths):
    hub_file(tmp_path / "x.parquet", paths)
    _, rows = build(storage, tmp_path, tmp_path / "x.parquet")
    assert [r.image_id for r in rows] == ["x/00000000", "x/00000001"]


def test_parquet_columns_of_images_with_other_names(storage, tmp_path):
    images = [{"bytes": b"1", "path": "a"}, {"bytes": b"2", "path": "b"}]
    pq.write_table(
        pa.table({"my img": images, "image_id": [7, 8], "uri": ["http://secret/1", "http://secret/2"]}),
        tmp_path / "x.parquet",
    )
    report, rows = build(storage, tmp_path, tmp_path / "x.parquet")
    assert rows[1].uri == f"{tmp_path}/x.parquet#column=my%20img&row=1"
    assert rows[1].extra == {"source_image_id": 8}
    assert report.dropped_columns == ("uri",)
    pq.write_table(pa.table({"l": images, "r": images}), tmp_path / "y.parquet")
    with pytest.raises(ManifestError, match="several columns"):
        build(storage, tmp_path, tmp_path / "y.parquet")
    pq.write_table(
        pa.table(
            {"image": [{"bytes": None, "path": "a"}]},
            schema=pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))]),
        ),
        tmp_path / "z.parquet",
    )
    with pytest.raises(ManifestError, match="paths but no bytes"):
        build(storage, tmp_path, tmp_path / "z.parquet")
    (tmp_path / "w.parquet").write_bytes(b"no parquet")
    with pytest.raises(ManifestError, match="not a Parquet file"):
        build(storage, tmp_path, tmp_path / "w.parquet")


def test_csv_of_addresses(storage, tmp_path):
    (tmp_path / "list.csv").write_text(
        "\ufeffurl,label,offset,length,status\nphotos/a.jpg,007,,,x\nhttps://host/b.jpg?s=1,,512,9,y\n/abs/c,z,,,\n",
        encoding="utf-8",
    )
    report, rows = build(storage, tmp_path, tmp_path / "list.csv")
    assert [r.image_id for r in rows] == ["photos/a.jpg", "list/00000001.jpg", "list/00000002"]
    assert [r.uri for r in rows] == [f"{tmp_path}/photos/a.jpg", "https://host/b.jpg?s=1", "/abs/c"]
    assert rows[1].offset == 512
    assert rows[0].extra == {"label": "007", "source_status": "x"}
    assert report.renamed_columns == {"status": "source_status"}


def test_jsonl_and_parquet_of_addresses(storage, tmp_path):
    faces = [{"x1": 1, "y1": 2, "x2": 3, "y2": 4, "ignore": True}]
    lines = [
        {"file_name": "a.jpg", "image_id": "one", "n": 1, "faces": faces},
        {"file_name": "b.jpg", "image_id": "two", "n": 2.5, "more": [1]},
    ]
    (tmp_path / "l.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    _, rows = build(storage, tmp_path, tmp_path / "l.jsonl")
    assert [r.image_id for r in rows] == ["one", "two"]
    assert rows[0].regions.boxes.tolist() == [[1, 2, 3, 4]]
    assert rows[0].regions.ignore.tolist() == [True]
    assert rows[1].regions is None
    assert rows[1].extra == {"n": 2.5, "more": [1]}
    pq.write_table(pa.table({"url": ["https://h/a.jpg"], "path": ["x"], "k": [1]}), tmp_path / "t.parquet")
    report, rows = build(storage, tmp_path, tmp_path / "t.parquet")
    assert (rows[0].uri, rows[0].extra) == ("https://h/a.jpg", {"k": 1})
    assert report.dropped_columns == ("path",)
    assert report.sources[0][1] == "table"


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("a.csv", "name\nx\n", "no column of addresses"),
        ("a.csv", "uri,b\nx\n", "line 2: expected 2 values"),
        ("a.csv", "uri,b\nx,1,2\n", "line 2"),
        ("a.csv", "uri,uri\nx,y\n", "twice"),
        ("a.csv", 'uri\n"x\n', "not CSV"),
        ("a.jsonl", '{"uri": 1}\n', "expected text"),
        ("a.jsonl", "[]\n", "line 1"),
        ("a.jsonl", "{\n", "line 1: not JSON"),
        ("a.jsonl", '{"uri": "x", "n": 1}\n{"uri": "y", "n": "t"}\n', "mixes types"),
        ("a.csv", "uri\n\n,\n", "line 3"),
        ("a.csv", "uri,l\n,1\n", "1 no_address"),
    ],
)
def test_errors_about_tables_name_the_line(storage, tmp_path, name, text, match):
    (tmp_path / name).write_text(text)
    with pytest.raises(ManifestError, match=match):
        build(storage, tmp_path, tmp_path / name)


def test_types_that_differ_late_in_a_table_are_an_error(storage, tmp_path, monkeypatch):
    monkeypatch.setattr("anon_batch.manifest.importers.table.BATCH_ROWS", 1)
    (tmp_path / "a.jsonl").write_text('{"uri": "x", "n": 1}\n{"uri": "y", "n": "t"}\n')
    with pytest.raises(ManifestError, match=r"`n`|Field n"):
        build(storage, tmp_path, tmp_path / "a.jsonl")
    (tmp_path / "a.jsonl").write_text('{"uri": "x", "n": 1}\n{"uri": "y", "n": 0.5}\n{"uri": "z", "m": true}\n')
    _, rows = build(storage, tmp_path, tmp_path / "a.jsonl")
    assert [r.extra for r in rows] == [{"n": 1.0, "m": None}, {"n": 0.5, "m": None}, {"n": None, "m": True}]


def test_a_kind_that_does_not_match_is_an_error(storage, tmp_path, make_tar):
    make_files(tmp_path / "set", "a.jpg")
    (tmp_path / "x.tar").write_bytes(make_tar({"a.jpg": b"a"}))
    with pytest.raises(ManifestError, match="kind `tar`"):
        build(storage, tmp_path, tmp_path / "set", kind="tar")
    with pytest.raises(ManifestError, match="of kind `tar`, not `files`"):
        build(storage, tmp_path, tmp_path / "x.tar", kind="files")
    with pytest.raises(ManifestError, match="no source"):
        build_manifest(storage, [], str(tmp_path / "o.parquet"))


def test_ground_truth_is_attached_and_unmatched_entries_are_reported(storage, tmp_path):
    make_files(tmp_path / "set", "x/a.jpg", "x/b.jpg", "x/c.jpg", "x/same.jpg", "y/same.jpg")
    (tmp_path / "gt.json").write_text(
        json.dumps(
            {
                "x/a.jpg": [[1, 2, 3, 4], [5, 5, 6, 6]],
                "b.jpg": [],
                "gone.jpg": [[0, 0, 1, 1]],
                "same.jpg": [[0, 0, 1, 1]],
            }
        )
    )
    report, rows = build(storage, tmp_path, tmp_path / "set", ground_truth=str(tmp_path / "gt.json"))
    by_id = {r.image_id: r.regions for r in rows}
    assert by_id["x/a.jpg"].boxes.tolist() == [[1, 2, 3, 4], [5, 5, 6, 6]]
    assert len(by_id["x/b.jpg"]) == 0
    assert by_id["x/c.jpg"] is None
    assert by_id["x/same.jpg"] is None
    assert by_id["y/same.jpg"] is None
    assert (report.labelled_count, report.regions_count) == (2, 2)
    assert (report.unmatched_count, report.unmatched_names) == (2, ("gone.jpg", "same.jpg"))
    (tmp_path / "gt.json").write_text('{"other.jpg": []}')
    with pytest.raises(ManifestError, match="matches no image"):
        build(storage, tmp_path, tmp_path / "set", ground_truth=str(tmp_path / "gt.json"))


def test_ground_truth_goes_before_regions_of_the_source(storage, tmp_path):
    face = {"x1": 9, "y1": 9, "x2": 10, "y2": 10}
    (tmp_path / "l.jsonl").write_text("\n".join(json.dumps({"uri": n, "faces": [face]}) for n in ("a.jpg", "b.jpg")))
    (tmp_path / "gt.csv").write_text("file,x1,y1,x2,y2\na.jpg,1,2,3,4\n")
    _, rows = build(storage, tmp_path, tmp_path / "l.jsonl", ground_truth=str(tmp_path / "gt.csv"))
    assert [r.regions.boxes.tolist() for r in rows] == [[[1, 2, 3, 4]], [[9, 9, 10, 10]]]


def test_regions_of_a_table_keep_labels_and_the_old_column_becomes_regions(storage, tmp_path):
    box = {"x1": 9, "y1": 9, "x2": 10, "y2": 10}
    rows = [{"uri": "a.jpg", "regions": [{**box, "label": "person", "keep": True}]}, {"uri": "b.jpg", "regions": []}]
    (tmp_path / "new.jsonl").write_text("\n".join(map(json.dumps, rows)))
    _, (a, b) = build(storage, tmp_path, tmp_path / "new.jsonl")
    assert (a.regions.labels, a.regions.keep.tolist(), len(b.regions)) == (("person",), [True], 0)
    (tmp_path / "old.jsonl").write_text(json.dumps({"uri": "a.jpg", "faces": [box]}))
    _, [row] = build(storage, tmp_path, tmp_path / "old.jsonl")
    assert (row.regions.labels, row.extra) == (("face",), {})
    assert "faces" not in pq.read_schema(tmp_path / "out.parquet").names


def test_small_pieces_become_whole_row_groups(storage, tmp_path, monkeypatch):
    monkeypatch.setattr(write, "ROW_GROUP_ROWS", 4)
    (tmp_path / "d").mkdir()
    for n in range(5):
        hub_file(tmp_path / f"d/{n}.parquet", [f"{n}-{i}.jpg" for i in range(3)])
    _, rows = build(storage, tmp_path, tmp_path / "d")
    assert [r.image_id for r in rows] == [f"{n}-{i}.jpg" for n in range(5) for i in range(3)]
    metadata = pq.read_metadata(tmp_path / "out.parquet")
    assert [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)] == [4, 4, 4, 3]
