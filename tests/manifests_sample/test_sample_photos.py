"""The photographs that ship: attributed, decodable, labelled, small, and with something in them to strip."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from anon_batch.imaging.decode import decode
from anon_batch.imaging.metadata.inspect import inspect

SAMPLE = Path(__file__).parents[2] / "manifests" / "sample"
PHOTOS = sorted(path for path in (SAMPLE / "photos").rglob("*") if path.is_file())
FACES = json.loads((SAMPLE / "faces.json").read_text())


def _name(path: Path) -> str:
    return path.relative_to(SAMPLE / "photos").as_posix()


@pytest.mark.parametrize("path", PHOTOS, ids=_name)
def test_each_photograph_is_attributed_labelled_and_decodes(path: Path) -> None:
    assert path.name in (SAMPLE / "ATTRIBUTION.md").read_text()
    image = decode(_name(path), path.read_bytes())
    for x1, y1, x2, y2 in FACES[_name(path)]:
        assert 0 <= x1 < x2 <= image.width
        assert 0 <= y1 < y2 <= image.height


def test_the_set_is_what_the_demo_needs() -> None:
    assert len(PHOTOS) >= 12
    assert set(FACES) == {_name(path) for path in PHOTOS}
    assert sum(path.stat().st_size for path in PHOTOS) < 3_000_000
    assert 5 <= sum(bool(boxes) for boxes in FACES.values()) <= len(PHOTOS) - 5
    assert {path.suffix for path in PHOTOS} >= {".jpg", ".png", ".JPG"}


def test_the_rotated_one_has_what_must_not_get_out() -> None:
    path = SAMPLE / "photos" / "people" / "grace_hopper.jpg"
    with Image.open(path) as stored:
        assert stored.getexif()[0x0112] == 6
        assert stored.getexif().get_ifd(0x8825)
        assert stored.info["comment"]
        assert stored.size == (600, 512)
    upright = decode("x", path.read_bytes())
    assert (upright.width, upright.height) == (512, 600)
    assert len(inspect(path.read_bytes())) >= 2
