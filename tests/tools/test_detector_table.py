from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from PIL import Image

from anon_batch.records import Detections, Preview
from tools.detector_table import Photo, Row, half_of, lines_of, main, measure, read_photos, touching

FACE = [40.0, 30.0, 80.0, 80.0]
SMALL = [100.0, 10.0, 110.0, 22.0]


class Finds:
    models = ("mediapipe",)

    def __init__(self, *boxes):
        self.boxes = np.float32(boxes).reshape(-1, 4)

    def detect(self, images):
        count = len(self.boxes)
        marks = np.full((count, 5, 2), np.nan, np.float32)
        return [Detections(self.boxes, np.full(count, 0.9, np.float32), marks, ("x",) * count) for _ in images]


def measured(*boxes):
    row = Row("x", Finds(*boxes), ms=[3.0, 2.0])
    measure(row, [Photo(Preview("a", np.zeros((120, 160, 3), np.uint8)), np.float32([FACE, SMALL]))])
    return row


def test_uncovered_faces_and_boxes_that_touch_none_are_counted():
    row = measured(FACE, [0, 0, 20, 20])
    assert (row.uncovered.hits, row.uncovered.faces) == (0, 1), "the small face does not count"
    assert row.unlabelled == 1
    row = measured([62, 30, 102, 80])
    assert (row.uncovered.hits, row.uncovered.faces, row.unlabelled) == (1, 1, 0)


def test_a_line_has_every_figure():
    _, _, line = lines_of([measured(FACE)], images=1)
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells[:2] == ["x", "0 of 1 (0.0 %)"]
    assert cells[3:8] == ["1.000", "1.000", "0.00", "2", "1.1 MB"]
    assert cells[8:] == [
        "Apache-2.0",
        "images of Google's own, which are not published (see its model card)",
        "in the package",
    ]
    assert "not run: no account" in [*lines_of([Row("y", None, "no account")], images=1)][2]


def test_a_box_touches_a_face_that_it_covers_by_a_third_or_lies_in():
    boxes = np.float32([[40, 30, 80, 50], [40, 30, 80, 40], [50, 40, 60, 50], [0, 0, 39, 29]])
    assert touching(boxes, np.float32([FACE])).tolist() == [True, True, True, False]
    assert touching(boxes[:0], np.float32([FACE])).shape == (0,)
    assert not touching(boxes, np.zeros((0, 4), np.float32)).any()


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "images").mkdir()
    names = [f"{number}.png" for number in range(6)]
    for name in names:
        Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(tmp_path / "images" / name)
    entries = [{"file": name, "boxes": [[10, 10, 40, 40, "face"]]} for name in names]
    (tmp_path / "boxes.json").write_text(json.dumps(entries))
    return tmp_path


def test_the_halves_share_no_photograph(photos):
    halves = [{photo.image.image_id for photo in read_photos(photos, [half])} for half in (0, 1)]
    assert halves[0].isdisjoint(halves[1])
    assert len(halves[0] | halves[1]) == len(read_photos(photos, [0, 1])) == 6
    assert {half_of(name) for name in halves[1]} == {1}


def test_the_command_prints_what_it_measured_and_what_it_cannot_run(photos, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "dlib", None)
    monkeypatch.setattr("tools.detector_table.limit_threads", lambda threads: None)
    monkeypatch.setattr(
        "sys.argv", ["x", str(photos), "--detectors", "fast", "dlib_hog", "--output", str(photos / "t.md")]
    )
    main()
    table = (photos / "t.md").read_text()
    assert table in capsys.readouterr().out
    assert (
        f"| `centerface`, one look (preset `fast`) | {len(read_photos(photos, [1]))} of {len(read_photos(photos, [1]))} (100.0 %)"
        in table
    )
    assert "| `dlib_hog` | not run: detector `dlib_hog` needs the package dlib |" in table
    assert "| `google_vision` | not run:" in table
