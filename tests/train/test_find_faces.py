"""Faces out of pictures: found once, cut out with landmarks in place, kept beside the training."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_faces import tiny_config, write_faces

from anon_batch.config import DetectConfig, LimitsConfig, ModelsConfig
from anon_batch.detect.ensemble import build_detector
from anon_batch.errors import ConfigError, ManifestError
from anon_batch.imaging.decode import decode
from anon_batch.manifest import build_manifest
from anon_batch.models.store import ModelStore
from anon_batch.storage import Storage
from anon_batch.train.config import TrainConfig
from anon_batch.train.face_crops import read_crops
from anon_batch.train.find_faces import MAX_SIDE_PX, REACH, crops_folders, find_faces, is_crops_folder

PHOTOS = Path(__file__).parents[2] / "manifests/sample/photos/people"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs of one person each, one without faces, one broken file."""
    folder = tmp_path_factory.mktemp("pictures") / "photos"
    folder.mkdir()
    for name in ("astronaut.png", "grace_hopper.jpg"):
        shutil.copy(PHOTOS / name, folder / name)
    cv2.imwrite(str(folder / "grey.png"), np.full((200, 200, 3), 90, np.uint8))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    (folder / "notes.txt").write_text("no picture")
    return folder


def _found(config: TrainConfig) -> tuple[Path, list[str]]:
    notes: list[str] = []
    find_faces(config, notes.append)
    [folder] = crops_folders(config)
    return folder, notes


def test_faces_of_a_folder(pictures: Path, tmp_path: Path) -> None:
    config = tiny_config(pictures, tmp_path)
    folder, notes = _found(config)
    assert is_crops_folder(str(folder))
    assert folder.parent == tmp_path / "faces"
    assert notes == [f"{pictures}: 2 faces found in 3 pictures, left out: 1 {_reason(pictures)}"]
    for face in read_crops([folder]):
        height, width = face.pixels.shape[:2]
        assert max(height, width) <= MAX_SIDE_PX
        longer = float((face.box[2:] - face.box[:2]).max())
        assert longer == pytest.approx(max(height, width) / REACH, rel=0.03)
        again = _detected(face.pixels)
        np.testing.assert_allclose(again, face.points, atol=0.06 * longer)


def _reason(pictures: Path) -> str:
    from anon_batch.errors import FailedError

    with pytest.raises(FailedError) as raised:
        decode("b", (pictures / "broken.jpg").read_bytes(), LimitsConfig())
    return raised.value.reason


def _detected(pixels: np.ndarray) -> np.ndarray:
    ok, data = cv2.imencode(".png", pixels[:, :, ::-1])
    assert ok
    detector = build_detector(DetectConfig(), ModelStore(Storage(), ModelsConfig()))
    [found] = detector.detect([decode("a", data.tobytes(), LimitsConfig())])
    return found.landmarks[int(found.scores.argmax())]


def test_found_once(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(pictures, tmp_path)
    folder, _ = _found(config)
    monkeypatch.setattr("anon_batch.train.find_faces.build_detector", None)
    assert _found(config) == (folder, [])
    assert _found(tiny_config(write_faces(tmp_path / "cut", 2), tmp_path)) == (tmp_path / "cut", [])


def test_what_decides_the_faces_names_their_folder(pictures: Path, tmp_path: Path) -> None:
    folders = {
        crops_folders(tiny_config(pictures, tmp_path, **changes))[0]
        for changes in ({}, {"min_face_px": 90}, {"min_score": 0.9}, {"seed": 4})
    }
    assert len(folders) == 3


def test_a_manifest_gives_the_same_faces(pictures: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(pictures, whole, ignore=shutil.ignore_patterns("broken*", "notes*"))
    build_manifest(Storage(), [str(whole)], str(tmp_path / "m.parquet"))
    by_folder, _ = _found(tiny_config(whole, tmp_path / "a"))
    by_manifest, _ = _found(tiny_config(tmp_path / "m.parquet", tmp_path / "b"))
    assert (by_folder / "meta.jsonl").read_text() == (by_manifest / "meta.jsonl").read_text()


def test_a_search_that_failed_leaves_nothing(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"no face of at least 5000 px .* in 3 pictures, left out: 1 .*lower min_face_px"
    ):
        _found(tiny_config(pictures, tmp_path, min_face_px=5000))
    assert list((tmp_path / "faces").iterdir()) == []


def test_sources_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"empty: no picture is there; give a folder with crops/ and meta.jsonl"):
        _found(tiny_config(tmp_path / "empty", tmp_path / "o"))
    with pytest.raises(ConfigError, match="no picture is there"):
        _found(tiny_config(tmp_path / "nowhere", tmp_path / "o"))
    with pytest.raises(ManifestError, match="no manifest at"):
        _found(tiny_config(tmp_path / "none.parquet", tmp_path / "o"))
