"""The check `residual`: what detectors missed is anonymized or withheld, kept faces stay, planted ones leave counts alone."""

from __future__ import annotations

import numpy as np
import pytest
from external_data import MODELS, skip_without_weights
from method_harness import RUNTIME, make_regions
from residual_scenes import KEY, anonymizer, background, bank, named, no_boxes, scene

from anon_batch import Anonymizer
from anon_batch.anonymize.checks import residual_plant
from anon_batch.anonymize.checks.residual import _choose
from anon_batch.anonymize.checks.residual_plant import measure_recall
from anon_batch.anonymize.checks.residual_search import Passes, search, uncovered
from anon_batch.anonymize.faces.plant import Planted, plant_face
from anon_batch.config import DetectConfig, ModelsConfig
from anon_batch.detect.ensemble import build_detector
from anon_batch.errors import ConfigError, WithheldError
from anon_batch.imaging.source import SourceImage
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.outcomes import Anonymized, Clean, Withheld
from anon_batch.records import Detections
from anon_batch.storage import Storage


def run(made, pixels, truth=None):
    [out] = made([pixels], ["a"], [no_boxes() if truth is None else truth])
    return out


def middle(box):
    x1, y1, x2, y2 = (round(value) for value in box)
    return slice((3 * y1 + y2) // 4, (y1 + 3 * y2) // 4), slice((3 * x1 + x2) // 4, (x1 + 3 * x2) // 4)


def is_covered(out, planted):
    """Return whether the face's middle is black, as `solid` leaves it."""
    return isinstance(out, Anonymized) and not out.pixels[middle(planted.box)].any()


def test_a_face_that_was_missed_is_anonymized():
    planted = scene()
    assert isinstance(run(anonymizer(scales=[1], turns=[], threshold=1), planted.pixels), Clean)  # nothing scores 1
    out = run(anonymizer(), planted.pixels)
    assert is_covered(out, planted)
    assert out.checks["residual"] == {"checked": 1, "found": 1, "boxes": 1, "added": 1}
    assert out.records[0].method == "solid"


def test_a_face_below_the_threshold_of_the_first_detector_is_caught():
    planted, hidden = scene(), DetectConfig(detectors=[{"name": "centerface", "threshold": 0.99}])
    made = anonymizer()
    made.detector = build_detector(hidden, RUNTIME)
    assert len(made.detect([SourceImage.from_array("a", planted.pixels)])[0]) == 0
    assert is_covered(run(made, planted.pixels), planted)


def test_a_face_below_the_threshold_is_caught_by_another_network():
    skip_without_weights("yunet_n_640_640.onnx")
    runtime = Runtime(ModelStore(Storage(), ModelsConfig(mirror=str(MODELS))))
    detect = {"detectors": [{"name": "centerface", "threshold": 0.99}]}
    blind, seeing = (
        Anonymizer(detect, "solid", checks, key=KEY, runtime=runtime) for checks in (None, {"residual": {}})
    )
    found = 0
    for seed in range(6):
        planted = scene(seed)
        assert isinstance(run(blind, planted.pixels), Clean)
        found += is_covered(run(seeing, planted.pixels), planted)
    assert found == 6
    assert "yunet_n" in seeing.models


def test_policy_withhold_names_the_check():
    out = run(anonymizer(policy="withhold"), scene().pixels)
    assert isinstance(out, Withheld)
    assert (out.reason, out.error.detail) == ("check", "residual: 1 detections outside all regions")
    assert out.checks["residual"] == {"checked": 1, "found": 1, "boxes": 1, "withheld": 1}


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_turned_faces_need_the_turned_passes(quarter):
    scenes = [np.ascontiguousarray(np.rot90(scene(seed).pixels, quarter)) for seed in range(5)]
    upright, turned = (
        [isinstance(run(anonymizer(turns=turns), pixels), Anonymized) for pixels in scenes]
        for turns in ([], [90, 180, 270])
    )
    assert turned == [True] * 5
    assert sum(upright) < 5


def test_a_turned_face_is_covered_where_it_is():
    planted = scene(3)
    x1, y1, x2, y2 = planted.box
    pixels = np.ascontiguousarray(np.rot90(planted.pixels, 2))
    out = run(anonymizer(), pixels)
    assert is_covered(out, Planted(pixels, (200 - x2, 150 - y2, 200 - x1, 150 - y1)))


def test_small_faces_need_the_enlarged_pass():
    scenes = [scene(seed, 11) for seed in range(8)]
    plain, enlarged = (
        sum(is_covered(run(anonymizer(scales=scales, turns=[]), own.pixels), own) for own in scenes)
        for scales in ([1], [1, 2])
    )
    assert plain == 0
    assert enlarged >= 4


def test_what_the_owner_keeps_stays():
    planted = scene()
    out = run(anonymizer(), planted.pixels, named(planted.box, keep=True))
    assert isinstance(out, Clean)
    assert np.array_equal(out.pixels, planted.pixels)
    assert out.checks["residual"] == {"checked": 1}


def test_another_face_beside_a_kept_one_is_anonymized():
    first = scene(0)
    both = plant_face(first.pixels, 5, 40, [first.box], bank=bank())
    out = run(anonymizer(), both.pixels, named(first.box, keep=True))
    assert is_covered(out, both)
    assert np.array_equal(out.pixels[middle(first.box)], first.pixels[middle(first.box)])


@pytest.mark.parametrize("method", ["swap", "blur"])
def test_a_new_face_in_a_region_is_no_residual(method):
    outcomes = [run(anonymizer(method), own.pixels, named(own.box)) for own in (scene(seed) for seed in range(3))]
    assert [out.checks["residual"] for out in outcomes] == [{"checked": 1}] * 3


class Everywhere:
    """Finds a new place at every look."""

    models = ()

    def __init__(self):
        self.looks = 0

    def detect(self, images):
        self.looks += 1
        at = 20 * self.looks
        box = np.array([[at, 10, at + 12, 22]], np.float32)
        return [Detections(box, np.ones(1, np.float32), np.full((1, 5, 2), np.nan, np.float32), ("e",))]


def test_an_image_that_is_never_clear_is_withheld_after_two_rounds():
    made = anonymizer(scales=[1], turns=[])
    made.image_checks[0]._detector = Everywhere()
    out = run(made, background())
    assert isinstance(out, Withheld)
    assert out.reason == "check"
    assert out.checks["residual"] == {"checked": 1, "found": 1, "boxes": 1, "added": 2, "withheld": 1}
    assert made.image_checks[0]._detector.looks == 3


@pytest.mark.parametrize("error", [WithheldError("detect", "not finite"), RuntimeError("broke")])
def test_an_error_of_the_detector_withholds(error):
    class Broken:
        def detect(self, images):
            raise error

    made = anonymizer()
    made.image_checks[0]._detector = Broken()
    out = run(made, background())
    assert isinstance(out, Withheld)
    assert out.reason == ("detect" if isinstance(error, WithheldError) else "check")


def test_a_check_that_was_not_prepared_withholds():
    made = anonymizer()
    made.image_checks[0]._detector = None
    assert isinstance(run(made, background()), Withheld)


@pytest.mark.parametrize(
    ("detectors", "said"),
    [
        (["centerface"], "`centerface` is in detect.detectors too"),
        ([{"name": "centerface", "threshold": 0.01}], "`centerface` is in detect.detectors too"),
        (["manifest"], "`manifest` looks at no pixels"),
    ],
)
def test_a_detector_of_the_job_is_refused(detectors, said):
    with pytest.raises(ConfigError, match=f"checks.residual.detectors: {said}"):
        Anonymizer(checks={"residual": {"detectors": detectors}}, runtime=RUNTIME)


def test_no_default_is_left():
    with pytest.raises(ConfigError, match="name another detector here"):
        _choose(None, ["yunet_n", "centerface", "yunet"])
    assert [_choose(None, used)[0].name for used in (["centerface"], ["yunet_n"], ["manifest"])] == [
        "yunet_n",
        "centerface",
        "yunet_n",
    ]


@pytest.mark.parametrize(
    "wrong",
    [{"scales": [2]}, {"scales": [1, 0.5]}, {"turns": [45]}, {"share": 0}, {"policy": "keep"}, {"thresholds": 1}],
)
def test_wrong_options_name_their_key(wrong):
    with pytest.raises(ConfigError, match=rf"checks\.residual\.{next(iter(wrong))}"):
        anonymizer(**wrong)


def test_a_share_is_checked_whatever_comes_with_an_image():
    ids = [f"image {at}" for at in range(60)]
    made = anonymizer(share=0.4, scales=[1], turns=[])
    together = made([background()] * 60, ids, [no_boxes()] * 60)
    alone = [made([background()], [name], [no_boxes()])[0] for name in reversed(ids)][::-1]
    checked = ["checked" in out.checks["residual"] for out in together]
    assert checked == ["checked" in out.checks["residual"] for out in alone]
    assert 12 <= sum(checked) <= 36
    assert all(out.checks["residual"] in ({"checked": 1}, {"skipped": 1}) for out in together)
    other = made.with_key(b"o" * 32)([background()] * 60, ids, [no_boxes()] * 60)
    assert checked != ["checked" in out.checks["residual"] for out in other]


def test_recall_is_counted_by_size_and_no_planted_pixel_is_left():
    ids = [f"image {at}" for at in range(16)]
    images = [background(at, 240, 320) for at in range(16)]
    plain, planting = (anonymizer(plant=plant)(images, ids, [no_boxes()] * 16) for plant in (0, 1))
    for image, out, other in zip(images, plain, planting, strict=True):
        assert np.array_equal(out.pixels, other.pixels)
        assert np.array_equal(other.pixels, image)
    counts = [out.checks["residual"] for out in planting]
    total = {name: sum(own.get(name, 0) for own in counts) for own in counts for name in own}
    assert sum(total[f"planted_{band}"] for band in ("12_24", "24_48", "48_96")) == 16
    assert total["planted_found_48_96"] == total["planted_48_96"] > 0
    assert total["checked"] == 16


def test_not_one_level_of_a_planted_image_reaches_an_output(monkeypatch):
    """Even when what is planted fills the whole image, and another find is anonymized."""
    seen = []

    def fill(pixels, seed, size_px, taken, *, bank):
        seen.append(size_px)
        return Planted(np.full_like(pixels, (255, 0, 255)), (0, 0, 10, 10))

    monkeypatch.setattr(residual_plant, "plant_face", fill)
    planted = scene()
    out = run(anonymizer(plant=1), planted.pixels)
    assert is_covered(out, planted)
    assert len(seen) == 1
    assert not (out.pixels == (255, 0, 255)).all(axis=2).any()
    assert out.checks["residual"]["added"] == 1
    changed = (out.pixels != planted.pixels).any(axis=2)
    assert not (changed & ~out.touched).any()


def test_nothing_is_planted_where_no_place_is_free():
    full = [(0.0, 0.0, 200.0, 150.0)]
    assert measure_recall(background(), 1, bank(), [], full, lambda pixels: Detections.empty()) == {}
    missed = measure_recall(background(), 1, bank(), [], [], lambda pixels: Detections.empty())
    assert sorted(missed.values()) == [0, 1]


def test_large_images_are_searched_in_bounded_pieces():
    sizes = []

    class Watch:
        def detect(self, images):
            sizes.extend(image.pixels.shape[:2] for image in images)
            return [Detections.empty() for _ in images]

    search("a", np.zeros((600, 900, 3), np.uint8), Watch(), Passes((1.0, 2.0, 4.0), (90, 180), 1000, 0.6))
    assert sizes == [(600, 900), (667, 1000), (667, 1000), (900, 600), (600, 900)]
    sizes.clear()
    search("a", np.zeros((600, 900, 3), np.uint8), Watch(), Passes((1.0, 2.0), (90, 180), 300, 0.6))
    assert sizes == [(600, 900), (300, 200), (200, 300)]


def test_boxes_outside_the_image_are_nothing_that_is_left():
    boxes = np.array([[-30, -30, -10, -10], [10, 10, 30, 30]], np.float32)
    found = Detections(boxes, np.ones(2, np.float32), np.full((2, 5, 2), np.nan, np.float32), ("e",) * 2)
    assert uncovered(found, [], None, 200, 150).boxes.tolist() == [[10, 10, 30, 30]]


def test_what_reaches_into_a_new_mask_is_left_at_the_first_look_alone():
    boxes = np.array([[30, 10, 60, 40], [70, 10, 100, 40]], np.float32)  # a third of the first lies in the mask
    found = Detections(boxes, np.ones(2, np.float32), np.full((2, 5, 2), np.nan, np.float32), ("e",) * 2)
    regions = make_regions((10, 10, 40, 40), width=200, height=150, shape="rectangle")
    assert len(uncovered(found, regions, None, 200, 150)) == 2
    assert uncovered(found, regions, None, 200, 150, is_first=False).boxes.tolist() == [[70, 10, 100, 40]]
