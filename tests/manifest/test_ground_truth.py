from __future__ import annotations

import json

import pytest
from external_data import PHOTOS, needs_data

from anon_batch.errors import ConfigError, ManifestError
from anon_batch.manifest.ground_truth import read_ground_truth
from anon_batch.manifest.labels import LabelMap
from anon_batch.manifest.matching import RegionMatcher


@pytest.fixture
def read(storage, tmp_path):
    def read(name, text, *labels):
        (tmp_path / name).write_text(text if isinstance(text, str) else json.dumps(text))
        found = read_ground_truth(storage, str(tmp_path / name), LabelMap.parse(labels))
        return {
            key: [[*box, int(ignored)] for box, ignored in zip(own.boxes.tolist(), own.ignore, strict=True)]
            for key, own in found.items()
        }

    return read


@pytest.fixture
def read_labels(storage, tmp_path):
    def read(name, text, *labels):
        (tmp_path / name).write_text(text if isinstance(text, str) else json.dumps(text))
        found = read_ground_truth(storage, str(tmp_path / name), LabelMap.parse(labels))
        return {key: list(zip(own.labels, own.keep.tolist(), strict=True)) for key, own in found.items()}

    return read


def test_json_by_name(read):
    assert read("g.json", {"a.jpg": [[1, 2, 3, 4]], "b.jpg": []}) == {"a.jpg": [[1, 2, 3, 4, 0]], "b.jpg": []}


def test_json_list_of_files_with_classes(read):
    data = [
        {"file": "a.jpg", "boxes": [[1, 2, 3, 4, "with_mask"], [5, 6, 7.5, 8]]},
        {"image_id": "b", "boxes": []},
    ]
    assert read("g.json", data) == {"a.jpg": [[1, 2, 3, 4, 0], [5, 6, 7.5, 8, 0]], "b": []}


def test_boxes_without_area_are_ignored(read):
    assert read("g.json", {"a": [[1, 2, 1, 4], [1, 2, 3, 4]]}) == {"a": [[1, 2, 1, 4, 1], [1, 2, 3, 4, 0]]}


def test_csv(read):
    text = "file,x1,y1,x2,y2,ignore\na.jpg,1,2,3,4,\na.jpg,5,6,7,8,true\nnone.jpg,,,,,\n"
    assert read("g.csv", text) == {"a.jpg": [[1, 2, 3, 4, 0], [5, 6, 7, 8, 1]], "none.jpg": []}


def test_wider_face(read):
    text = """0--Parade/a.jpg
2
10 20 30 40 0 0 0 0 0 0
1 1 5 5 0 0 0 1 0 0
0--Parade/none.jpg
0
0 0 0 0 0 0 0 0 0 0
1--Handshaking/b.jpg
1
7 8 0 10 2 0 0 0 0 0
"""
    assert read("g.txt", text) == {
        "0--Parade/a.jpg": [[10, 20, 40, 60, 0], [1, 1, 6, 6, 1]],
        "0--Parade/none.jpg": [],
        "1--Handshaking/b.jpg": [[7, 8, 7, 18, 1]],
    }
    assert read("h.txt", "a.jpg\n0\nb.jpg\n0\n") == {"a.jpg": [], "b.jpg": []}


def coco(**change):
    data = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
        "annotations": [
            {"image_id": 1, "bbox": [1, 2, 3, 4], "category_id": 1},
            {"image_id": 1, "bbox": [0, 0, 9, 9], "category_id": 2, "iscrowd": 1},
        ],
    }
    return {**data, **change}


def test_coco(read):
    assert read("g.json", coco()) == {"a.jpg": [[1, 2, 4, 6, 0], [0, 0, 9, 9, 1]], "b.jpg": []}
    categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "Face"}]
    assert read("g.json", coco(categories=categories)) == {"a.jpg": [[0, 0, 9, 9, 1]], "b.jpg": []}


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("g.xml", "<a/>", "expected .json"),
        ("g.json", "{", "not JSON"),
        ("g.json", "3", "expected"),
        ("g.json", {}, "names no image"),
        ("g.json", {"a": [[1, 2, 3]]}, "not a box of four"),
        ("g.json", {"a": [[1, 2, 3, "4"]]}, "not a box of four"),
        ("g.json", {"a": 3}, "no list of boxes"),
        ("g.json", [{"boxes": []}], "has no name"),
        ("g.json", [{"file": "a", "boxes": []}, {"file": "a", "boxes": []}], "twice"),
        ("g.json", {"a": [[5, 5, 1, 9]]}, "x2 < x1"),
        ("g.json", '{"a": [[NaN, 1, 2, 3]]}', "NaN"),
        ("g.json", coco(annotations=[{"image_id": 9, "bbox": [1, 2, 3, 4]}]), "not COCO"),
        ("g.json", coco(annotations=[{"image_id": 1}]), "not COCO"),
        (
            "g.json",
            coco(images=[{"id": 1, "file_name": "a"}, {"id": 2, "file_name": "a"}]),
            "same id or file_name",
        ),
        ("g.csv", "a,b\n1,2\n", "expected columns"),
        ("g.csv", "file,x1,y1,x2,y2\na,1,2,x,4\n", "line 2"),
        ("g.csv", "file,x1,y1,x2,y2,ignore\na,1,2,3,4,maybe\n", "ignore is 'maybe'"),
        ("g.csv", "file,x1,y1,x2,y2\na,1,2,,4\n", "line 2"),
        ("g.txt", "a.jpg\n2\n1 2 3 4\n", "not WIDER"),
        ("g.txt", "a.jpg\n", "not WIDER"),
        ("g.txt", "hello\nworld\n", "not WIDER"),
        ("g.txt", "a.jpg\n1\n1 2 3\n", "not WIDER"),
        ("g.txt", "a.jpg\n-1\n", "not WIDER"),
    ],
)
def test_files_that_are_not_ground_truth_are_refused(read, name, text, match):
    with pytest.raises(ManifestError, match=match):
        read(name, text)


