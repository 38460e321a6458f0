from __future__ import annotations

import json
import unicodedata

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anon_batch.errors import ConfigError, ManifestError
from anon_batch.formats.features import class_names, read_features
from anon_batch.manifest import build_manifest, open_manifest, rows_from_table
from anon_batch.manifest.joins import IdTemplate, Join, Shaping


def make_files(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def build(storage, folder, *sources, joins=(), on=(), classes=(), ids=None, **options):
    shaping = Shaping(
        Join.parse([str(j) for j in joins], list(on)),
        classes=tuple(classes),
        ids=None if ids is None else IdTemplate.parse(ids),
    )
    out = f"{folder}/out.parquet"
    report = build_manifest(storage, [str(s) for s in sources], out, shaping=shaping, **options)
    opened = open_manifest(storage, out)
    rows = [row for table in opened.iter_tables() for row in rows_from_table(table, 0)]
    return report, {row.image_id: dict(row.extra) for row in rows}, opened


def features(opened):
    return {name: class_names(own) for name, own in read_features(opened.extra_schema.metadata).items()}


@pytest.fixture
def images(tmp_path):
    make_files(tmp_path / "set", "a/1.jpg", "a/2.jpg", "b/3.JPEG", "b/4.png")
    return tmp_path / "set"


TABLES = {
    "t.csv": "file_name,age\na/1.jpg,31\na/2.jpg,\n",
    "t.tsv": "file_name\tage\na/1.jpg\t31\na/2.jpg\t\n",
    "t.jsonl": '{"file_name": "a/1.jpg", "age": "31"}\n{"file_name": "a/2.jpg", "age": ""}\n',
}


@pytest.mark.parametrize("name", [*TABLES, "t.parquet"])
def test_columns_of_every_kind_of_table_are_added(storage, tmp_path, images, name):
    if name in TABLES:
        (tmp_path / name).write_text(TABLES[name])
    else:
        pq.write_table(pa.table({"file_name": ["a/1.jpg", "a/2.jpg"], "age": ["31", ""]}), tmp_path / name)
    report, rows, _ = build(storage, tmp_path, images, joins=[tmp_path / name], columns=["age"])
    assert {i: row["age"] for i, row in rows.items()} == {
        "a/1.jpg": "31",
        "a/2.jpg": "",
        "b/3.JPEG": None,
        "b/4.png": None,
    }
    [join] = report.joins
    assert (join.key, join.columns, join.lines_count, join.matched_count) == ("file_name", ("age",), 2, 2)
    assert (join.alone_count, join.alone_names, join.unused_count) == (2, ("b/3.JPEG", "b/4.png"), 0)


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("a/1.jpg", "a/1.jpg"),  # the id
        ("./a/1.jpg", "a/1.jpg"),
        ("a\\1.jpg", "a/1.jpg"),
        ("a/1", "a/1.jpg"),  # without suffix
        ("1.jpg", "a/1.jpg"),  # the file name
        ("elsewhere/1.jpg", "a/1.jpg"),
        ("3", "b/3.JPEG"),  # its stem
        ("b/3.jpg", "b/3.JPEG"),
        ("x/3.jpeg", "b/3.JPEG"),
        ("4.jpg", None),  # another file than 4.png
        ("5", None),
        ("", None),
    ],
)
def test_keys_are_compared_as_ids_are(storage, tmp_path, images, key, found):
    (tmp_path / "t.jsonl").write_text(
        "".join(json.dumps({"file": k, "x": x}) + "\n" for k, x in ((key, "y"), ("a/2.jpg", "z")))
    )
    _, rows, _ = build(storage, tmp_path, images, joins=[tmp_path / "t.jsonl"])
    assert [image_id for image_id, row in rows.items() if row["x"] == "y"] == ([] if found is None else [found])


def test_names_that_fit_several_images_or_lines_fit_none(storage, tmp_path):
    make_files(tmp_path / "set", "a/1.jpg", "b/1.jpg", "c/2.jpg", "d/3.jpg", "d/4.jpg")
    (tmp_path / "t.csv").write_text("file,x\n1.jpg,one\nq/2.jpg,two\nr/2.jpg,two\nd/3.jpg,three\n3.jpg,other\n4,four\n")
    report, rows, _ = build(storage, tmp_path, tmp_path / "set", joins=[tmp_path / "t.csv"])
    assert {i: row["x"] for i, row in rows.items() if row["x"]} == {"d/3.jpg": "three", "d/4.jpg": "four"}
    assert report.joins[0].unused_names == ("1.jpg", "q/2.jpg", "r/2.jpg", "3.jpg")


