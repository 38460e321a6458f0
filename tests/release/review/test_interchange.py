"""COCO and Label Studio files: out, through other tools, and back within half a pixel."""

from __future__ import annotations

import contextlib
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from review_releases import LAYOUTS, Made

from anon_batch.errors import ConfigError
from anon_batch.formats.verdicts_json import DrawnBox
from anon_batch.release.review.coco import export_coco, read_coco
from anon_batch.release.review.draw import ReviewSettings, Sample, draw_sample
from anon_batch.release.review.exporting import write_export, write_images
from anon_batch.release.review.importing import read_files
from anon_batch.release.review.label_studio import export_label_studio, read_label_studio
from anon_batch.release.review.sample import Output, PublishedRegion

SETTINGS = ReviewSettings(claim=0.3, seed=4, allow_uncaught=0)


@pytest.fixture
def sample(made: Callable[[str], Made]) -> Sample:
    return draw_sample(made("files").release, SETTINGS)


def annotated(task: dict[str, Any], *more: dict[str, Any]) -> dict[str, Any]:
    """Return a task as Label Studio exports it once somebody has submitted it: the predictions, and what was added."""
    results = json.loads(json.dumps(task["predictions"][0]["result"]))
    return {**task, "id": 7, "annotations": [{"id": 1, "was_cancelled": False, "result": [*results, *more]}]}


def rectangle(x: float, y: float, width: float, height: float, label: str = "face", **value: Any) -> dict[str, Any]:
    inner = {"x": x, "y": y, "width": width, "height": height, "rectanglelabels": [label], **value}
    return {"type": "rectanglelabels", "from_name": "label", "to_name": "image", "value": inner}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pycocotools_reads_the_export_and_its_regions(made: Callable[[str], Made], layout: str, tmp_path: Path) -> None:
    own = made(layout)
    sample = draw_sample(own.release, SETTINGS)
    path = tmp_path / "coco.json"
    write_export(own.release, sample, "coco", str(path))
    write_images(own.release, sample, str(tmp_path / "images"))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
    regions = {own.image_id: own.regions for own in sample.outputs}
    names = {own.image_id: own.key if layout == "files" else own.image_id for own in sample.outputs}
    for image_id, name in names.items():
        (number,) = [own["id"] for own in coco.dataset["images"] if own["file_name"] == name]
        found = coco.loadAnns(coco.getAnnIds(imgIds=[number]))
        assert [tuple(own["bbox"]) for own in found] == [
            (x1, y1, x2 - x1, y2 - y1) for (x1, y1, x2, y2), *_ in regions[image_id]
        ]
        assert all(coco.loadCats(own["category_id"])[0]["name"] == "face" for own in found)
        assert all(own["attributes"] == {"method": "solid", "synthetic": False} for own in found)
        assert (tmp_path / "images" / name).read_bytes().startswith(b"\x89PNG")
    assert "score" not in path.read_text()


def test_what_was_exported_comes_back_fine_in_both_formats(sample: Sample) -> None:
    ids = {own.image_id for own in sample.outputs}
    coco = read_coco(json.loads(json.dumps(export_coco(sample))), "c", sample)
    studio = read_label_studio([annotated(task) for task in export_label_studio(sample)], "l", sample)
    for found in (coco, studio):
        assert set(found.judged) == ids
        assert {own.mark for own in found.judged.values()} == {"fine"}, "published regions are not missed ones"
        assert not found.planted


_SIDES = st.integers(1, 9000)


