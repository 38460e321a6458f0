"""Names of folders and files tell classes and splits as Hugging Face `datasets` reads them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pipeline_fixtures import image_bytes

from anon_batch.errors import ManifestError
from anon_batch.formats.features import class_names, read_features, to_metadata
from anon_batch.manifest.build import build_manifest
from anon_batch.manifest.importers.splits import split_of
from anon_batch.storage import Storage

IMAGE = image_bytes()


def build(base: Path, *sources: str, **options: Any) -> pa.Table:
    build_manifest(Storage(), [str(base / source) for source in sources], str(base / "m.parquet"), **options)
    return pq.read_table(base / "m.parquet")


def folder(base: Path, *paths: str) -> None:
    for path in paths:
        (base / "src" / path).parent.mkdir(parents=True, exist_ok=True)
        (base / "src" / path).write_bytes(IMAGE)


def named(table: pa.Table) -> dict[str, list[Any]]:
    """Return the columns, the class as its name."""
    names = class_names(read_features(table.schema.metadata).get("label", {"_type": "Value"}))
    columns = {name: table.column(name).to_pylist() for name in ("label", "split") if name in table.column_names}
    return {**columns, "label": [names[n] for n in columns["label"]]} if names else columns


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["b/1.png", "a/1.png", "a-b/1.png"], {"label": ["a-b", "a", "b"]}),
        (["x/b/1.png", "y/a/1.png"], {"label": ["b", "a"]}),
        (["a/1.png", "a/2.png"], {}),  # one class
        (["1.png", "2.png"], {}),
        (["a/1.png", "b/c/1.png"], {}),  # not equally deep
        (["a/1.png", "1.png"], {}),
        (["train/a/1.png", "val/b/1.png"], {"label": ["a", "b"], "split": ["train", "validation"]}),
        (["train/1.png", "test/1.png"], {"split": ["test", "train"]}),
        (["train/a/1.png", "train/b/1.png"], {"label": ["a", "b"]}),  # loaders call everything `train` by themselves
        (["test/a/1.png", "test/b/1.png"], {"label": ["a", "b"], "split": ["test", "test"]}),
        (["car/1.png", "train/1.png"], {"label": ["car", "train"]}),  # a class, not a split
    ],
)
def test_folders(tmp_path: Path, paths: list[str], expected: dict[str, list[Any]]) -> None:
    folder(tmp_path, *paths)
    assert named(build(tmp_path, "src")) == expected


def test_the_class_has_the_number_that_imagefolder_gives_it(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    folder(tmp_path, *(f"train/{name}/1.png" for name in ("b", "B", "a b", "a", "a-b", "é", "10", "9")))
    table = build(tmp_path, "src")
    rows = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "src"), cache_dir=str(tmp_path / "c"))["train"]
    assert class_names(read_features(table.schema.metadata)["label"]) == rows.features["label"].names
    assert table.column("label").to_pylist() == rows["label"][:]


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_a_file_that_describes_the_images_says_what_they_are(tmp_path: Path, name: str) -> None:
    folder(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "src" / name).write_text(
        '{"file_name": "a/1.png", "label": 7}\n' if name[-1] == "l" else "file_name\na/1.png\n"
    )
    assert named(build(tmp_path, "src")) == {}


def test_a_table_of_images_keeps_its_classes(tmp_path: Path) -> None:
    folder(tmp_path, "a/1.png", "b/1.png")
    features = to_metadata({"label": {"names": ["x", "y"], "_type": "ClassLabel"}})
    rows = pa.table({"file_name": ["a/1.png", "b/1.png"], "label": [1, 0]}).replace_schema_metadata(features)
    pq.write_table(rows, tmp_path / "src/metadata.parquet")
    assert named(build(tmp_path, "src/metadata.parquet")) == {"label": ["y", "x"]}


def test_columns_are_left_out_on_request(tmp_path: Path) -> None:
    folder(tmp_path, "train/a/1.png", "val/b/1.png")
    assert named(build(tmp_path, "src", renames={"label": None})) == {"split": ["train", "validation"]}
    assert named(build(tmp_path, "src", columns=["label"])) == {"label": ["a", "b"]}
    assert named(build(tmp_path, "src", columns=[])) == {}
    assert named(build(tmp_path, "src/train", "src/val")) == {}  # folders of several sources have no common place
    with pytest.raises(ManifestError, match="no column `labels`"):
        build(tmp_path, "src", renames={"labels": None})


def test_rows_that_are_left_out_do_not_shift_the_others(tmp_path: Path) -> None:
    folder(tmp_path, "a/1.png", "b/1.png", "b/2.png", "c/1.png")
    with tarfile.open(tmp_path / "src/b.tar", "w") as tar:
        info = tarfile.TarInfo("1.png")  # has the id of another image
        info.size = len(IMAGE)
        tar.addfile(info, io.BytesIO(IMAGE))
    table = build(tmp_path, "src")
    assert table.column("image_id").to_pylist() == ["a/1.png", "b/2.png", "c/1.png", "b/1.png"]
    assert named(table) == {"label": ["a", "b", "c", "b"]}


def parquet(base: Path, name: str, rows: dict[str, Any]) -> None:
    (base / "src" / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(rows), base / "src" / name)


def images(*paths: str) -> pa.Array:
    return pa.array([{"bytes": IMAGE, "path": path} for path in paths])


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["data/test-00000-of-00001.parquet", "data/train-00000-of-00001.parquet"], ["test", "train"]),
        (["data/extra-00000-of-00001.parquet", "data/train-00000-of-00001.parquet"], ["extra", "train"]),
        (["a/valid.parquet", "b/training.0.parquet"], ["validation", "train"]),
        (["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"], []),
        (["data/train-00000-of-00001.parquet", "other.parquet"], []),
    ],
)
def test_parquet_files(tmp_path: Path, names: list[str], splits: list[str]) -> None:
    for at, name in enumerate(names):
        parquet(tmp_path, name, {"image": images("1.png", "2.png") if splits else images(f"{at}.png", f"{at}b.png")})
    table = build(tmp_path, "src")
    assert table.column("image_id").to_pylist() == (
        [f"{split}/{n}.png" for split in splits for n in (1, 2)] or ["0.png", "0b.png", "1.png", "1b.png"]
    )
    assert named(table) == ({"split": [split for split in splits for _ in range(2)]} if splits else {})


def test_a_column_of_the_source_is_kept(tmp_path: Path) -> None:
    for split in ("test", "train"):
        parquet(tmp_path, f"{split}.parquet", {"image": images("1.png"), "split": ["its own"], "label": ["x"]})
    assert named(build(tmp_path, "src")) == {"split": ["its own"] * 2, "label": ["x"] * 2}


def test_shards_of_samples(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    for name in ("set-train-0000.tar", "set-val-0000.tar"):
        with tarfile.open(tmp_path / "src" / name, "w") as tar:
            for member, data in (("a.train.png", IMAGE), ("a.train.cls", b"1")):
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    assert named(build(tmp_path, "src", columns=["split"])) == {"split": ["train", "validation"]}


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train", "train"),
        ("train2014", "train"),
        ("my_val", "validation"),
        ("x/dev", "validation"),
        ("eval.v2", "test"),
        ("trainer", None),
        ("contest", None),
        ("Train", None),
        ("data/any.name-00000-of-00010-abcdef", "any.name"),
        ("more/any-00000-of-00010", None),
        ("", None),
    ],
)
def test_words_for_splits(path: str, split: str | None) -> None:
    assert split_of(path) == split


def test_files_that_disagree_about_classes_lose_their_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    datasets = pytest.importorskip("datasets")
    (tmp_path / "src").mkdir()
    for at, names in enumerate((["a", "b"], ["b", "a"])):
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
        rows = {"image": [{"bytes": IMAGE, "path": f"{at}.png"}], "label": [0]}
        datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / f"src/{at}.parquet")
    report = build_manifest(Storage(), [str(tmp_path / "src")], str(tmp_path / "m.parquet"))
    assert report.differing_columns == ("label",)
    assert named(pq.read_table(tmp_path / "m.parquet")) == {"label": [0, 0]}
