"""The recipes for COCO, Open Images and WIDER FACE, executed on miniatures."""

from __future__ import annotations

import shlex
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from recipes import boxed
from recipes.checks import check_files, check_leaks, check_rows
from recipes.cloud import Cloud
from recipes.commands import Made, commands, load, make
from recipes.hub import load_dataset
from recipes.photographs import photographs
from recipes.wider_reader import WIDERFace
from typer.testing import CliRunner

from anon_batch.cli.app import app

COCO_IDS = {f"{split}/{boxed.coco_name(at)}": name for split, own in boxed.COCO.items() for at, name in own.items()}
WIDER_IDS = {f"{path}.jpg": name for path, name in boxed.WIDER.items()}


@pytest.mark.full
def test_coco(tmp_path: Path, cloud: Cloud) -> None:
    boxed.write_coco(tmp_path / "made/coco")
    made = cloud.make("coco", tmp_path / "made")
    check_rows(made, list(COCO_IDS))
    assert [row["split"] for row in made.rows()] == ["train"] * 3 + ["validation"] * 4
    check_files(made, {image_id: photographs()[name] for image_id, name in COCO_IDS.items()})
    check_leaks(made, photographs().values(), ["flickr.com", "cocodataset.org"])
    splits = load_dataset(made.release, tmp_path / "cache")
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 3, "validation": 4}
    [example] = load(made, tmp_path / "load")
    coco = example.names["coco"]
    assert coco.getImgIds() == list(boxed.COCO["val2017"])
    for image in coco.loadImgs(coco.getImgIds()):
        width, height = photographs()[boxed.COCO["val2017"][image["id"]]].size
        annotations = coco.loadAnns(coco.getAnnIds(image["id"]))
        assert all(coco.annToRLE(own)["size"] == [height, width] for own in annotations)
        assert (made.release / "images/val2017" / image["file_name"]).exists()


@pytest.mark.full
def test_open_images(tmp_path: Path, cloud: Cloud) -> None:
    boxed.write_open_images(tmp_path / "made/open-images-dataset", tmp_path / "made/my-datasets/open-images")
    made = cloud.make("open-images", tmp_path / "made")
    ids = {f"{image_id}.jpg": photographs()[name] for image_id, name in boxed.OPEN_IMAGES.items()}
    check_rows(made, list(ids))
    check_files(made, ids)
    marked = [len(row["regions"] or ()) for row in made.manifest()]
    assert marked == [len(source.faces) for source in ids.values()]
    check_leaks(made, ids.values(), ["flickr.com", boxed.AUTHOR, "KFukvivp"])
    [example] = load(made, tmp_path / "load")
    boxes = example.names["boxes"]
    assert len(boxes) == sum(len(source.faces) + 1 for source in ids.values())
    assert [line.split()[0] for line in example.printed] == [
        f"open-images-anon/images/{box['ImageID']}.jpg" for box in boxes
    ]


@pytest.mark.full
def test_wider(tmp_path: Path, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    boxed.write_wider(tmp_path / "made/WIDER")
    check_wider(cloud.make("wider", tmp_path / "made"), tmp_path, monkeypatch)


def test_wider_in_this_process(tmp_path: Path, here: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    boxed.write_wider(tmp_path / "made/WIDER")
    check_wider(make("wider", tmp_path / "made", here), tmp_path, monkeypatch)


def test_a_part_of_a_dataset_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boxed.write_wider(tmp_path / "WIDER")
    (tmp_path / "WIDER/WIDER_val/images/0--Parade/0_Parade_marchingband_1_465.jpg").unlink()
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, shlex.split(commands("wider")[0])[1:])
    assert "--expect wider-face-val: 3 images instead of 4" in str(done.exception)
    assert not (tmp_path / "wider-val.parquet").exists()


def check_wider(made: Made, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check a release, and that the reader of the field finds the same faces in it."""
    check_rows(made, list(WIDER_IDS))
    assert [row["event"] for row in made.rows()] == [image_id.partition("/")[0] for image_id in WIDER_IDS]
    check_files(made, {image_id: photographs()[name] for image_id, name in WIDER_IDS.items()})
    check_leaks(made, photographs().values(), ())
    module = types.SimpleNamespace(WIDERFace=lambda root, split: WIDERFace(Path(root), split))
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", module)
    [example] = load(made, folder / "load")
    sizes = [photographs()[name].size for name in WIDER_IDS.values()]
    assert example.printed == [f"{size} {faces}" for size, faces in zip(sizes, [7, 1, 1, 1], strict=True)]