@given(_SIDES, _SIDES, st.tuples(*[st.floats(0, 1)] * 4))
def test_boxes_come_back_within_half_a_pixel(
    width: int, height: int, shares: tuple[float, float, float, float]
) -> None:
    xs, ys = sorted((shares[0] * width, shares[2] * width)), sorted((shares[1] * height, shares[3] * height))
    x1, y1 = math.floor(xs[0]), math.floor(ys[0])
    extent = (x1, y1, max(x1 + 1, math.ceil(xs[1])), max(y1 + 1, math.ceil(ys[1])))
    extent = (min(extent[0], width - 1), min(extent[1], height - 1), min(extent[2], width), min(extent[3], height))
    output = Output("a", "images/a", None, "", width, height, (PublishedRegion(extent, "face", "solid", False),), "s")
    sample = one_output(output)
    bare = one_output(Output("a", "images/a", None, "", width, height, (), "s"))
    (task,) = export_label_studio(sample)
    rounded = annotated(task)
    for result in rounded["annotations"][0]["result"]:  # as its front end rounds percents
        result["value"] = {k: round(v, 10) if isinstance(v, float) else v for k, v in result["value"].items()}
    exported = export_coco(sample)
    for found in (
        read_label_studio([{**rounded, "data": {"image": "x/images/a"}}], "l", bare),
        read_coco({**exported, "info": {}}, "c", bare),
    ):
        (box,) = found.judged["a"].boxes
        assert box.edges == pytest.approx(extent, abs=0.5)


def one_output(output: Output) -> Sample:
    from anon_batch.stats.sample_plan import SamplePlan

    plan = SamplePlan(0.3, 0.95, {"s": 1}, {"s": 1})
    return Sample("run", "job", SETTINGS, plan, [output], [])


def test_new_boxes_are_missed_faces(sample: Sample) -> None:
    content = export_coco(sample)
    first = sample.outputs[0]
    content["categories"].append({"id": 9, "name": "plate"})
    content["annotations"].append({"id": 999, "image_id": 1, "category_id": 9, "bbox": [5.5, 6, 10, 12.25]})
    found = read_coco(content, "c", sample)
    assert found.judged[first.image_id].mark == "missed"
    assert found.judged[first.image_id].boxes == (DrawnBox(5.5, 6, 15.5, 18.25, "plate"),)
    assert sum(own.mark == "missed" for own in found.judged.values()) == 1
    tasks = export_label_studio(sample)
    tasks[0] = annotated(tasks[0], rectangle(10, 50, 25, 25, "plate"))
    found = read_label_studio(tasks, "l", sample)
    assert found.judged[first.image_id].boxes == (DrawnBox(12, 48, 42, 72, "plate"),)
    assert list(found.judged) == [first.image_id], "a task without an annotation was not reviewed"
    assert f"l: {len(tasks) - 1} tasks have no annotation" in found.notes[0]


def test_a_rotated_box_becomes_the_upright_one_around_it(sample: Sample) -> None:
    task = export_label_studio(sample)[0]
    # 24 x 24 px at (48, 24), turned by 90 degrees clockwise around its upper left corner
    found = read_label_studio([annotated(task, rectangle(40, 25, 20, 25, rotation=90))], "l", sample)
    (box,) = found.judged[sample.outputs[0].image_id].boxes
    assert box.edges == pytest.approx((24, 24, 48, 48))
    assert "1 boxes are rotated" in found.notes[-1]
    found = read_label_studio([annotated(task, rectangle(40, 25, 20, 25, rotation=45))], "l", sample)
    (box,) = found.judged[sample.outputs[0].image_id].boxes
    half = 24 * math.sqrt(0.5)
    assert box.edges == pytest.approx((48 - half, 24, 48 + half, 24 + 2 * half))


def test_choices_are_verdicts_and_cancelled_annotations_are_none(sample: Sample) -> None:
    tasks = export_label_studio(sample)[:3]
    choice = {"type": "choices", "value": {"choices": ["Wrong region"]}}
    tasks[0] = annotated(tasks[0], choice)
    tasks[1] = annotated(tasks[1])
    tasks[1]["annotations"][0]["was_cancelled"] = True
    found = read_label_studio(tasks, "l", sample)
    assert {name: own.mark for name, own in found.judged.items()} == {sample.outputs[0].image_id: "wrong_region"}


