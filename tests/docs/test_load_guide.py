"""The examples of the guide to loading run on releases in every layout that they name."""

from __future__ import annotations

import gc
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import pytest
from document_blocks import blocks
from folder_readers import image_folder, timm_folder
from tar_readers import timm_wds
from twins import drawn, publish

PAGE = "docs/guides/load.md"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the guide describes it, with a release of it in each layout."""
    folder = tmp_path_factory.mktemp("load")
    names = [f"{split}/{name}/{n}.jpg" for split in ("train", "val") for name in ("cat", "dog") for n in "12"]
    for number, path in enumerate(names):
        (folder / "photos" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "photos" / path).write_bytes(drawn(number))
    for layout in ("files", "parquet", "webdataset"):
        publish(folder, folder / "photos", layout)
    return folder


@pytest.fixture(autouse=True)
def tools(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offer stand-ins of tools that are too large to be installed for tests; see `folder_readers`."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    reader = types.SimpleNamespace(create_dataset=lambda _, root: types.SimpleNamespace(reader=timm_folder(Path(root))))
    folder = types.SimpleNamespace(ImageFolder=lambda root: image_folder(Path(root)))
    for name, module in {"torchvision.datasets": folder, "timm.data": reader}.items():
        monkeypatch.setitem(sys.modules, name.partition(".")[0], types.ModuleType(name.partition(".")[0]))
        monkeypatch.setitem(sys.modules, name, module)
    (tmp_path / "release").symlink_to(base / "files")
    monkeypatch.chdir(tmp_path)


def run(*imported: str) -> dict[str, Any]:
    """Execute the blocks of the page that import all these; return their names."""
    names: dict[str, Any] = {"__name__": "example"}
    found = [code for page, code in blocks("load", "python") if page == PAGE and all(name in code for name in imported)]
    assert found
    for code in found:
        exec(compile(code, PAGE, "exec"), names)
    return names


@pytest.mark.parametrize("layout", ["files", "parquet"])
def test_hugging_face(base: Path, layout: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("release").unlink()
    Path("release").symlink_to(base / layout)
    dataset = run("dataset = load_dataset")["dataset"]
    assert {split: rows.num_rows for split, rows in dataset.items()} == {"train": 4, "validation": 4}
    assert capsys.readouterr().out == "cat (40, 32)\n"


@pytest.mark.parametrize("tool", ["torchvision", 'create_dataset("", '], ids=["torchvision", "timm"])
def test_image_folders(tool: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(tool)
    assert capsys.readouterr().out == "{'cat': 0, 'dog': 1}\n"


def test_tars(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    Path("release").unlink()
    Path("release").symlink_to(base / "webdataset")
    monkeypatch.setenv("WIDS_CACHE", str(tmp_path / "wids"))
    made = types.SimpleNamespace(create_dataset=lambda _, root, split: timm_wds(Path(root), split).samples)
    monkeypatch.setitem(sys.modules, "timm.data", made)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # both packages leave closing their files to the collector, and warn of themselves
        run("import webdataset")
        run("wds/release")
        run("import wids")["samples"].close()
        gc.collect()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "train/cat/1 (40, 32) 0"
    assert lines[-2:] == ["4", "8 train/cat/1"]


def test_tables(capsys: pytest.CaptureFixture[str]) -> None:
    names = run("pandas")
    assert (len(names["provenance"]), len(names["lost"])) == (8, 0)
    assert "validation" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore")
def test_training() -> None:
    assert run("DataLoader")["loss"].item() > 0
