"""Training faces are found once, cropped with their landmarks, and cached beside the training."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_faces import tiny_config, write_faces

from anon_batch.config import DetectConfig, ModelsConfig
from anon_batch.detect.ensemble import build_detector
from anon_batch.errors import ConfigError, ManifestError
from anon_batch.imaging.decode import decode
from anon_batch.imaging.source import SourceImage
from anon_batch.manifest import build_manifest
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.storage import Storage
from anon_batch.train.config import TrainConfig
from anon_batch.train.face_crops import read_crops
from anon_batch.train.find_faces import MAX_SIDE_PX, REACH, crops_folders, find_faces, is_crops_folder

PHOTOS = Path(__file__).parents[2] / "manifests/sample/photos/people"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs of one person each, one without faces, one broken file."""
    folder = tmp_path_factory.mktemp("images") / "photos"
    folder.mkdir()
    for name in ("astronaut.png", "grace_hopper.jpg"):
        shutil.copy(PHOTOS / name, folder / name)
    cv2.imwrite(str(folder / "grey.png"), np.full((200, 200, 3), 90, np.uint8))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    (folder / "notes.txt").write_text("not an image")
    return folder


def _find(config: TrainConfig) -> tuple[Path, list[str]]:
    messages: list[str] = []
    find_faces(config, messages.append)
    [folder] = crops_folders(config)
    return folder, messages


def test_faces_of_an_image_folder_are_cropped(images: Path, tmp_path: Path) -> None:
    config = tiny_config(images, tmp_path)
    folder, messages = _find(config)
    assert is_crops_folder(str(folder))
    assert folder.parent == tmp_path / "faces"
    assert messages == [f"{images}: 2 faces found in 3 images, skipped: 1 {_reason(images)}"]
    for face in read_crops([folder]):
        height, width = face.pixels.shape[:2]
        assert max(height, width) <= MAX_SIDE_PX
        longer = float((face.box[2:] - face.box[:2]).max())
        assert longer == pytest.approx(max(height, width) / REACH, rel=0.03)
        again = _detected(face.pixels)
        np.testing.assert_allclose(again, face.points, atol=0.06 * longer)


def _reason(images: Path) -> str:
    from anon_batch.errors import FailedError

    with pytest.raises(FailedError) as raised:
        decode("b", (images / "broken.jpg").read_bytes())
    return raised.value.reason


def _detected(pixels: np.ndarray) -> np.ndarray:
    ok, data = cv2.imencode(".png", pixels[:, :, ::-1])
    assert ok
    detector = build_detector(DetectConfig(), Runtime(ModelStore(Storage(), ModelsConfig())))
    [found] = detector.detect([SourceImage.open("a", data.tobytes()).preview()])
    return found.landmarks[int(found.scores.argmax())]


def test_faces_are_found_once(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(images, tmp_path)
    folder, _ = _find(config)
    monkeypatch.setattr("anon_batch.train.find_faces.build_detector", None)
    assert _find(config) == (folder, [])
    assert _find(tiny_config(write_faces(tmp_path / "cut", 2), tmp_path)) == (tmp_path / "cut", [])


def test_cache_folder_depends_on_the_search_settings_alone(images: Path, tmp_path: Path) -> None:
    folders = {
        crops_folders(tiny_config(images, tmp_path, **changes))[0]
        for changes in ({}, {"min_face_px": 90}, {"min_score": 0.9}, {"seed": 4})
    }
    assert len(folders) == 3


def test_a_manifest_and_a_folder_give_the_same_faces(images: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(images, whole, ignore=shutil.ignore_patterns("broken*", "notes*"))
    build_manifest(Storage(), [str(whole)], str(tmp_path / "m.parquet"))
    by_folder, _ = _find(tiny_config(whole, tmp_path / "a"))
    by_manifest, _ = _find(tiny_config(tmp_path / "m.parquet", tmp_path / "b"))
    assert (by_folder / "meta.jsonl").read_text() == (by_manifest / "meta.jsonl").read_text()


def test_a_failed_search_leaves_no_files(images: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"no face of at least 5000 px .* in 3 images, skipped: 1 .*lower min_face_px"
    ):
        _find(tiny_config(images, tmp_path, min_face_px=5000))
    assert list((tmp_path / "faces").iterdir()) == []


def test_missing_sources_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"no images at .*empty; use a folder with crops/ and meta.jsonl"):
        _find(tiny_config(tmp_path / "empty", tmp_path / "o"))
    with pytest.raises(ConfigError, match="no images at"):
        _find(tiny_config(tmp_path / "nowhere", tmp_path / "o"))
    with pytest.raises(ManifestError, match="no manifest at"):
        _find(tiny_config(tmp_path / "none.parquet", tmp_path / "o"))
