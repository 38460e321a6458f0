from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from external_data import PHOTOS, needs_data

from anon_batch.errors import ConfigError, ManifestError
from anon_batch.manifest import build_manifest, open_manifest, rows_from_table
from anon_batch.manifest.box_format import BoxFormat
from anon_batch.manifest.joins import BoxColumn, Join, Shaping
from anon_batch.manifest.labels import LabelMap
from anon_batch.manifest.regions_column import ground_truths
from anon_batch.manifest.truth import read_ground_truth


def truths_of(found):
    """Return name -> GroundTruth."""
    columns = found.table.combine_chunks()
    sizes = zip(*(columns.column(n).to_pylist() for n in ("regions_width", "regions_height")), strict=True)
    regions = columns.column("regions").combine_chunks()
    regions = regions if not hasattr(regions, "chunks") else regions.chunk(0)
    return dict(zip(columns.column("name").to_pylist(), ground_truths(regions, sizes), strict=True))


@pytest.fixture
def read(storage, tmp_path):
    def read(name, text, *labels):
        (tmp_path / name).write_text(text if isinstance(text, str) else json.dumps(text))
        found = truths_of(read_ground_truth(storage, str(tmp_path / name), LabelMap.parse(labels)))
        return {
            key: [[*box, int(ignored)] for box, ignored in zip(own.boxes.tolist(), own.ignore, strict=True)]
            for key, own in found.items()
        }

    return read


@pytest.fixture
def read_labels(storage, tmp_path):
    def read(name, text, *labels):
        (tmp_path / name).write_text(text if isinstance(text, str) else json.dumps(text))
        found = truths_of(read_ground_truth(storage, str(tmp_path / name), LabelMap.parse(labels)))
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


@needs_data(PHOTOS)
def test_the_labelled_photographs_have_all_their_faces(storage):
    faces = truths_of(read_ground_truth(storage, str(PHOTOS / "boxes.json")))
    assert len(faces) == 214
    assert sum(map(len, faces.values())) == 1069


