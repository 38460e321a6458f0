"""`anon-batch evaluate` with a feature network and a column of classes, on drawn images whose classes are known."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from onnx import TensorProto, helper
from PIL import Image

from anon_batch import cli
from anon_batch.cli import console
from anon_batch.evaluate.measures import Measures
from anon_batch.manifest import build_manifest
from anon_batch.storage import Storage

SIDE, EACH = 48, 16
FACE = (8, 8, 40, 40)
# Colour of the surroundings and of the face: two classes that only their faces tell apart, and one of other surroundings.
CLASSES = {
    "hat": ((90, 90, 90), (200, 80, 80)),
    "beard": ((90, 90, 90), (80, 80, 200)),
    "sky": ((60, 90, 200), (150,) * 3),
}


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    def call(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["anon-batch", "evaluate", *args])
        monkeypatch.setattr(console.out, "width", 150)  # the environment is read once, when the console is made
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return int(ended.value.code or 0), said.out, said.err

    return call


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest m.parquet of labelled images with faces as ground truth, and network.yaml."""
    root, rng = tmp_path_factory.mktemp("utility"), np.random.default_rng(0)
    lines, truth = ["image_id,uri,what"], {}
    for number in range(EACH * len(CLASSES)):
        name = list(CLASSES)[number % len(CLASSES)]
        around, face = CLASSES[name]
        pixels = np.broadcast_to(np.array(around, np.int64), (SIDE, SIDE, 3)).copy()
        pixels[FACE[1] : FACE[3], FACE[0] : FACE[2]] = face
        pixels = pixels + rng.normal(0, 12, 3) + rng.normal(0, 10, pixels.shape)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / f"{number}.png")
        lines.append(f"{number}.png,{root / f'{number}.png'},{name}")
        truth[f"{number}.png"] = [FACE]
    (root / "list.csv").write_text("\n".join(lines))
    (root / "faces.json").write_text(json.dumps(truth))
    build_manifest(Storage(), [str(root / "list.csv")], str(root / "m.parquet"), ground_truth=str(root / "faces.json"))
    _write_network(root)
    return root


def _write_network(root: Path) -> None:
    nodes = [
        helper.make_node("AveragePool", ["x"], ["cells"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("Flatten", ["cells"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIDE, SIDE])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 27])]
    model = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 13)], ir_version=8
    )
    (root / "network.onnx").write_bytes(model.SerializeToString())
    (root / "network.yaml").write_text(f"path: network.onnx\nname: cells\nsize: {SIDE}\nlicence: none\n")


def _arguments(folder: Path, *more: str) -> list[str]:
    job = ["--set", "detect.detectors=[manifest]", "--set", f"sources.allow=[{folder}]", "--scorer", "none"]
    return [str(folder / "m.parquet"), "-o", "out", *job, *more]


def test_classes_that_lose_their_cue_are_named(main: Any, folder: Path, tmp_path: Path) -> None:
    more = ("--methods", "solid,blur", "--features", str(folder / "network.yaml"), "--label-column", "what")
    code, out, err = main(*_arguments(folder, *more))
    assert (code, "Traceback" in err) == (0, False)
    data = (tmp_path / "out/measures.json").read_bytes()
    measures = Measures.from_json(data)
    assert measures.to_dict() == json.loads(data)
    assert measures.plan.features["cells"]["licence"] == "none"
    solid, blur = (measures.methods[name].utility for name in ("solid", "blur"))
    assert solid is not None
    assert blur is not None
    rows = {row[0]: row for row in solid.tables["utility.classes"].rows}
    assert {name for name, row in rows.items() if row[6] == "changed"} & {"hat", "beard"}
    assert rows["sky"][6] == ""
    assert rows["sky"][2:4] == (1.0, 1.0)
    assert solid.figures["utility.canary"].high < 0  # type: ignore[operator]
    assert not any(row[6] for row in blur.tables["utility.classes"].rows)  # blur keeps colours
    assert solid.figures["utility.kernel"].value is None  # 48 images
    assert "canary: accuracy, learnt from originals" in out
    assert "solid: class " in out
    assert "blur: class" not in out
    assert "skipped: canary" not in out


def test_what_the_canary_needs_is_said(main: Any, folder: Path) -> None:
    code, out, err = main(
        *_arguments(folder, "--methods", "solid", "--features", str(folder / "network.yaml"), "--limit", "6")
    )
    assert code == 0, err
    assert "skipped: canary: give --label-column NAME" in out


def test_a_column_that_is_not_there_is_named(main: Any, folder: Path) -> None:
    more = ("--methods", "solid", "--features", str(folder / "network.yaml"), "--label-column", "class")
    code, _, err = main(*_arguments(folder, *more))
    assert code == 2
    assert "--label-column class: the manifest has no such column; it has what" in err


def test_networks_of_one_name_are_refused(main: Any, folder: Path) -> None:
    twice = ("--features", str(folder / "network.yaml")) * 2
    code, _, err = main(*_arguments(folder, "--methods", "solid", *twice))
    assert code == 2
    assert "two networks are called cells" in err


def test_rows_without_a_class_or_ground_truth_are_no_trouble(main: Any, folder: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "m.parquet")
    what = [None if at % 5 == 0 else name for at, name in enumerate(table["what"].to_pylist())]
    regions = [None if at % 7 == 0 else own for at, own in enumerate(table["regions"].to_pylist())]
    table = table.set_column(table.schema.get_field_index("what"), "what", pa.array(what))
    at = table.schema.get_field_index("regions")
    table = table.set_column(at, table.schema.field(at), pa.array(regions, table.schema.field(at).type))
    pq.write_table(table, tmp_path / "m.parquet")
    more = ("--methods", "solid", "--features", str(folder / "network.onnx"), "--label-column", "what")
    job = ["--set", "detect.detectors=[centerface]", "--set", f"sources.allow=[{folder}]", "--scorer", "none"]
    code, _, _ = main(str(tmp_path / "m.parquet"), "-o", "out", *job, *more)
    assert code == 0
    measures = Measures.from_json((tmp_path / "out/measures.json").read_bytes())
    assert measures.plan.inputs["manifest"].measured == len(what)
    canary = measures.methods["solid"].utility.figures["utility.canary"]  # type: ignore[union-attr]
    assert canary.n == sum(name is not None for name in what)
