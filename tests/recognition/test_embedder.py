"""Which recogniser a name stands for, and that a face reaches its network as the network's authors feed it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_recogniser import drawn_recogniser

from anon_batch.config import ModelsConfig
from anon_batch.errors import ConfigError, ModelError
from anon_batch.models import registry, store
from anon_batch.models.registry import model_entry
from anon_batch.models.store import ModelStore
from anon_batch.recognition.embedder import Face, load_embedder, load_embedders
from anon_batch.storage import Storage

LANDMARKS = np.array([[40, 50], [75, 49], [58, 70], [43, 92], [72, 91]], np.float64) + 20


def _face() -> Face:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)
    return Face(np.asarray(cv2.resize(pixels, (150, 150), interpolation=cv2.INTER_CUBIC), np.uint8), LANDMARKS)


def test_sface_gets_faces_as_opencv_gives_them(tmp_path: Path) -> None:
    path, face = drawn_recogniser(tmp_path / "drawn.onnx"), _face()
    embedder = load_embedder(ModelStore(Storage(), ModelsConfig(files={"sface": str(path)})), "sface", 1)
    assert (embedder.name, embedder.dimensions, embedder.file.licence) == ("sface", 128, "Apache-2.0")
    theirs = cv2.FaceRecognizerSF.create(str(path), "")
    box = np.array([[0, 0, 1, 1, *(LANDMARKS - 0.5).ravel(), 1]], np.float32)
    crop = theirs.alignCrop(np.ascontiguousarray(face.pixels[:, :, ::-1]), box)
    feature = theirs.feature(crop)[0]
    np.testing.assert_allclose(embedder.embed([face])[0], feature / np.linalg.norm(feature), atol=2e-3)


def test_sface_that_cannot_be_downloaded_says_where_to_put_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = replace(model_entry("sface"), url="http://127.0.0.1:9/face_recognition_sface_2021dec.onnx")
    monkeypatch.setattr(registry, "MODELS", {"sface": nowhere})
    assert store.model_entry("sface") is nowhere
    with pytest.raises(
        ModelError, match=r"'sface' cannot be downloaded: .*Put face_recognition_sface_2021dec\.onnx into"
    ):
        load_embedder(ModelStore(Storage(), ModelsConfig(cache=str(tmp_path))), "sface", 1)


def test_another_file_under_the_name_sface_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = replace(model_entry("sface"), url="http://127.0.0.1:9/face_recognition_sface_2021dec.onnx")
    monkeypatch.setattr(registry, "MODELS", {"sface": nowhere})
    drawn_recogniser(tmp_path / nowhere.filename)
    with pytest.raises(ModelError, match="the cached file has another digest"):
        load_embedder(ModelStore(Storage(), ModelsConfig(cache=str(tmp_path))), "sface", 1)


def test_the_same_recogniser_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="the same recogniser twice"):
        load_embedders(ModelStore(Storage(), ModelsConfig()), ["sface", "sface"], 1)