def make_files(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def attached(storage, folder, truth, *sources, **shaping):
    """Return the report, and id -> the boxes of the rows of a manifest with ground truth."""
    out = f"{folder}/out.parquet"
    found = build_manifest(
        storage,
        [str(s) for s in sources],
        out,
        ground_truth=None if truth is None else str(truth),
        shaping=Shaping(**shaping),
    )
    rows = [row for table in open_manifest(storage, out).iter_tables() for row in rows_from_table(table, 0)]
    return found, {row.image_id: row.regions for row in rows}


def boxes_of(rows):
    return {image_id: None if own is None else own.boxes.tolist() for image_id, own in rows.items()}


def test_an_entry_goes_to_its_id_before_another_of_the_same_name(storage, tmp_path):
    make_files(tmp_path / "set", "x/a.jpg", "y/a.jpg", "p/b.jpg", "q/b.jpg", "c.jpg")
    (tmp_path / "g.json").write_text(json.dumps({"x/a.jpg": [[1, 2, 3, 4]], "b.jpg": [], "images/c.jpg": []}))
    report, rows = attached(storage, tmp_path, tmp_path / "g.json", tmp_path / "set")
    assert boxes_of(rows) == {"c.jpg": [], "p/b.jpg": None, "q/b.jpg": None, "x/a.jpg": [[1, 2, 3, 4]], "y/a.jpg": None}
    assert (report.unmatched_count, report.unmatched_names) == (1, ("b.jpg",))
    assert (report.labelled_count, report.regions_count) == (2, 1)


FACES = [
    {"url": "train/n01440764/n01440764_10026.JPEG", "bboxes": [{"x0": 1, "y0": 2, "x1": 30.5, "y1": 40}]},
    {
        "url": "val/ILSVRC2012_val_00000001.JPEG",
        "bboxes": [
            {"x0": 9, "y0": 2, "x1": 9, "y1": 40},  # void
            {"x0": 1, "y0": 5, "x1": 3, "y1": 4},  # void
            {"x0": 5, "y0": 6, "x1": 7, "y1": 8},
        ],
    },
    {"url": "train/n01440764/n01440764_7.JPEG", "bboxes": []},
]
TRAIN = [[1, 2, 30.5, 40]]
VALIDATION = [[5, 6, 7, 8]]


def test_faces_of_ilsvrc(read, read_labels):
    expected = {FACES[0]["url"]: [[*TRAIN[0], 0]], FACES[1]["url"]: [[*VALIDATION[0], 0]], FACES[2]["url"]: []}
    assert read("f.json", FACES) == expected
    assert read("f.json", json.dumps(FACES, indent=2)) == expected
    assert read_labels("f.json", FACES, "person")[FACES[0]["url"]] == [("person", False)]


@pytest.mark.parametrize("kind", ["folder", "tar", "hub", "webdataset"])
def test_faces_of_ilsvrc_find_the_images_of_every_kind_of_source(storage, tmp_path, make_tar, kind):
    (tmp_path / "f.json").write_text(json.dumps(FACES))
    train, validation = "n01440764/n01440764_10026", "ILSVRC2012_val_00000001"
    if kind == "folder":
        make_files(
            tmp_path / "set",
            f"train/{train}.JPEG",
            f"val/n02119789/{validation}.JPEG",
            "train/n01440764/n01440764_1.JPEG",
        )
        source, ids = tmp_path / "set", [f"train/{train}.JPEG", f"val/n02119789/{validation}.JPEG"]
    elif kind == "tar":
        inner = make_tar({"n01440764_10026.JPEG": b"1", "n01440764_1.JPEG": b"2"})
        storage.put(f"{tmp_path}/t.tar", make_tar({"n01440764.tar": inner, f"{validation}.JPEG": b"3"}))
        source, ids = tmp_path / "t.tar", [f"{train}.JPEG", f"{validation}.JPEG"]
    elif kind == "hub":
        paths = ["n01440764_10026_n01440764.JPEG", f"{validation}_n02119789.JPEG", "n01440764_1_n01440764.JPEG"]
        images = [{"bytes": b"x" * 5000, "path": path} for path in paths]
        pq.write_table(pa.table({"image": images, "label": [0, 1, 0]}), tmp_path / "p.parquet")
        source, ids = tmp_path / "p.parquet", paths[:2]
    else:
        members = {f"{n}.{e}": b"1" for n in ("n01440764_10026", validation, "n01440764_1") for e in ("jpg", "cls")}
        storage.put(f"{tmp_path}/w.tar", make_tar(members))
        source, ids = tmp_path / "w.tar", ["w/n01440764_10026.jpg", f"w/{validation}.jpg"]
    report, rows = attached(storage, tmp_path, tmp_path / "f.json", source)
    assert {i: own for i, own in boxes_of(rows).items() if own is not None} == {ids[0]: TRAIN, ids[1]: VALIDATION}
    assert (report.void_count, report.unmatched_names) == (2, ("train/n01440764/n01440764_7.JPEG",))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([*FACES, FACES[0]], "appears twice"),
        ([{"url": "a", "bboxes": [{"x0": 1, "y0": 1, "x1": 2}]}], "not a box of x0, y0, x1 and y1"),
        ([{"url": "a", "bboxes": [{"x0": 1, "y0": 1, "x1": 2, "y1": "3"}]}], "not a box of x0"),
        ('[{"url": "a", "bboxes": [{"x0": 1, "y0": 1, "x1": 2, "y1": NaN}]}]', "not a box of x0"),
        ([*FACES, {"url": "b"}], "has no url or no bboxes"),
        ([*FACES, 3], "has no url or no bboxes"),
        (json.dumps(FACES)[:-30], "not JSON"),
        (json.dumps(FACES)[:-1], "it ends before the list does"),
    ],
)
def test_faces_of_ilsvrc_that_cannot_be_read(read, data, message):
    with pytest.raises(ManifestError, match=message):
        read("f.json", data)


