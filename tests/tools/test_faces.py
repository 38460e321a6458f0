"""`python -m tools.faces` on a small folder made of the sample's photographs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from anon_batch.config import DetectConfig
from anon_batch.detect.ensemble import build_detector
from anon_batch.errors import ConfigError
from tools.faces import __main__ as faces
from tools.faces import figures
from tools.faces.categories import CATEGORIES, Chooser, Face
from tools.faces.recognition import recognised
from tools.faces.runs import Runs
from tools.faces.sets import SAMPLE, Data, read_pixels
from tools.faces.sheets import PAGE_PX, cell
from tools.faces.tally import tally
from tools.faces.variants import job_of, runtime


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    root = tmp_path_factory.mktemp("data")
    for folder in ("photos/images", "pairs/images", "faces"):
        (root / folder).mkdir(parents=True)
    shutil.copy(SAMPLE / "london/six_people.jpg", root / "photos/images/six.jpg")
    boxes = [[88, 66, 171, 184, "without_mask"], [342, 64, 429, 188, "with_mask"]]
    (root / "photos/boxes.json").write_text(json.dumps([{"file": "six.jpg", "boxes": boxes}]))
    rows = ["person,neutral,smiling"]
    for person in ("003_neutral", "005_smiling"):
        for kind in "ab":
            shutil.copy(SAMPLE / f"london/{person}.jpg", root / f"pairs/images/{person}_{kind}.jpg")
        rows.append(f"{person},{person}_a.jpg,{person}_b.jpg")
    (root / "pairs/pairs.csv").write_text("\n".join(rows))
    return Data(root)


@pytest.fixture(scope="module")
def runs(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANON_BATCH_TEST_DATA", str(data.root))
        patch.delenv("ANON_BATCH_TEST_MODELS", raising=False)
        for variant in ("pixelate", "pixelate@cells=4,expansion=1.1"):
            assert faces.main(["produce", variant, "--runs", str(folder), "--seeds", "1"]) == 0
    return folder


def test_settings_of_a_variant_are_those_of_faces_or_options_of_the_method() -> None:
    anonymize = job_of("pixelate@cells=4,expansion=1.1").anonymize
    assert anonymize.face.method == "pixelate"
    assert anonymize.face.expansion == 1.1
    assert anonymize.options == {"pixelate": {"cells": 4}}


def test_outputs_change_only_what_the_stored_masks_cover(data: Data, runs: Path) -> None:
    smaller = Runs(data, runs).outputs("pixelate@cells=4,expansion=1.1", "photos")
    larger = Runs(data, runs).outputs("pixelate", "photos")
    [path] = data.images("photos")
    changed = (larger.pixels(path) != read_pixels(path)).any(axis=2)
    assert changed.any()
    assert not (changed & ~larger.mask(path)).any()
    assert smaller.mask(path).sum() < larger.mask(path).sum()
    assert set(larger.listing()["six.jpg"].methods.values()) == {"pixelate"}
    assert len(larger.listing()["six.jpg"].detections) == 6


def test_seam_and_table_are_printed(
    data: Data, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANON_BATCH_TEST_DATA", str(data.root))
    assert faces.main(["measure", "pixelate", "--measures", "seam", "--runs", str(runs)]) == 0
    assert faces.main(["table", "pixelate", "--runs", str(runs)]) == 0
    printed = capsys.readouterr().out
    [row] = [line for line in printed.splitlines() if line.startswith("seam, pairs")]
    stored = json.loads((runs / "pixelate/figures.json").read_text())["seam"]
    assert row.split()[-1] == f"{stored['pairs']['ratio']:.3f}"
    assert stored["photos"]["faces"] == 6


def test_blind_sheets_hide_the_names_and_write_a_key(
    data: Data, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANON_BATCH_TEST_DATA", str(data.root))
    names = ["original", "pixelate", "pixelate@cells=4,expansion=1.1"]
    command = ["sheets", "portraits", str(tmp_path / "sheet"), *names, "--runs", str(runs), "--blind", "--no-reference"]
    assert faces.main(command) == 0
    pages = [Path(line) for line in capsys.readouterr().out.split()]
    assert [page.name for page in pages] == [f"sheet-portraits-{n}.png" for n in range(1, len(pages) + 1)]
    assert all(read_pixels(page).shape[0] <= PAGE_PX[1] for page in pages)
    key = json.loads((tmp_path / "sheet-portraits.key.json").read_text())
    orders = {tuple(key[f"{number}{letter}"] for letter in "abc") for number in range(1, len(key) // 3 + 1)}
    assert len(key) == 3 * 16  # twelve faces of the sample, four of the pairs
    assert len(orders) > 2
    assert all(sorted(order) == sorted(names) for order in orders)


def test_faces_are_chosen_by_category_and_seed(data: Data, runs: Path) -> None:
    chooser = Chooser(Runs(data, runs), "pixelate")
    street = chooser.choose("street", 4)
    assert [face.index for face in street] == [face.index for face in chooser.choose("street", 4)]
    assert {face.own_set for face in street} == {"photos"}
    assert [face.index for face in street] != [face.index for face in chooser.choose("street", 4, seed=1)]
    covered = chooser.choose("covered", 9)
    assert len(covered) == 1
    assert covered[0].box[0] == pytest.approx(342, abs=12)
    assert len(chooser.choose("grey", 9)) == 1  # one portrait of the sample is grey
    assert set(CATEGORIES) >= {"portraits", "small", "profiles", "children", "dark"}


def test_cells_show_faces_at_natural_size_and_tiny_ones_twice_as_large() -> None:
    pixels = np.arange(100 * 100 * 3, dtype=np.uint32).reshape(100, 100, 3).astype(np.uint8)
    marks = np.full((5, 2), np.nan, np.float32)
    large = Face("photos", Path("x"), 0, np.array([10, 10, 60, 60], np.float32), marks)
    assert np.array_equal(cell(pixels, large), pixels[:92, :92])
    tiny = Face("photos", Path("x"), 0, np.array([40, 40, 60, 60], np.float32), marks)
    assert cell(pixels, tiny).shape == (92, 92, 3)


def test_verdicts_are_counted_by_variant(tmp_path: Path) -> None:
    key, verdict = tmp_path / "key.json", tmp_path / "verdict.txt"
    key.write_text(json.dumps({"1a": "swap", "1b": "gan", "2a": "gan", "2b": "swap"}))
    verdict.write_text("# first page\n1a natural\n1b pasted\n\n2a passable\n2b natural\n")
    header, gan, swap = tally([(key, verdict)]).splitlines()
    assert header.split() == ["judged", "natural", "passable", "pasted"]
    assert [word for word in gan.split() if word.isdigit()] == ["2", "0", "1", "1"]
    assert [word for word in swap.split() if word.isdigit()] == ["2", "2", "0", "0"]
    for line, expected in (("3a natural", "not in"), ("1a nice", "expected a cell"), ("1a pasted", "twice")):
        verdict.write_text(f"1a natural\n{line}\n" if expected == "twice" else line)
        with pytest.raises(ConfigError, match=expected):
            tally([(key, verdict)])


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a recogniser of coarse cells, which tells untouched faces apart."""
    nodes = [
        helper.make_node("AveragePool", ["x"], ["cells"], kernel_shape=[14, 14], strides=[14, 14]),
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Sub", ["cells", "mean"], ["centred"]),
        helper.make_node("Flatten", ["centred"], ["y"]),
    ]
    shapes = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 3, 112, 112]), ("y", [1, 192]))
    ]
    graph = helper.make_graph(nodes, "cells", shapes[:1], shapes[1:])
    path = tmp_path_factory.mktemp("recogniser") / "cells.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return str(path)


def test_recognition_of_pairs(data: Data, runs: Path, recogniser: str) -> None:
    found = recognised(Runs(data, runs, (recogniser,)), "pixelate")["cells"]
    assert found["rank_1_of_originals"] == 1
    assert found["chance"] == 0.5
    assert found["own_less_others"] == pytest.approx(
        found["cosine_to_own_original"] - found["cosine_to_others_originals"]
    )
    assert found["rank_1_anonymized_gallery_same_key"] == 1  # because equal images give equal blocks


def test_precision_kept_by_the_default_detector(data: Data, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "_scorers", lambda: {"default": build_detector(DetectConfig(), runtime())})
    kept = figures.precision_kept(Runs(data, runs), "pixelate")["default"]["anonymized, all"]
    assert len(kept["seeds"]) == 1
    assert 0 <= kept["mean"] < 0.9
    shutil.copytree(runs / "pixelate", runs / "unchanged")
    for path in (runs / "unchanged/photos").glob("*.png"):
        path.unlink()
    unchanged = figures.precision_kept(Runs(data, runs), "unchanged")["default"]
    assert {own["mean"] for own in unchanged.values()} == {1.0}