def test_text_that_is_not_utf8(storage, tmp_path):
    (tmp_path / "g.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match="not UTF-8"):
        read_ground_truth(storage, str(tmp_path / "g.csv"))


def test_boxes_as_objects_have_labels_and_flags(read, read_labels):
    box = {"x1": 1, "y1": 2, "x2": 3, "y2": 4}
    data = {"a.jpg": [box, {**box, "label": "licence_plate", "keep": True, "ignore": True}]}
    assert read("g.json", data) == {"a.jpg": [[1, 2, 3, 4, 0], [1, 2, 3, 4, 1]]}
    assert read_labels("g.json", data) == {"a.jpg": [("face", False), ("licence_plate", True)]}
    for wrong in ({"label": 3}, {"keep": 1}, {"x2": None}):
        with pytest.raises(ManifestError, match=r"label must be text|not a box of four"):
            read("g.json", {"a.jpg": [{**box, **wrong}]})


def test_csv_has_labels_and_keep(read_labels):
    text = "file,x1,y1,x2,y2,label,keep\na.jpg,1,2,3,4,,\na.jpg,5,6,7,8,person,1\n"
    assert read_labels("g.csv", text) == {"a.jpg": [("face", False), ("person", True)]}


def test_categories_of_coco_become_labels(read_labels):
    def names(*categories):
        return coco(categories=[{"id": number, "name": name} for number, name in enumerate(categories, 1)])

    plates = names("licence plate", "traffic sign")
    assert read_labels("g.json", plates)["a.jpg"] == [("licence plate", False), ("traffic sign", False)]
    assert read_labels("g.json", plates, "licence plate=licence_plate")["a.jpg"] == [("licence_plate", False)]
    assert read_labels("g.json", plates, "thing")["a.jpg"] == [("thing", False), ("thing", False)]
    assert read_labels("g.json", names("person", "Human face"))["a.jpg"] == [("face", False)]
    assert read_labels("g.json", names("person", "face"), "person=person")["a.jpg"] == [("person", False)]


def test_the_only_category_of_coco_is_face_unless_a_label_is_given(read_labels):
    one = coco(
        categories=[{"id": 1, "name": "head"}], annotations=[{"image_id": 1, "bbox": [1, 2, 3, 4], "category_id": 1}]
    )
    assert read_labels("g.json", one)["a.jpg"] == [("face", False)]
    assert read_labels("g.json", one, "head")["a.jpg"] == [("head", False)]


def test_a_label_can_be_given_to_every_format(read_labels):
    assert read_labels("g.json", {"a.jpg": [[1, 2, 3, 4]]}, "sign") == {"a.jpg": [("sign", False)]}
    assert read_labels("g.csv", "file,x1,y1,x2,y2\na.jpg,1,2,3,4\n", "sign") == {"a.jpg": [("sign", False)]}
    assert read_labels("g.txt", "a.jpg\n1\n1 2 3 4\n", "sign") == {"a.jpg": [("sign", False)]}


@pytest.mark.parametrize("texts", [["a", "b"], ["a", "b=c"], ["=b"], ["b="], [""]])
def test_label_options_that_contradict_each_other_are_refused(texts):
    with pytest.raises(ConfigError, match="expected"):
        LabelMap.parse(texts)


def matcher_for(names, ids):
    matcher = RegionMatcher(dict.fromkeys(names, "regions"))
    matcher.observe(ids)
    matcher.resolve()
    return matcher


def test_an_id_goes_before_a_base_name():
    matcher = matcher_for(["x/a.jpg"], ["x/a.jpg", "y/a.jpg"])
    assert matcher.regions_of("x/a.jpg") == "regions"
    assert matcher.regions_of("y/a.jpg") is None
    assert matcher.unmatched() == []


def test_base_names_must_be_unambiguous_on_both_sides():
    assert matcher_for(["0--Parade/a.jpg"], ["WIDER/images/a.jpg"]).regions_of("WIDER/images/a.jpg") == "regions"
    assert matcher_for(["p/a.jpg", "q/a.jpg"], ["a.jpg"]).unmatched() == ["p/a.jpg", "q/a.jpg"]
    assert matcher_for(["a.jpg"], ["p/a.jpg", "q/a.jpg"]).unmatched() == ["a.jpg"]


@needs_data(PHOTOS)
def test_the_labelled_photographs_have_all_their_faces(storage):
    faces = read_ground_truth(storage, str(PHOTOS / "boxes.json"))
    assert len(faces) == 214
    assert sum(map(len, faces.values())) == 1069