OPEN_IMAGES = """ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside
00b,xclick,/m/0dzct,1,0.25,0.5,0.125,0.75,0,0,0,0,0
00a,xclick,/m/01g317,1,0.1,0.2,0.3,0.4,0,0,0,0,0
00a,xclick,/m/0dzct,1,0.5,1,0,0.25,0,0,1,0,0
00b,activemil,/m/01jfm_,1,0.75,1,0.5,1,0,0,0,0,0
00b,xclick,/m/0dzct,1,0.5,0.5,0.1,0.2,0,0,0,0,0
00c,xclick,/m/01g317,1,0,1,0,1,0,0,0,0,0
"""


def test_boxes_of_open_images_are_shares_and_faces_alone_unless_labels_are_given(storage, tmp_path, read_labels):
    (tmp_path / "b.csv").write_text(OPEN_IMAGES)
    found = read_ground_truth(storage, str(tmp_path / "b.csv"))
    truths = truths_of(found)
    assert boxes_of(truths) == {"00a": [[0.5, 0, 1, 0.25]], "00b": [[0.25, 0.125, 0.5, 0.75]]}
    assert [own.ignore.tolist() for own in truths.values()] == [[True], [False]]
    assert all(own.is_normalised for own in truths.values())
    assert found.void_count == 1
    plates = {"00b": [("licence_plate", False)]}
    assert read_labels("b.csv", OPEN_IMAGES, "/m/01jfm_=licence_plate") == plates
    assert read_labels("b.csv", OPEN_IMAGES, "Vehicle registration plate=licence_plate") == plates
    both = read_labels("b.csv", OPEN_IMAGES, "Human face=face", "Person=person")
    assert both == {"00a": [("person", False), ("face", False)], "00b": [("face", False)], "00c": [("person", False)]}


def test_ids_of_open_images_have_no_suffix(storage, tmp_path):
    (tmp_path / "b.csv").write_text(OPEN_IMAGES)
    make_files(tmp_path / "set", "train_0/00a.jpg", "train_0/00b.jpg", "train_0/00c.jpg")
    _, rows = attached(storage, tmp_path, tmp_path / "b.csv", tmp_path / "set")
    assert boxes_of(rows) == {
        "train_0/00a.jpg": [[0.5, 0, 1, 0.25]],
        "train_0/00b.jpg": [[0.25, 0.125, 0.5, 0.75]],
        "train_0/00c.jpg": None,  # nobody looked for faces in it
    }
    assert rows["train_0/00a.jpg"].in_pixels(200, 400).boxes.tolist() == [[100, 0, 200, 100]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OPEN_IMAGES.replace("0.25,0.5,0.125", "0.25,x,0.125"), "not a list of boxes of Open Images"),
        (OPEN_IMAGES.replace(",IsGroupOf", ",IsGroup"), "not a list of boxes of Open Images"),
        (OPEN_IMAGES.replace("/m/0dzct", "/m/0"), "no box of the class /m/0dzct"),
        (OPEN_IMAGES.split("\n", 1)[0] + "\n", "no box of the class"),
    ],
)
def test_boxes_of_open_images_that_cannot_be_read(read, text, message):
    with pytest.raises(ManifestError, match=message):
        read("b.csv", text)


def test_the_form_of_simple_files_may_be_given(storage, tmp_path):
    make_files(tmp_path / "set", "a.jpg")
    (tmp_path / "g.json").write_text('{"a.jpg": [[0.25, 0.5, 0.25, 0.25]]}')
    form = BoxFormat.parse("xywh_normalised")
    _, rows = attached(storage, tmp_path, tmp_path / "g.json", tmp_path / "set", truth_form=form)
    assert boxes_of(rows) == {"a.jpg": [[0.25, 0.5, 0.5, 0.75]]}
    assert rows["a.jpg"].size == (1, 1)
    (tmp_path / "b.csv").write_text(OPEN_IMAGES)
    with pytest.raises(ManifestError, match="Open Images has a form of boxes of its own"):
        attached(storage, tmp_path, tmp_path / "b.csv", tmp_path / "set", truth_form=form)
    with pytest.raises(ConfigError, match="expected xyxy, xywh"):
        BoxFormat.parse("yolo")


