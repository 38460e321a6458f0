"""`anon-batch evaluate` on the photographs that ship, with a recogniser made for the test."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image, ImageEnhance
from wider_miniature import EVENTS, write_lists

from anon_batch import cli
from anon_batch.evaluate.measures import Measures
from anon_batch.manifest import build_manifest
from anon_batch.storage import Storage

SAMPLE = Path(__file__).parents[2] / "manifests" / "sample"
ALLOW = f"sources.allow=[{SAMPLE}]"


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    def call(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["anon-batch", "evaluate", *args])
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return int(ended.value.code or 0), said.out, said.err

    return call


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = str(tmp_path_factory.mktemp("evaluate") / "m.parquet")
    build_manifest(Storage(), [str(SAMPLE / "photos")], uri, ground_truth=str(SAMPLE / "faces.json"))
    return uri


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cut six people from one image of the sample, each twice: unchanged, and darker and shifted."""
    folder = tmp_path_factory.mktemp("people")
    lines = ["person,neutral,smiling"]
    with Image.open(SAMPLE / "photos/people/london/six_people.jpg") as image:
        for person in range(6):
            left, top = person % 3 * 256, person // 3 * 256
            face = image.convert("RGB").crop((left, top, left + 256, top + 256))
            face.save(folder / f"{person}_n.png")
            darker = ImageEnhance.Brightness(face).enhance(0.8)
            darker.transform(face.size, Image.Transform.AFFINE, (1, 0, 4, 0, 1, -3)).save(folder / f"{person}_s.png")
            lines.append(f"{person},{person}_n.png,{person}_s.png")
    (folder / "pairs.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a recogniser: means of 14 x 14 px minus that of the crop, enough to separate six people in equal light."""
    nodes = [
        helper.make_node("AveragePool", ["x"], ["cells"], kernel_shape=[14, 14], strides=[14, 14]),
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Sub", ["cells", "mean"], ["centred"]),
        helper.make_node("Flatten", ["centred"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "cells",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 112, 112])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 192])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = tmp_path_factory.mktemp("embedder") / "cells.onnx"
    onnx.save(model, path)
    return str(path)


def test_precision_and_outcomes_on_the_sample(main: Any, manifest: str, tmp_path: Path) -> None:
    code, out, err = main(
        manifest,
        "--methods",
        "pixelate,solid",
        "-o",
        "out",
        "--set",
        "detect.detectors=[manifest]",
        "--set",
        ALLOW,
        "--scorer",
        "centerface",
        "--scorer-scale",
        "1",
        "--seed",
        "3",
    )
    assert code == 0
    document = json.loads((tmp_path / "out/measures.json").read_text())
    assert Measures.from_json((tmp_path / "out/measures.json").read_bytes()).to_dict() == document
    assert document["plan"]["inputs"]["manifest"] == {
        "listed": 13,
        "eligible": 13,
        "chosen": 13,
        "measured": 13,
        "unusable": 0,
        "failures": {},
    }
    assert list(document["methods"]) == ["pixelate", "solid"]
    before = document["originals"]["average_precision"]["labelled_faces"]["all"]
    assert before["faces"] == 13
    assert before["average_precision"] > 0.9
    solid, pixelate = document["methods"]["solid"], document["methods"]["pixelate"]
    assert solid["ladder"] == ["solid", "pixelate"]
    assert solid["average_precision"]["labelled_faces"]["all"]["kept"] < 0.3
    assert solid["outcomes"]["by_method"] == {"solid": 13}
    assert pixelate["speed"]["alone"]["faces"] == 13
    assert pixelate["speed"]["alone"]["faces_per_s"] > 0
    assert [model.split("@")[0] for model in document["models"]] == ["centerface_int8", "centerface"]
    assert document["plan"]["seed"] == 3
    scorer = document["plan"]["scorer"]
    assert (scorer["name"], scorer["scale"], scorer["threshold"]) == ("centerface", 1.0, None)
    assert document["versions"]["anon-batch"]
    assert document["machine"]["threads"] == 1
    assert document["sheets"] == ["sheet-pixelate.jpg", "sheet-solid.jpg"]
    for name in document["sheets"]:
        with Image.open(tmp_path / "out" / name) as sheet:
            assert sheet.size[0] == 8 * (2 * 160 + 8)
    assert set(document["skipped"]) == {
        "reidentification",
        "identity",
        "frechet",
        "landmarks",
        "probe",
        "canary",
        "distances",
    }
    for measure, what in (("re-identification", "--pairs FILE and --embedder FILE"), ("landmarks", "--faces FOLDER")):
        assert f"skipped: {measure.replace('re-id', 'reid')}: give {what}" in out
    for line in ("precision kept, labelled faces", "images withheld", "faces/s", "  with all checks"):
        assert line in out
    assert "13 of 13 images" in err


