"""The probe on drawn features, and the features on drawn faces."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from anon_batch.config import ModelsConfig
from anon_batch.evaluate.probe import ProbeSamples, probe
from anon_batch.evaluate.probe_features import DetectorFeatures, NoiseFeatures, crop_around
from anon_batch.models.store import ModelStore
from anon_batch.records import PixelArray
from anon_batch.storage import Storage


def samples(shift: float, faces: int = 120, seed: int = 0) -> ProbeSamples:
    """Return faces of 60 images, two in each, whose replaced features differ by `shift` in the first number."""
    generator, out = np.random.default_rng(seed), ProbeSamples()
    for face in range(faces):
        own, other = generator.normal(size=(2, 30))
        other[0] += shift
        out.add(f"image {face // 2}", ("large",) if face % 4 == 0 else ("small",), own, other)
    return out


def test_the_probe_cannot_tell_equal_sets_apart_and_can_tell_different_ones() -> None:
    chance = probe(samples(0.0))["all"]
    assert chance.interval[0] < 0.5 < chance.interval[1]
    clear = probe(samples(6.0))["all"]
    assert clear.auc > 0.99
    assert clear.interval[0] > 0.97
    assert clear.accuracy > 0.95
    assert clear.faces == 120


def test_slices_are_measured_by_the_same_classifier_and_small_ones_are_left_out() -> None:
    data = samples(6.0)
    data.slices[0] = frozenset({*data.slices[0], "one"})
    measures = probe(data)
    assert list(measures) == ["all", "large", "small"]
    assert (measures["large"].faces, measures["small"].faces) == (30, 90)


def test_faces_of_an_image_are_not_split_between_training_and_test() -> None:
    generator, out = np.random.default_rng(3), ProbeSamples()
    for image in range(40):
        # Each image's replaced face is its untouched one moved in a direction of the image's own, repeated five times: a
        # classifier that has seen the image would know it, another one cannot.
        own, direction = generator.normal(size=(2, 200))
        for _ in range(5):
            jitter = 0.01 * generator.normal(size=(2, 200))
            out.add(f"image {image}", (), own + jitter[0], own + direction + jitter[1])
    assert probe(out)["all"].auc < 0.7


def test_too_few_faces_or_images_give_no_measure() -> None:
    assert probe(samples(1.0, faces=18)) == {}
    few = samples(1.0)
    few.groups = ["the same"] * len(few.groups)
    assert probe(few) == {}


def texture(seed: int, side: int = 140) -> PixelArray:
    grain = np.random.default_rng(seed).normal(128, 20, (side, side, 3)).astype(np.float32)
    return cv2.GaussianBlur(grain, (0, 0), 1.0).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("box", [(20, 20, 30, 32), (50, 40, 90, 90), (-10, 90, 60, 170)])
def test_crops_are_square_at_natural_size_also_at_the_border(box: tuple[int, int, int, int]) -> None:
    pixels = texture(0)
    crop = crop_around(pixels, np.array(box, np.float32))
    assert crop.shape == (2 * round(0.9 * max(box[2] - box[0], box[3] - box[1])),) * 2 + (3,)
    if min(box) >= 30:
        half, x, y = crop.shape[0] // 2, (box[0] + box[2]) // 2, (box[1] + box[3]) // 2
        assert np.array_equal(crop, pixels[y - half : y + half, x - half : x + half])


@pytest.mark.parametrize("side", [8, 50, 128, 500])
def test_noise_features_are_finite_and_of_one_length_at_every_size(side: int) -> None:
    row = NoiseFeatures().of(texture(1, side))
    assert row.shape == NoiseFeatures().of(texture(1, 60)).shape
    assert np.isfinite(row).all()


def test_noise_features_see_a_smoother_face() -> None:
    out, features = ProbeSamples(), NoiseFeatures()
    for seed in range(30):
        own, other = texture(seed, 80), texture(100 + seed, 80)
        other[20:60, 20:60] = cv2.GaussianBlur(other, (0, 0), 1.0)[20:60, 20:60]
        out.add(str(seed), (), features.of(own), features.of(other))
    assert probe(out)["all"].auc > 0.95


def test_detector_features_are_finite_and_differ_between_crops() -> None:
    features = DetectorFeatures(ModelStore(Storage(), ModelsConfig()))
    first, second = features.of(texture(0, 60)), features.of(texture(1, 300))
    assert first.shape == second.shape
    assert np.isfinite(first).all()
    assert not np.allclose(first, second)