def test_a_column_of_boxes_becomes_regions(storage, tmp_path, make_tar):
    cells = {"1": "[[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 1, 1]]", "2": "[]", "3": "null"}
    members = {}
    for key, cell in cells.items():
        members |= {f"{key}.jpg": b"x", f"{key}.json": f'{{"face_bboxes": {cell}, "note": "kept"}}'.encode()}
    storage.put(f"{tmp_path}/w.tar", make_tar(members))
    boxes = BoxColumn("json.face_bboxes", BoxFormat.parse("xyxy_normalised"), "face")
    _, rows = attached(storage, tmp_path, None, tmp_path / "w.tar", boxes=boxes)
    shown = {i: None if own is None else own.boxes.round(3).tolist() for i, own in rows.items()}
    assert [None if own is None else [len(box) for box in own] for own in shown.values()] == [[4, 4], [], None]
    assert rows["w/1.jpg"].size == (1, 1)
    assert rows["w/1.jpg"].in_pixels(100, 10).boxes.round(3).tolist() == [[10, 2, 30, 4], [50, 5, 100, 10]]


def test_a_joined_column_of_boxes_is_not_kept_beside_the_regions(storage, tmp_path):
    make_files(tmp_path / "set", "a.jpg", "b.jpg")
    pq.write_table(
        pa.table({"key": ["a", "b"], "face_bboxes": [[[1.0, 2, 3, 4]], None], "n": [1, 2]}), tmp_path / "m.parquet"
    )
    report, rows = attached(
        storage,
        tmp_path,
        None,
        tmp_path / "set",
        boxes=BoxColumn("face_bboxes"),
        joins=(Join(str(tmp_path / "m.parquet")),),
    )
    assert boxes_of(rows) == {"a.jpg": [[1, 2, 3, 4]], "b.jpg": None}
    assert report.extra_columns == ("n",)


@pytest.mark.parametrize("cell", ["[[1, 2, 3]]", "[1, 2, 3, 4]", "{}x", "[[1, 2, 3, null]]", '[["a", 1, 2, 3]]', "7"])
def test_what_is_no_list_of_boxes_is_refused_with_the_image(storage, tmp_path, cell):
    make_files(tmp_path / "set", "a.jpg")
    (tmp_path / "t.jsonl").write_text(json.dumps({"file": "a.jpg", "boxes": cell}))
    with pytest.raises(ManifestError, match=r"image 'a.jpg': .* is not a list of boxes|null, NaN or infinite"):
        attached(
            storage,
            tmp_path,
            None,
            tmp_path / "set",
            boxes=BoxColumn("boxes"),
            joins=(Join(str(tmp_path / "t.jsonl")),),
        )


def test_boxes_in_px_that_are_called_shares_are_refused(storage, tmp_path):
    make_files(tmp_path / "set", "a.jpg", "b.jpg")
    (tmp_path / "g.json").write_text('{"a.jpg": [[10, 20, 30, 40]], "b.jpg": [[0, 0, 1, 1.2]]}')
    with pytest.raises(ManifestError, match=r"reaches far beyond the image, although .*: row 0$"):
        attached(
            storage, tmp_path, tmp_path / "g.json", tmp_path / "set", truth_form=BoxFormat.parse("xyxy_normalised")
        )


@pytest.mark.full
def test_the_faces_of_all_of_imagenet_need_little_memory(storage, tmp_path):
    import resource

    entries = (
        {
            "url": f"train/n{i // 1300:08d}/n{i // 1300:08d}_{i}.JPEG",
            "bboxes": [{"x0": 1, "y0": 2, "x1": 30.25, "y1": 40.5}] * (i % 3 == 0),
        }
        for i in range(1_431_093)
    )
    with (tmp_path / "f.json").open("w") as file:
        file.write("[" + json.dumps(next(entries)))
        file.writelines(f", {json.dumps(entry)}" for entry in entries)
        file.write("]")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = read_ground_truth(storage, str(tmp_path / "f.json"))
    assert len(found.table) == 1_431_093
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # KiB, so 1 GiB