def test_identity_landmarks_and_frechet(main: Any, people: Path, embedder: str, tmp_path: Path) -> None:
    (tmp_path / "only.txt").write_text("\n".join(f"{person}_n" for person in range(6)))
    code, out, _ = main(
        "--methods",
        "solid,blur",
        "--scorer",
        "none",
        "--pairs",
        str(people / "pairs.csv"),
        "--embedder",
        embedder,
        "--faces",
        str(people),
        "--only",
        "only.txt",
        "--json",
    )
    assert code == 0
    document = json.loads(out)
    assert document == json.loads((tmp_path / "evaluation/measures.json").read_text())
    assert document["plan"]["inputs"]["pairs"] == {
        "listed": 6,
        "eligible": 6,
        "chosen": 6,
        "measured": 6,
        "unusable": 0,
        "failures": {},
    }
    assert document["plan"]["inputs"]["faces"]["measured"] == 6
    assert [own["name"] for own in document["plan"]["embedders"]] == ["cells"]
    assert document["plan"]["embedders"][0]["order"] == "bgr"
    assert document["plan"]["attacks"]["attacks"] == ["naive", "reverse", "linked", "parrot"]
    assert document["originals"]["reidentification"]["whole_image"]["attackers"][0]["rank_1"]["value"] == 1
    solid, blur = document["methods"]["solid"], document["methods"]["blur"]
    assert solid["reidentification"]["face_alone"]["chance"] == pytest.approx(1 / 6)
    assert solid["reidentification"]["surroundings"] == solid["reidentification"]["whole_image"]
    # Because a blurred gallery identifies blurred faces.
    whole = {own["attack"]: own["rank_1"]["value"] for own in blur["reidentification"]["whole_image"]["attackers"]}
    assert whole["reverse"] > 0.9
    for method in (solid, blur):
        identity = method["identity"]["cells"]
        assert identity["same_seed"]["count"] == 6
        assert identity["other_seed"]["count"] == 30
        assert identity["own_original"]["mean"] < 0.9
        assert identity["same_seed"]["mean"] == pytest.approx(
            identity["other_seed_same_person"]["mean"]
        )  # no seed in them
        assert method["landmarks"]["centerface"]["faces"] == 6
    assert solid["landmarks"]["centerface"]["undetected_share"] > 0.5
    assert "6 faces; features of 192 dimensions (cells) need at least 384" in document["skipped"]["frechet"]
    assert solid["frechet"] == {}
    assert document["skipped"]["average_precision"] == "give MANIFEST and --scorer DETECTOR"
    assert document["sheets"] == ["sheet-faces-solid.jpg", "sheet-faces-blur.jpg"]


def test_several_recognisers_are_measured_beside_each_other(main: Any, people: Path, embedder: str) -> None:
    inputs = ["--methods", "blur", "--scorer", "none", "--pairs", str(people / "pairs.csv"), "--json"]
    other = Path(embedder).with_name("other.yaml")
    other.write_text("path: cells.onnx\norder: rgb\nlicence: CC0\n")
    code, out, _ = main(*inputs, "--embedder", embedder, "--embedder", str(other))
    assert code == 0
    document = json.loads(out)
    assert [(own["name"], own["order"]) for own in document["plan"]["embedders"]] == [
        ("cells-1", "bgr"),
        ("cells-2", "rgb"),
    ]
    blur = document["methods"]["blur"]
    assert document["plan"]["embedders"][1]["licence"] == "CC0"
    assert list(blur["identity"]) == ["cells-1", "cells-2"]
    found = {
        (own["attack"], own["embedder"]): own["rank_1"]["value"]
        for own in blur["reidentification"]["whole_image"]["attackers"]
    }
    # The recogniser's cells do not depend on the order of the channels but for their places.
    assert found["naive", "cells-1"] == pytest.approx(found["naive", "cells-2"])
    assert found["linked", "cells-1"] > 0.9
    identity = blur["identity"]["cells-1"]
    assert identity["others_original"]["count"] == 2 * 6 * 5
    assert identity["others_original"]["mean"] < identity["own_original"]["mean"]


