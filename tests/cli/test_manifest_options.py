"""`anon-batch manifest` with tables, boxes and expectations, as a user types it, up to the folders that loaders read."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from folder_readers import image_folder
from ilsvrc_devkit import write_devkit
from pipeline_fixtures import image_bytes, job, release
from releases import RUN_KEY

from anon_batch import cli

NAMES = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, 7)]


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    def main(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(
            sys, "argv", ["anon-batch", "manifest", str(tmp_path / "set"), "-o", str(tmp_path / "m.parquet"), *args]
        )
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return int(ended.value.code or 0), " ".join(said.out.split()), " ".join(said.err.split())

    return main


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "set").mkdir()
    for number, name in enumerate(NAMES):
        (tmp_path / "set" / name).write_bytes(image_bytes(number, "JPEG"))
    (tmp_path / "key").write_bytes(RUN_KEY)
    return tmp_path


def test_validation_images_are_released_in_the_folders_of_their_classes(main: Any, images: Path) -> None:
    kit = write_devkit(images / "kit.tar.gz", (1, 2, 3, 1, 2, 2))
    (images / "faces.json").write_text(json.dumps({name: [] for name in NAMES}))
    classes = ("--join", f"ilsvrc-devkit:{kit}", "--id", "val/{wnid}/{name}", "--columns", "label,split")
    code, out, err = main(*classes, "--ground-truth", str(images / "faces.json"))
    assert code == 0, err
    assert f"6 images with a line of ilsvrc-devkit:{kit}: wnid" in out
    assert "columns published: label, split" in out
    release(job(str(images), detect__detectors=["manifest"]))
    found = image_folder(images / "out/images/val")
    assert found.class_to_idx == {"n01440764": 0, "n02119789": 1, "n15075141": 2}
    assert found.samples == [
        *[(f"n01440764/{NAMES[at]}", 0) for at in (1, 4, 5)],
        *[(f"n02119789/{NAMES[at]}", 1) for at in (0, 3)],
        (f"n15075141/{NAMES[2]}", 2),
    ]


def test_a_copy_without_an_image_is_refused_by_name(main: Any, images: Path) -> None:
    (images / "ids.txt").write_text("\n".join(NAMES))
    code, out, _ = main("--expect", str(images / "ids.txt"))
    assert code == 0
    assert f"as expected: {images / 'ids.txt'}" in out
    (images / "m.parquet").unlink()
    (images / "set" / NAMES[3]).unlink()
    code, out, err = main("--expect", str(images / "ids.txt"))
    assert (code, out) == (2, "")
    assert f"1 image missing: {NAMES[3]}" in err
    assert not (images / "m.parquet").exists()


def test_what_has_no_partner_is_named_and_strict_refuses_it(main: Any, images: Path) -> None:
    (images / "t 'a'.csv").write_text(f'file,breed\n{NAMES[0]},"a ""dog"", black"\nother.jpg,cat\n')
    code, out, err = main("--join", str(images / "t 'a'.csv"), "--rename", "breed=label", "--classes", "label")
    assert code == 0
    assert "1 images with a line of" in out
    assert (
        f"5 images without a line: {NAMES[1]}, {NAMES[2]}, {NAMES[3]}, and 2 more; 1 line without an image: other.jpg"
        in err
    )
    (images / "m.parquet").unlink()
    code, _, err = main("--join", str(images / "t 'a'.csv"), "--strict")
    assert code == 2
    assert "nothing is written" in err
    assert not (images / "m.parquet").exists()


def test_boxes_of_a_table_are_released_as_regions(main: Any, images: Path) -> None:
    boxes = pa.array([[[0.25, 0.25, 0.5, 0.75]], [], *([None] * 4)], pa.list_(pa.list_(pa.float64())))
    pq.write_table(
        pa.table({"key": [name.removesuffix(".JPEG") for name in NAMES], "face_bboxes": boxes}), images / "b.parquet"
    )
    options = (
        "--join",
        str(images / "b.parquet"),
        "--regions-from",
        "face_bboxes",
        "--regions-format",
        "xyxy_normalised",
    )
    code, out, err = main(*options, "--json")
    assert code == 0, err
    assert (json.loads(out)["labelled_count"], json.loads(out)["regions_count"]) == (2, 1)
    release(job(str(images), detect__detectors=["manifest"]))
    [part] = (images / "out/provenance").glob("0000000000-*")
    regions = pq.read_table(part).column("regions").to_pylist()
    assert [len(own or ()) for own in regions[:2]] == [1, 0]
    assert regions[0][0]["x1"] <= 6 < 12 <= regions[0][0]["x2"]  # 24 x 20 px


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--on", "key"], "give the table with --join"),
        (["--regions-format", "xywh"], "give one of them"),
        (["--regions-format", "yolo"], "is not one of"),
        (["--regions-from", "boxes"], "no such column; columns: none"),
        (["--regions-from", "boxes", "--label", "a=b"], "have no category"),
        (["--id", "plain"], "names no column"),
        (["--expect", "imagenet-1k"], "did you mean imagenet-1k-"),
        (["--join", "/nowhere.csv"], "there is no such table"),
        (["--join", "ilsvrc-devkit:/nowhere.tar.gz"], "there is no such file"),
        (["--classes", "kind"], "--classes kind: no such column"),
    ],
)
def test_options_that_cannot_work_say_why(main: Any, images: Path, options: list[str], said: str) -> None:
    code, _, err = main(*options)
    assert code == 2
    assert said in err
    assert not (images / "m.parquet").exists()