def test_accents_are_compared_in_either_form(storage, tmp_path):
    make_files(tmp_path / "set", unicodedata.normalize("NFD", "é.jpg"), "b.jpg")
    (tmp_path / "t.csv").write_text(f"file,x\n{unicodedata.normalize('NFC', 'é')}.jpg,1\n", encoding="utf-8")
    report, _, _ = build(storage, tmp_path, tmp_path / "set", joins=[tmp_path / "t.csv"])
    assert report.joins[0].matched_count == 1


def test_a_column_of_the_images_may_be_compared(storage, tmp_path):
    make_files(tmp_path / "set", "1.jpg", "2.jpg", "3.jpg")
    (tmp_path / "set.csv").write_text(
        'file_name,camera,json\nset/1.jpg,k,"{""uid"": 7}"\nset/2.jpg,k,{}\nset/3.jpg,,\n'
    )
    (tmp_path / "cameras.csv").write_text("name,maker\nk,Acme\n,nobody\n")
    pq.write_table(pa.table({"uid": [7, 8], "score": [0.5, 0.7]}), tmp_path / "u.parquet")
    report, rows, _ = build(
        storage,
        tmp_path,
        tmp_path / "set.csv",
        joins=[tmp_path / "cameras.csv", tmp_path / "u.parquet"],
        on=["camera=name", "json.uid=uid"],
    )
    assert [(row["maker"], row["score"]) for row in rows.values()] == [("Acme", 0.5), ("Acme", None), (None, None)]
    assert [join.unused_names for join in report.joins] == [("",), ("8",)]


def test_addresses_may_be_compared(storage, tmp_path):
    (tmp_path / "list.csv").write_text("url,n\nhttps://h/1.jpg,1\nhttps://h/2.jpg,2\n")
    (tmp_path / "t.csv").write_text("link,x\nhttps://h/2.jpg,two\n")
    _, rows, _ = build(storage, tmp_path, tmp_path / "list.csv", joins=[tmp_path / "t.csv"], on=["uri=link"])
    assert [row["x"] for row in rows.values()] == [None, "two"]


def test_a_pattern_joins_several_tables(storage, tmp_path, images):
    for part, key in enumerate(("1", "2")):
        pq.write_table(pa.table({"key": [key], "n": [part]}), tmp_path / f"p{part}.parquet")
    _, rows, _ = build(storage, tmp_path, images, joins=[tmp_path / "p*.parquet"])
    assert [row["n"] for row in rows.values()] == [0, 1, None, None]


def test_thousands_of_lines_in_another_order_find_their_images(storage, tmp_path):
    count = 20_000
    ids = [f"d{i % 7}/{i:05d}.jpg" for i in range(count)]
    pq.write_table(pa.table({"uri": [f"s3://b/{i}" for i in ids], "image_id": ids}), tmp_path / "images.parquet")
    order = [(i * 7919) % count for i in range(count)]
    pq.write_table(
        pa.table({"stem": [ids[i].split("/")[1][:-4] for i in order], "n": order, "l": [[i] for i in order]}),
        tmp_path / "t.parquet",
    )
    report, rows, _ = build(storage, tmp_path, tmp_path / "images.parquet", joins=[tmp_path / "t.parquet"], on=["stem"])
    assert [row["n"] for row in rows.values()] == list(range(count))
    assert [row["l"] for row in rows.values()] == [[i] for i in range(count)]
    assert report.joins[0].unused_count == 0


def test_new_ids_and_the_classes_of_their_folders(storage, tmp_path):
    make_files(tmp_path / "set", "v_1.JPEG", "v_2.JPEG", "v_3.JPEG")
    (tmp_path / "t.csv").write_text("file,wnid\nv_1,n2\nv_2,n1\nv_3,n2\n")
    _, rows, opened = build(
        storage, tmp_path, tmp_path / "set", joins=[tmp_path / "t.csv"], ids="val/{wnid}/{name}", columns=["label"]
    )
    assert rows == {"val/n2/v_1.JPEG": {"label": 1}, "val/n1/v_2.JPEG": {"label": 0}, "val/n2/v_3.JPEG": {"label": 1}}
    assert features(opened) == {"label": ["n1", "n2"]}


def test_a_column_of_texts_becomes_classes(storage, tmp_path, images):
    (tmp_path / "t.csv").write_text("file,kind,other\n1,zebra,1\n2,ant,2\n3,,3\n4,zebra,4\n")
    _, rows, opened = build(storage, tmp_path, images, joins=[tmp_path / "t.csv"], classes=["kind"], columns=[])
    assert [row["kind"] for row in rows.values()] == [1, 0, None, 1]
    assert features(opened) == {"kind": ["ant", "zebra"]}