def test_the_blind_test_is_written_beside_the_measures(main: Any, manifest: str, tmp_path: Path) -> None:
    args = [
        manifest,
        "--methods",
        "pixelate,solid",
        "--scorer",
        "none",
        "--set",
        "detect.detectors=[manifest]",
        "--set",
        ALLOW,
    ]
    code, out, _ = main(*args, "--blind", "-o", "out")
    assert code == 0
    document = json.loads((tmp_path / "out/measures.json").read_text())
    assert document["blind_pages"] == ["blind-pixelate.html", "blind-solid.html"]
    assert "blind-solid.html: contains originals, keep it private" in " ".join(out.split())
    assert "Private:" in (tmp_path / "out/blind-solid.html").read_text("utf-8")
    assert document["methods"]["pixelate"]["seam"]["faces"] == 13
    assert document["methods"]["pixelate"]["probe"] == {}
    assert "13 faces of 28 px and more" in document["skipped"]["probe"]


def test_the_same_seed_gives_the_same_figures(main: Any, manifest: str) -> None:
    args = [manifest, "--methods", "pixelate", "--scorer", "centerface", "--limit", "4", "--json"]
    args += ["--scorer-scale", "1", "--set", "detect.detectors=[manifest]", "--set", ALLOW]
    documents = [json.loads(main(*args)[1]) for _ in range(2)]
    for document in documents:
        del document["created_at"], document["methods"]["pixelate"]["speed"]
    assert documents[0] == documents[1]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--scorer", "centerface"], "is one of detect.detectors (centerface)"),
        (["--scorer", "manifest"], "the ground truth itself"),
        (["--scorer", "nobody"], "nobody"),
        (["--methods", "mosaic"], "unknown method 'mosaic'"),
        (["--methods", " , "], "--methods"),
        (["--only", "x.txt"], "--only chooses images of --faces"),
        (["--faces", "nowhere"], "nowhere"),
        (["--embedder", "nowhere.onnx"], "nowhere.onnx"),
        (["--set", "anonymize.cells=3"], "anonymize.options.pixelate.cells"),
        (["--set", "cells"], "key=value"),
        (["--scorer-scale", "100"], "--scorer"),
        (["--limit", "0"], "--limit"),
        (["--embedder", "x.onnx", "--embedder", "x.onnx"], "names the same recogniser twice"),
        (["--attack", "guess"], "--attack guess: no such attack; choose from naive, reverse"),
        (["--attack", ","], "--attack names no attack"),
    ],
)
def test_usage_errors(main: Any, manifest: str, args: list[str], expected: str) -> None:
    scorer = [] if "--scorer" in args or "--scorer-scale" in args else ["--scorer", "none"]
    code, out, err = main(manifest, "--methods", "solid", *scorer, *args)
    assert (code, out) == (2, "")
    assert expected in " ".join(err.split())


def test_invalid_inputs(main: Any, people: Path, tmp_path: Path) -> None:
    none = ["--methods", "solid", "--scorer", "none"]
    code, _, err = main(*none)
    assert (code, "nothing to measure" in err) == (2, True)
    assert main("nowhere.parquet", *none)[0] == 2
    (tmp_path / "text.onnx").write_text("not a network")
    code, _, err = main(*none, "--pairs", str(people / "pairs.csv"), "--embedder", "text.onnx")
    assert (code, "text.onnx" in err) == (2, True)
    build_manifest(Storage(), [str(people)], str(tmp_path / "m.parquet"))
    code, _, err = main(
        "m.parquet", "--methods", "solid", "--scorer", "centerface", "--set", "detect.detectors=[manifest]"
    )
    assert (code, "--ground-truth" in err) == (2, True)


def test_images_without_faces_are_an_error(main: Any) -> None:
    code, _, err = main(
        "--methods",
        "solid",
        "--scorer",
        "none",
        "--faces",
        str(SAMPLE / "photos" / "places"),
        "--set",
        "detect.detectors=[manifest]",
    )
    assert (code, "no face with landmarks" in err) == (2, True)


def test_lists_of_wider_face_for_other_images(main: Any, manifest: str, tmp_path: Path) -> None:
    write_lists(tmp_path / "lists", EVENTS)
    code, _, err = main(manifest, "--methods", "solid", "--wider", "lists", "--set", ALLOW)
    assert code == 2
    assert "none of the images" in err
    assert "0--Parade/0_Parade_a_1" in err
    assert main(manifest, "--methods", "solid", "--wider", "lists", "--scorer", "none")[0] == 2
    code, _, err = main(manifest, "--methods", "solid", "--wider", "nowhere", "--set", ALLOW)
    assert code == 2
    assert "eval_tools.zip" in err
