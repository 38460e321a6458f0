"""Training faces of a folder: the held-out share, mirroring, and errors in a listing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_faces import HELD_OUT, write_faces

from anon_batch.errors import ConfigError
from anon_batch.train.face_crops import is_held_out, read_crops, read_listing


def test_one_face_in_ten_is_held_out() -> None:
    names = [f"face_{n}.jpg" for n in range(5000)]
    held_out = [name for name in names if is_held_out(name)]
    assert 400 < len(held_out) < 600
    # Because a resumed training must hold out the same faces, the choice must never change.
    assert held_out[:5] == ["face_5.jpg", "face_8.jpg", "face_9.jpg", "face_19.jpg", "face_28.jpg"]


def test_read_and_mirror(faces: Path) -> None:
    read = list(read_crops([faces]))
    assert [f.name for f in read] == [e.name for e in read_listing(faces)]
    assert sum(is_held_out(f.name) for f in read) == HELD_OUT
    again = read[0].mirror().mirror()
    np.testing.assert_array_equal(again.pixels, read[0].pixels)
    np.testing.assert_allclose(again.points, read[0].points, atol=1e-4)
    flipped = read[0].mirror()
    assert flipped.points[0, 0] < flipped.points[1, 0], "the right eye stays on the left of the image"


def _line(folder: Path, **changes: Any) -> None:
    listing = folder / "meta.jsonl"
    lines = listing.read_text().splitlines()
    lines[1] = json.dumps({**json.loads(lines[1]), **changes})
    listing.write_text("\n".join(lines))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"file": "none.png"}, "none.png is not a readable image"),
        ({"box": [1, 2, 3]}, r"meta.jsonl:2: ValueError.*expected file, box"),
        ({"box": [1, 2, 0, 4]}, "width and height above 0"),
        ({"box": [1, 2, float("nan"), 4]}, "finite"),
        ({"box": [500, 2, 40, 40]}, "outside the image of 128 x 128 px"),
        ({"lm": [[1, 2]]}, "meta.jsonl:2"),
        ({"lm": [[1, 2], [3, 4], [5, 6], [7, 8], [9, 129]]}, "outside the image"),
        ({"lm": None}, "meta.jsonl:2"),
    ],
)
def test_errors_in_a_line(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    folder = write_faces(tmp_path / "f", 2)
    _line(folder, **changes)
    with pytest.raises(ConfigError, match=said):
        list(read_crops([folder]))


def test_errors_in_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read meta.jsonl \(No such file"):
        list(read_crops([tmp_path]))
    folder = write_faces(tmp_path / "f", 2)
    (folder / "meta.jsonl").write_bytes(b"\xff\xfe{")
    with pytest.raises(ConfigError, match="not UTF-8"):
        list(read_crops([folder]))
    (folder / "meta.jsonl").write_text("{\n")
    with pytest.raises(ConfigError, match=r"meta\.jsonl:1"):
        list(read_crops([folder]))