def test_a_joined_label_comes_before_that_of_the_folders(storage, tmp_path, images):
    (tmp_path / "t.csv").write_text("file,label\n1,zebra\n2,ant\n3,ant\n4,ant\n")
    _, rows, opened = build(storage, tmp_path, images, joins=[tmp_path / "t.csv"], classes=["label"])
    assert [row["label"] for row in rows.values()] == [1, 0, 0, 0]
    assert features(opened) == {"label": ["ant", "zebra"]}


def test_columns_with_another_meaning_get_other_names(storage, tmp_path, images):
    pq.write_table(
        pa.table(
            {"file": ["1", "2"], "uri": ["x", "y"], "size_bytes": [1, 2], "thumb": [b"1", b"2"], "status": ["ok", "ok"]}
        ),
        tmp_path / "t.parquet",
    )
    report, rows, _ = build(storage, tmp_path, images, joins=[tmp_path / "t.parquet"])
    assert rows["a/1.jpg"] == {"joined_uri": "x", "joined_size_bytes": 1, "source_status": "ok", "label": 0}
    assert "thumb" in report.dropped_columns
    assert report.renamed_columns == {"uri": "joined_uri", "size_bytes": "joined_size_bytes", "status": "source_status"}


FAULTS = {
    "twice": ("file,x\na/1.jpg,1\na/2.jpg,2\na/1.jpg,3\n", {}, "'a/1.jpg' in lines 1 and 3"),
    "no key": ("x,y\n1,2\n", {}, "no column of names of images"),
    "wrong key": ("file,y\n1,2\n", {"on": ["name"]}, "no column `name`; name one with --on: file, y"),
    "wrong column": ("file,y\n1,2\n", {"on": ["cam=file"]}, "the images have no column `cam`"),
    "no line": ("file,y\n", {}, "the table has no line"),
    "nothing fits": ("file,y\nq,2\n", {}, "its first `file` is 'q', the first `image_id` of the images is 'a/1.jpg'"),
    "strict": ("file,y\n1,2\nq,3\n", {"strict": True}, "3 images without a line: a/2.jpg.*1 line without an image: q; noth"),
    "no id": ("file,y\n1,2\n", {"ids": "{y}/{name}"}, "3 of 4 images have no value in one of its columns.*'a/2.jpg'"),
    "unknown id": ("file,y\n1,2\n", {"ids": "{z}"}, "--id {z}: no column `z`"),
    "equal ids": ("file,y\n1,k\n2,k\n3,k\n4,q\n", {"ids": "{y}.jpg"}, "image_id appears more than once"),
    "unsafe ids": ("file,y\n1,../k\n2,b\n3,c\n4,d\n", {"ids": "{y}/{name}"}, "cannot name an output"),
    "no classes": ("file,y\n1,2\n", {"classes": ["z"]}, "--classes z: no such column"),
    "ragged": ("file,y\n1,2,3\n", {}, "line 2: expected 2 values"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_faults_are_named_and_nothing_is_written(storage, tmp_path, images, case):
    text, options, message = FAULTS[case]
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ManifestError, match=message):
        build(storage, tmp_path, images, joins=[tmp_path / "t.csv"], **options)
    assert not (tmp_path / "out.parquet").exists()


def test_a_column_that_the_images_have_already_is_refused(storage, tmp_path):
    make_files(tmp_path / "set", "1.jpg")
    (tmp_path / "set.csv").write_text("file_name,x\nset/1.jpg,1\n")
    (tmp_path / "t.csv").write_text("file,x\n1,2\n")
    with pytest.raises(ManifestError, match="the images have a column `x` already; --ignore x"):
        build(storage, tmp_path, tmp_path / "set.csv", joins=[tmp_path / "t.csv"])
    _, rows, _ = build(storage, tmp_path, tmp_path / "set.csv", joins=[tmp_path / "t.csv"], renames={"x": None})
    assert rows == {"set/1.jpg": {"x": "2"}}


@pytest.mark.parametrize("given", ["missing.csv", "t.csv.gz", "*.csv", "folder"])
def test_what_is_no_table_is_refused(storage, tmp_path, images, given):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ManifestError, match="--join"):
        build(storage, tmp_path, images, joins=[tmp_path / given])


@pytest.mark.parametrize(
    ("joins", "on", "message"),
    [
        ([], ["k"], "--join"),
        (["a", "b"], ["k", "l", "m"], "3 times"),
        (["a"], ["=k"], "expected KEY"),
        (["a"], ["k="], "expected KEY"),
    ],
)
def test_options_that_do_not_fit_are_refused(joins, on, message):
    with pytest.raises(ConfigError, match=message):
        Join.parse(joins, on)


@pytest.mark.parametrize("text", ["plain", "{", "{}", "{a!r}", "{a:>3}", ""])
def test_templates_that_name_no_column_are_refused(text):
    with pytest.raises(ConfigError, match="--id"):
        IdTemplate.parse(text)
