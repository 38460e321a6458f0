from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from anon_batch.config import DetectConfig, ModelsConfig
from anon_batch.detect.dlib_faces import MMOD_TILE_PX, TALLER
from anon_batch.detect.ensemble import build_detector
from anon_batch.errors import ConfigError, ModelError
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.records import Preview
from anon_batch.storage import Storage


class Rectangle:
    """A box as dlib gives it: both ends are inside."""

    def __init__(self, *ends):
        self.ends = ends

    left, top, right, bottom = (lambda self, at=at: self.ends[at] for at in range(4))


class FakeDlib:
    """Finds one face, with a margin, in every image; records what it was shown."""

    def __init__(self, margin=0.0, ends=(20, 30, 39, 49)):
        self.margin, self.ends, self.shown, self.asked = margin, ends, [], []

    def get_frontal_face_detector(self):
        def run(pixels, upsample, lowest):
            self.shown.append(pixels)
            self.asked.append((upsample, lowest))
            return [Rectangle(*self.ends)], [self.margin], [0]

        return SimpleNamespace(run=run)

    def cnn_face_detection_model_v1(self, path):
        with open(path, "rb") as file:
            if file.read() != b"weights":
                raise RuntimeError("unexpected end of file")

        def search(pixels, upsample):
            self.shown.append(pixels)
            return [SimpleNamespace(rect=Rectangle(*self.ends), confidence=self.margin)]

        return search


def detector(monkeypatch, tmp_path, dlib, name, weights=b"weights", **keys):
    monkeypatch.setitem(sys.modules, "dlib", dlib)
    (tmp_path / "own.dat").write_bytes(weights)
    store = ModelStore(Storage(), ModelsConfig(files={"dlib_mmod": str(tmp_path / "own.dat")}))
    return build_detector(DetectConfig(detectors=[{"name": name, **keys}], preset="fast"), Runtime(store))


@pytest.mark.parametrize("name", ["dlib_hog", "dlib_mmod"])
def test_a_margin_becomes_a_score_and_a_box_grows(monkeypatch, tmp_path, name):
    dlib = FakeDlib(margin=1.0)
    [found] = detector(monkeypatch, tmp_path, dlib, name, scale=2.0).detect(
        [Preview("a", np.zeros((90, 80, 3), np.uint8))]
    )
    half = 20 * TALLER / 2
    np.testing.assert_allclose(found.boxes, [np.array([20, 40 - half, 40, 40 + half]) / 2], rtol=1e-6)
    assert found.scores.tolist() == pytest.approx([1 / (1 + np.exp(-1.0))])
    assert np.isnan(found.landmarks).all()
    assert (found.labels, found.detectors) == (("face",), (name,))
    assert dlib.shown[0].shape == (180, 160, 3)
    assert dlib.shown[0].flags.c_contiguous


@pytest.mark.parametrize("name", ["dlib_hog", "dlib_mmod"])
def test_small_images_are_padded_and_thresholds_apply(monkeypatch, tmp_path, name):
    dlib = FakeDlib(margin=0.1)
    images = [Preview("a", np.zeros((1, 50, 3), np.uint8))]
    own = detector(monkeypatch, tmp_path, dlib, name, threshold=0.6)
    assert len(own.detect(images)[0]) == 0
    assert dlib.shown[0].shape == (128, 128, 3)
    if name == "dlib_hog":
        assert dlib.asked == [(1, pytest.approx(np.log(0.6 / 0.4)))]


def test_the_network_sees_windows_that_bound_its_memory(monkeypatch, tmp_path):
    dlib = FakeDlib()
    detector(monkeypatch, tmp_path, dlib, "dlib_mmod").detect([Preview("a", np.zeros((900, 1200, 3), np.uint8))])
    assert len(dlib.shown) > 6
    assert max(max(pixels.shape) for pixels in dlib.shown) <= MMOD_TILE_PX


@pytest.mark.parametrize("name", ["dlib_hog", "dlib_mmod"])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, tmp_path, name):
    with pytest.raises(ConfigError, match=rf"{name}.*anon-batch\[dlib\]"):
        detector(monkeypatch, tmp_path, None, name)


def test_a_file_that_dlib_cannot_read_is_a_model_error(monkeypatch, tmp_path):
    with pytest.raises(ModelError, match="dlib_mmod"):
        detector(monkeypatch, tmp_path, FakeDlib(), "dlib_mmod", weights=b"rotten")
