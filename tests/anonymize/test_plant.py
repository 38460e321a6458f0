"""Planted faces: synthetic, at a free place, the same for the same seed, and such that a detector finds them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anon_batch.anonymize.faces.donors import MODEL_NAME, DonorBank
from anon_batch.anonymize.faces.plant import plant_face
from anon_batch.config import ModelsConfig, StorageConfig
from anon_batch.models.store import ModelStore
from anon_batch.storage import Storage


@pytest.fixture(scope="module")
def bank():
    return DonorBank(ModelStore(Storage(StorageConfig()), ModelsConfig()).load(MODEL_NAME))


def scene(seed=0, height=150, width=200):
    rng = np.random.default_rng(seed)
    ramp = np.linspace(60, 190, width)[None, :, None] + rng.normal(0, 4, (height, width, 1))
    return np.repeat(ramp.clip(0, 255), 3, axis=2).astype(np.uint8)


def test_equal_arguments_give_equal_images(bank):
    pixels = scene()
    first, again = (plant_face(pixels, 7, 40, bank=bank) for _ in range(2))
    other = plant_face(pixels, 8, 40, bank=bank)
    assert first.box == again.box
    assert np.array_equal(first.pixels, again.pixels)
    assert not np.array_equal(first.pixels, other.pixels)
    assert np.array_equal(pixels, scene())  # the image itself stays


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**64 - 1), size=st.integers(8, 80))
def test_a_face_of_the_asked_size_lies_inside_and_changes_only_its_neighbourhood(bank, seed, size):
    pixels = scene()
    planted = plant_face(pixels, seed, size, bank=bank)
    x1, y1, x2, y2 = planted.box
    assert max(x2 - x1, y2 - y1) == pytest.approx(size)
    assert min(x1, y1) >= 0
    assert (x2 <= 200, y2 <= 150) == (True, True)
    rows, columns = np.nonzero((planted.pixels != pixels).any(axis=2))
    assert len(rows)
    far = 0.4 * size + 2
    assert min(columns.min() - x1, rows.min() - y1) >= -far
    assert max(columns.max() - x2, rows.max() - y2) <= far


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**64 - 1))
def test_what_is_taken_stays_as_it_is(bank, seed):
    pixels, taken = scene(), (0.0, 0.0, 120.0, 150.0)
    planted = plant_face(pixels, seed, 24, [taken], bank=bank)
    if planted is not None:
        assert planted.box[0] >= 120
        assert np.array_equal(planted.pixels[:, :120], pixels[:, :120])


def test_no_place_gives_none(bank):
    assert plant_face(scene(), 1, 40, [(0, 0, 200, 150)], bank=bank) is None
    assert plant_face(scene(height=40, width=40), 1, 32, bank=bank) is None
    with pytest.raises(ValueError, match="at least 8"):
        plant_face(scene(), 1, 4, bank=bank)


def test_dark_and_grey_images_get_dark_and_grey_faces(bank):
    dark = plant_face(scene() // 5, 3, 48, bank=bank)
    bright = plant_face(scene(), 3, 48, bank=bank)
    assert dark.box == bright.box
    x1, y1, x2, y2 = (round(value) for value in dark.box)
    assert dark.pixels[y1:y2, x1:x2].mean() < 0.6 * bright.pixels[y1:y2, x1:x2].mean()
    levels = bright.pixels[y1:y2, x1:x2].astype(int)
    assert np.ptp(levels, axis=2).max() <= 3


def test_the_default_detector_finds_planted_faces(bank):
    from anon_batch import Anonymizer
    from anon_batch.geometry import pairwise_iou
    from anon_batch.imaging.source import SourceImage

    planted = [plant_face(scene(seed), seed, 40, bank=bank) for seed in range(8)]
    images = [SourceImage.from_array(str(at), own.pixels) for at, own in enumerate(planted)]
    found = Anonymizer(policy="solid").detect(images)
    hits = [
        bool((pairwise_iou(one.boxes, np.array([own.box], np.float32)) > 0.4).any())
        for one, own in zip(found, planted, strict=True)
    ]
    assert sum(hits) >= 7
