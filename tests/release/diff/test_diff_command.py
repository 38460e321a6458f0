"""`anon-batch diff`: releases that are twins of their source, and every way in which they may not be."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pipeline_fixtures import image_bytes, job, release, write_dataset
from typer.testing import CliRunner

from anon_batch.cli.app import app
from anon_batch.formats.features import to_metadata

IDS = [f"{'train' if n < 5 else 'val'}/{n}.png" for n in range(8)]
PIXELS = 24 * 20
LAYOUTS = ("files", "webdataset", "parquet")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diff")
    write_dataset(str(folder), IDS, label=pa.array([f"class {n % 3}" for n in range(8)]))
    for layout in LAYOUTS:
        release(job(str(folder), layout, write__layout=layout))
    return folder


@pytest.fixture
def copy(base, tmp_path):
    """Return a copy of sources, manifest and releases, which a test may damage; the manifest names the copied sources."""
    shutil.copytree(base, tmp_path / "c")
    rewrite(tmp_path / "c", lambda table: table)
    return tmp_path / "c"


def rewrite(folder, change):
    table = pq.read_table(folder / "m.parquet")
    uris = pa.array([str(folder / "src" / image_id) for image_id in table.column("image_id").to_pylist()])
    table = table.set_column(table.column_names.index("uri"), "uri", uris)
    pq.write_table(change(table), folder / "m.parquet")


def diff(folder: Path, layout="files", *args, code=0):
    done = CliRunner().invoke(app, ["diff", str(folder / "m.parquet"), str(folder / layout), "--json", *args])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_release_is_a_twin_of_its_source(base, layout):
    found = diff(base, layout)
    assert found["counts"] == {
        "source": 8,
        "released": 8,
        "anonymized": 4,
        "clean": 4,
        "changed in regions": 4,
        "equal": 4,
    }
    assert {name: own["source"] for name, own in found["groups"].items()} == {"class 0": 3, "class 1": 3, "class 2": 2}
    assert found["faults_count"] == 0
    assert 0 < found["pixels_in_regions"] < found["pixels"] == 8 * PIXELS
    assert found["share_in_regions"] == found["pixels_in_regions"] / found["pixels"]


def test_regions_that_were_enlarged_to_whole_images_are_shown(copy):
    for part in (copy / "files/provenance").rglob("*.parquet"):
        table = pq.read_table(part)
        rows = table.to_pylist()
        for row in rows:
            for region in row["regions"] or ():
                region.update(x1=0, y1=0, x2=row["width"], y2=row["height"])
        pq.write_table(pa.Table.from_pylist(rows, table.schema), part)
    found = diff(copy)
    assert found["counts"]["mostly in regions"] == 4
    assert found["share_in_regions"] == 0.5
    done = CliRunner().invoke(app, ["diff", str(copy / "m.parquet"), str(copy / "files")])
    assert "regions hold 50.0 % of these images' pixels, which are not compared" in " ".join(done.stdout.split())


def test_groups_come_from_the_named_columns_or_the_folders(copy):
    assert set(diff(copy, "files", "--by", "label")["groups"]) == {"class 0", "class 1", "class 2"}
    rewrite(copy, lambda table: table.drop_columns(["label"]))
    groups = diff(copy)["groups"]
    assert {name: own["released"] for name, own in groups.items()} == {"train": 5, "val": 3}


def test_another_value_of_a_column_is_noticed(copy):
    for part in (copy / "files/provenance").rglob("*.parquet"):
        table = pq.read_table(part)
        labels = ["another" if own == IDS[3] else label for own, label in zip(*columns_of(table), strict=True)]
        labels = [None if own == IDS[5] else label for own, label in zip(columns_of(table)[0], labels, strict=True)]
        pq.write_table(table.set_column(table.column_names.index("label"), "label", pa.array(labels)), part)
    found = diff(copy, code=3)
    assert (found["names"], found["counts"]["other values"]) == ({"other values": [IDS[3]]}, 1)  # one was left out


def columns_of(table):
    return [table.column(name).to_pylist() for name in ("image_id", "label")]


@pytest.fixture
def classes(tmp_path):
    names = ["cat\x1b[31m", "[bold]dog", "a@example.com", *(f"class of {n}" for n in range(9))]
    features = to_metadata({"label": {"names": names, "_type": "ClassLabel"}})
    write_dataset(str(tmp_path), IDS, label=pa.array([n % 3 for n in range(8)]), score=pa.array([float("nan")] * 8))
    pq.write_table(pq.read_table(tmp_path / "m.parquet").replace_schema_metadata(features), tmp_path / "m.parquet")
    release(job(str(tmp_path), "files"))
    return tmp_path, names


def test_classes_are_shown_by_their_names(classes):
    folder, names = classes
    groups = diff(folder)["groups"]
    assert {name: own["source"] for name, own in groups.items()} == {names[0]: 3, names[1]: 3, names[2]: 2}
    done = CliRunner().invoke(app, ["diff", str(folder / "m.parquet"), str(folder / "files")])
    assert " [bold]dog " in done.stdout
    assert "\x1b" not in done.stdout


def test_other_names_of_classes_are_noticed(classes):
    folder, names = classes
    features = to_metadata({"label": {"names": names[::-1], "_type": "ClassLabel"}})
    pq.write_table(pq.read_table(folder / "m.parquet").replace_schema_metadata(features), folder / "m.parquet")
    assert diff(folder, code=3)["names"] == {"other class names": ["label"]}


def test_the_terminal_says_it_in_plain_words(base):
    done = CliRunner().invoke(app, ["diff", str(base / "m.parquet"), str(base / "files")])
    assert "8 rows in the source, 8 in the release, in the same order" in done.stdout
    assert done.stdout.rstrip().endswith("only pixels inside the regions changed")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_source_that_is_not_the_one_of_the_release_is_noticed(copy, layout):
    pixels = np.array(Image.open(copy / "src/val/6.png"))
    pixels[-1, -1] ^= 1
    Image.fromarray(pixels).save(copy / "src/val/6.png")
    (copy / "src/val/5.png").write_bytes(image_bytes(5, size=(20, 24)))
    (copy / "src/train/0.png").unlink()
    found = diff(copy, layout, code=3)
    assert found["names"] == {
        "changed outside": ["val/6.png"],
        "other size": ["val/5.png"],
        "source unreadable": ["train/0.png"],
    }


def test_a_digest_of_the_manifest_is_compared(copy):
    rewrite(copy, lambda table: table.append_column("sha256", pa.array(["0" * 64] * 8)))
    found = diff(copy, code=3)
    assert found["counts"]["source changed"] == 8


def test_an_output_that_was_changed_or_lost_is_named(copy):
    (copy / "files/images/train/1.png").unlink()
    (copy / "files/images/val/7.png").write_bytes(image_bytes(1))
    assert diff(copy, code=3)["names"] == {"output damaged": ["train/1.png", "val/7.png"]}
    [tar] = [path for path in (copy / "webdataset/shards").iterdir() if path.name.startswith("0000000004")]
    tar.write_bytes(tar.read_bytes()[:700])
    found = diff(copy, "webdataset", code=3)["names"]["output damaged"]
    tar.unlink()  # because all releases are scanned in the end
    assert 1 <= len(found) <= 4
    assert set(found) <= set(IDS[4:])


def test_rows_that_are_missing_foreign_or_in_another_order_are_named(copy):
    whole = pq.read_table(copy / "m.parquet")
    write = lambda table: pq.write_table(table, copy / "m.parquet")  # noqa: E731
    write(whole.slice(0, 7))
    assert diff(copy, code=3)["names"] == {"not in the source": ["val/7.png"]}
    renamed = whole.set_column(0, "image_id", pa.array(["new.png", *IDS[1:]]))
    write(renamed)
    found = diff(copy, code=3)
    assert found["names"]["missing"][0] == "new.png"
    write(whole.take([1, 0, *range(2, 8)]))
    assert diff(copy, code=3)["faults_count"] > 0


def test_a_release_of_a_sample_may_lack_rows(copy):
    run = release(job(str(copy), "sample", sample__limit=3))
    found = diff(copy, Path(run.release.uri).name)
    assert (found["is_part"], found["counts"]["missing"], found["counts"]["released"]) == (True, 5, 3)


def test_withheld_and_failed_rows_are_counted_with_their_reasons(copy):
    (copy / "src/train/2.png").write_bytes(b"no image")
    release(job(str(copy), "lossy"))
    found = diff(copy, "lossy")
    assert found["counts"]["failed:unsupported_format"] == 1
    assert found["groups"]["class 2"] == {"source": 2, "released": 2, "failed": 1, "clean": 1, "equal": 1}


def test_a_share_of_the_pixels_is_compared_and_all_rows(base):
    found = diff(base, "files", "--share", "0")
    assert found["counts"] == {"source": 8, "released": 8, "anonymized": 4, "clean": 4}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nowhere.parquet", "files"], "no manifest at"),
        (["m.parquet", "nowhere"], "no release here"),
        (["m.parquet", "files", "--by", "colour"], "--by colour: no such column; the manifest has label"),
    ],
)
def test_wrong_arguments_are_explained(base, args, said, monkeypatch):
    monkeypatch.chdir(base)
    done = CliRunner().invoke(app, ["diff", *args])
    assert said in str(done.exception)


def test_an_unfinished_release_is_refused(copy):
    record = json.loads((copy / "files/run.json").read_text())
    record.update(state="running")
    (copy / "files/run.json").write_text(json.dumps(record))
    done = CliRunner().invoke(app, ["diff", str(copy / "m.parquet"), str(copy / "files")])
    assert "not finished" in str(done.exception) or "unfinished" in str(done.exception)


def test_an_image_of_another_format_is_compared_by_content(tmp_path):
    y, x = np.mgrid[:64, :64]
    smooth = np.stack([x * 2, y * 2, x + y], axis=2).astype(np.uint8)
    write_dataset(str(tmp_path), ["0.png", "1.png"])
    for name in ("0.png", "1.png"):
        buffer = io.BytesIO()
        Image.fromarray(smooth).save(buffer, "PNG")
        (tmp_path / "src" / name).write_bytes(buffer.getvalue())
    release(job(str(tmp_path), "jpeg", write__format="jpeg"))
    found = diff(tmp_path, "jpeg")
    assert found["counts"]["encoded again"] == 2
    smooth[40:60, 40:60] = 255
    Image.fromarray(smooth).save(tmp_path / "src/1.png")
    assert diff(tmp_path, "jpeg", code=3)["names"] == {"changed outside": ["1.png"]}


def test_a_release_without_an_image_says_that_no_pixels_were_compared(tmp_path):
    write_dataset(str(tmp_path), IDS[:1])
    (tmp_path / "src" / IDS[0]).write_bytes(b"no image")
    release(job(str(tmp_path), "lossy"))
    done = CliRunner().invoke(app, ["diff", str(tmp_path / "m.parquet"), str(tmp_path / "lossy")])
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == "no row differs, and no pixels were compared"


def erase(folder: Path, layout: str, *ids: str) -> None:
    named = [word for image_id in ids for word in ("--ids", image_id)]
    done = CliRunner().invoke(app, ["erase", str(folder / layout), *named, "--yes"])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("layout", "gone"), [("files", IDS[:1]), ("webdataset", IDS[3:6]), ("parquet", [IDS[1], IDS[7]])]
)
def test_erased_rows_are_not_lost(copy, layout, gone):
    erase(copy, layout, *gone)
    left = len(IDS) - len(gone)
    found = diff(copy, layout)
    counts = found["counts"]
    assert (counts["source"], counts["released"], counts["erased"]) == (8, 8, len(gone))
    assert sum(own["erased"] for own in found["groups"].values() if "erased" in own) == len(gone)
    assert (found["faults_count"], "missing" in counts) == (0, False)
    assert counts["equal"] + counts["changed in regions"] == left
    rewrite(copy, lambda table: table.filter(pa.array([own not in gone for own in IDS])))  # as the owner should do
    counts = diff(copy, layout)["counts"]
    assert (counts["source"], counts["released"], counts["erased"]) == (left, 8, len(gone))
    done = CliRunner().invoke(app, ["diff", str(copy / "m.parquet"), str(copy / layout)])
    assert f"erased since {len(gone):>20}" in done.stdout


def test_erased_rows_of_a_sample_stand_for_no_row(copy):
    place = Path(release(job(str(copy), "part", sample__limit=5)).release.uri).name
    part = min((copy / place / "provenance").iterdir())
    erase(copy, place, pq.read_table(part).column("image_id")[1].as_py())
    counts = diff(copy, place)["counts"]
    assert (counts["released"], counts["erased"], counts["missing"]) == (5, 1, 4)