def test_boxes_beyond_the_image_are_clipped_and_those_outside_refused(sample: Sample) -> None:
    content = export_coco(sample)
    content["annotations"].append({"id": 999, "image_id": 1, "category_id": 1, "bbox": [110, -4, 50, 20]})
    found = read_coco(content, "c", sample)
    assert found.judged[sample.outputs[0].image_id].boxes == (DrawnBox(110, 0, 120, 16),)
    assert found.notes == ["c: 1 boxes reached beyond their image and were clipped"]
    for bbox in ([120, 0, 5, 5], [0, 0, 0, 5], [5, 5, -3, 4], [0, 97, 1, 1]):
        content["annotations"][-1]["bbox"] = bbox
        with pytest.raises(ConfigError, match="does not lie in the image of 120 x 96 px"):
            read_coco(content, "c", sample)


def _without(content: Any, *path: Any) -> Any:
    copy = json.loads(json.dumps(content))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return copy


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: "nonsense", "neither a verdict file"),
        (lambda c: {"images": 3, "annotations": []}, "not a COCO file"),
        (lambda c: _without(c, "annotations", 0, "bbox"), r"annotations\.0\.bbox: Field required"),
        (lambda c: _without(c, "images", 0, "file_name"), r"images\.0\.file_name"),
        (lambda c: {**c, "categories": []}, "names category 1, which the file does not list"),
        (lambda c: {**c, "images": [{"id": 1, "file_name": "other.jpg"}], "info": {}}, "none of its 1 images"),
        (lambda c: {**c, "images": [{**c["images"][0], "width": 60}]}, "is 60 x 96 px there, the output 120 x 96"),
        (lambda c: {**c, "info": {"anon_batch": {**c["info"]["anon_batch"], "run_id": "x"}}}, "another release"),
        (lambda c: [{"image": "a", "label": []}], "JSON-MIN"),
        (lambda c: [{"data": {"image": 3}}], "not tasks of Label Studio"),
        (lambda c: [{"data": {"image": "a"}}], "none of its 1 tasks"),
        (lambda c: [], "none of its 0 tasks"),
    ],
)
def test_foreign_files_that_are_wrong_are_named(
    made: Callable[[str], Made], sample: Sample, damage: Callable[[Any], Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "file.json"
    path.write_text(json.dumps(damage(json.loads(json.dumps(export_coco(sample))))))
    with pytest.raises(ConfigError, match=message) as raised:
        read_files(made("files").release, [str(path)], SETTINGS)
    assert "file.json" in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b'{"a": NaN'])
def test_files_that_are_no_json_are_refused(made: Callable[[str], Made], content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="not a JSON file"):
        read_files(made("files").release, [str(path)], SETTINGS)


def test_values_that_are_no_numbers_are_refused(made: Callable[[str], Made], sample: Sample, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    content = export_coco(sample)
    content["annotations"][0]["bbox"][0] = math.inf
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"annotations\.0\.bbox\.0"):
        read_files(made("files").release, [str(path)], SETTINGS)


def test_the_file_says_which_sample_it_is_of(made: Callable[[str], Made], sample: Sample, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text(json.dumps(export_coco(sample)))
    drawn, files = read_files(made("files").release, [str(path)], ReviewSettings(claim=0.1, seed=99))
    assert drawn.settings == SETTINGS
    assert len(files[0].judged) == len(sample.outputs)


def test_exports_stay_out_of_the_release(made: Callable[[str], Made], sample: Sample) -> None:
    own = made("files").release
    with pytest.raises(ConfigError, match="which is published"):
        write_export(own, sample, "coco", f"{own.uri}/coco.json")
    with pytest.raises(ConfigError, match="which is published"):
        write_images(own, sample, own.uri)


def test_addresses_of_label_studio_have_a_prefix(sample: Sample) -> None:
    local, remote = export_label_studio(sample)[0], export_label_studio(sample, "https://images.example/")[0]
    assert local["data"]["image"] == f"/data/local-files/?d={sample.outputs[0].key}"
    assert remote["data"]["image"] == f"https://images.example/{sample.outputs[0].key}"
    found = read_label_studio([annotated(_without(remote, "data", "image_id"))], "l", sample)
    assert list(found.judged) == [sample.outputs[0].image_id]
