"""Measuring opacities: faces are replaced as in a run, at each opacity, and found again by their boxes."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_faces import write_faces
from replacement_scenes import model, scenery, turned

from anon_batch.anonymize.faces.replace import FaceReplacer
from anon_batch.config import ModelsConfig
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.records import DecodedImage, Detections
from anon_batch.storage import Storage
from anon_batch.train.face_crops import read_crops
from tools import calibrate_opacity as calibration

BOXES = np.array([[20, 20, 50, 60], [90, 70, 106, 92]], np.float32)


def detections(boxes, scores):
    points = np.stack([turned(box, 0) for box in boxes]).astype(np.float32)
    return Detections(boxes, np.array(scores, np.float32), points, ("d",) * len(boxes))


def test_more_of_the_face_shows_with_more_opacity():
    replacer = FaceReplacer(model("donors"), Runtime(ModelStore(Storage(), ModelsConfig())), 4.0)
    image = DecodedImage("sheet", scenery(128, 128))
    versions = list(calibration.replace_faces(image, detections(BOXES, [0.9, 0.3]), replacer))
    assert len(versions) == len(calibration.OPACITIES)
    assert (image.pixels == scenery(128, 128)).all()
    face = np.s_[25:55, 25:45]
    whole = versions[-1].pixels[face].astype(int)
    away = [np.abs(version.pixels[face] - whole).mean() for version in versions]
    assert away == sorted(away, reverse=True)
    assert away[0] > 3 > away[-1] == 0
    for version in versions:
        assert (version.pixels[:8] == image.pixels[:8]).all()
        assert (version.pixels[110:] == image.pixels[110:]).all()


@pytest.mark.parametrize(
    ("box", "score"),
    [((20, 20, 50, 60), 0.9), ((22, 22, 52, 62), 0.9), ((90, 70, 106, 92), 0.3), ((60, 20, 90, 60), 0)],
)
def test_a_face_is_found_again_by_its_box(box, score):
    found = detections(BOXES, [0.9, 0.3])
    assert calibration.score_at(found, np.array(box, np.float32)) == pytest.approx(score)


def test_sheets_show_every_face_at_its_size(tmp_path):
    faces = list(read_crops([write_faces(tmp_path / "faces", 4)]))
    first, again = (list(calibration.sheets(faces, np.random.default_rng(1))) for _ in range(2))
    assert len(first) == 1
    assert first[0].pixels.shape == (640, 640, 3)
    assert np.array_equal(first[0].pixels, again[0].pixels)
    (face,), sizes = faces[:1], []
    for seed in range(30):
        small = calibration.degrade(face, np.random.default_rng(seed))
        sizes.append(float((face.box[2:] - face.box[:2]).max()) * len(small) / len(face.pixels))
    assert 7 < min(sizes) < 14, "px of the box"
    assert 40 < max(sizes) < 61
