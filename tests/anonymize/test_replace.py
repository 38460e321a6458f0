"""From regions to composites and back into the image: what is replaced, what is refused, and what decides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drawn_donors import bank_bytes, bank_tensors
from hypothesis import given
from hypothesis import strategies as st
from method_harness import KEY, RUNTIME, make, make_ladder, run_method
from replacement_scenes import erased, model, regions, scenery, turned

from anon_batch import geometry, keys
from anon_batch.anonymize.compose import compose
from anon_batch.anonymize.faces import replace as replacing
from anon_batch.anonymize.faces.donors import DonorBank
from anon_batch.anonymize.faces.replace import FaceReplacer, Replacement, opacity_of, render_patch
from anon_batch.anonymize.protocol import Refusal, Target
from anon_batch.errors import ConfigError, ModelError
from anon_batch.records import DecodedImage

WIDTH, HEIGHT = 320, 240
BOXES = [(30, 40, 70, 90), (120, 100, 190, 190), (250, 30, 280, 70)]
SMALL = [(30, 40, 52, 68), (120, 100, 140, 126), (250, 30, 268, 54)]


@pytest.fixture(scope="module")
def bank():
    return bank_bytes(bank_tensors(24))


@pytest.fixture(scope="module")
def replacer(bank):
    return FaceReplacer(bank, RUNTIME, 4)


@pytest.fixture(scope="module")
def swap():
    return make("swap")


def photo(seed=0, name=None, size=(HEIGHT, WIDTH)):
    return DecodedImage(name or f"photo{seed}", scenery(*size, seed=seed))


def faces(*boxes, width=WIDTH, height=HEIGHT, degrees=10.0, shape="face", expansion=1.15, **kind):
    points = [turned(box, degrees) for box in boxes]
    return regions(*boxes, width=width, height=height, points=points, shape=shape, expansion=expansion, **kind)


def targets_of(image, found, key=KEY):
    hidden, unknown = erased(image.pixels, found)
    return [
        Target(
            image.image_id,
            region,
            keys.seed(key, image.image_id, region.subject),
            image.width,
            image.height,
            lambda: (hidden, unknown),
        )
        for region in found
    ]


def prepared(replacer, image, found, key=KEY):
    return list(replacer.prepare(targets_of(image, found, key)))


def composed(image, pairs, found):
    """Compose crops' pixels: (replacement, pixels)."""
    return compose(image.pixels, [(face.region, render_patch(face, own)) for face, own in pairs], found, [], "surer")


def same(one, two):
    """Whether two replacements are equal to the byte."""
    return (
        one.choice.donor == two.choice.donor
        and one.crop.pixels.tobytes() == two.crop.pixels.tobytes()
        and one.composite.pixels.tobytes() == two.composite.pixels.tobytes()
        and one.composite.alpha.tobytes() == two.composite.alpha.tobytes()
    )


def test_each_region_has_its_replacement(replacer):
    image, found = photo(), faces(*BOXES)
    made = prepared(replacer, image, found)
    assert [face.region.index for face in made] == [0, 1, 2]
    for face, region in zip(made, found, strict=True):
        assert face.seed == keys.seed(KEY, "photo0", region.index)
        assert face.crop.unknown.any()
        assert face.crop.box is not None
        assert face.composite.pixels.shape == face.crop.pixels.shape
        assert face.composite.alpha.shape == face.crop.unknown.shape
        assert 0 <= face.choice.donor < 48
        assert face.choice.cost >= face.choice.best


def test_nothing_to_replace(replacer):
    assert list(replacer.prepare([])) == []


def test_faces_are_taken_in_their_order_a_few_at_a_time(bank, monkeypatch):
    found = faces(*SMALL, (200, 180, 204, 186), *SMALL[:2])
    whole = FaceReplacer(bank, RUNTIME, 16)
    expected = prepared(whole, photo(), found)
    assert [isinstance(face, Refusal) for face in expected] == [False] * 3 + [True] + [False] * 2
    for few in (1, 2, 5):
        monkeypatch.setattr(replacing, "_BATCH", few)
        again = prepared(whole, photo(), found)
        assert all(same(a, b) for a, b in zip(expected, again, strict=True) if isinstance(a, Replacement))
        assert [face for face in again if isinstance(face, Refusal)] == [expected[3]]


@pytest.mark.parametrize("shape", ["ellipse", "rectangle", "face"])
def test_masked_pixels_do_not_affect_a_replacement(replacer, shape):
    found = faces(*BOXES, shape=shape, degrees=25, soft_edge=0.16)
    image = photo(1)
    _, unknown = erased(image.pixels, found)
    other = image.pixels.copy()
    other[unknown] = np.random.default_rng(0).integers(0, 256, (unknown.sum(), 3))
    assert not np.array_equal(other, image.pixels)
    one, two = (prepared(replacer, DecodedImage("p", pixels), found) for pixels in (image.pixels, other))
    assert all(same(a, b) for a, b in zip(one, two, strict=True))


def test_surroundings_affect_a_replacement(replacer):
    found = faces(*BOXES)
    one, two = (prepared(replacer, photo(seed, "p"), found) for seed in (1, 2))
    assert not any(same(a, b) for a, b in zip(one, two, strict=True))
    assert any(a.choice.donor != b.choice.donor for a, b in zip(one, two, strict=True))


def test_run_key_name_and_index_decide_among_donors(replacer):
    found = faces((40, 60, 60, 86), (44, 60, 64, 86))

    def donors(name="p", key=KEY):
        return tuple(face.choice.donor for face in prepared(replacer, photo(3, name), found, key))

    assert donors() == donors()
    by_name = {donors(f"p{i}") for i in range(5)}
    by_key = {donors(key=bytes([i]) * 32) for i in range(5)}
    assert len(by_name) > 2
    assert len(by_key) > 2
    assert any(a != b for a, b in by_name | by_key)


def test_by_subject_one_subject_has_one_face_everywhere(bank):
    replacer, other = FaceReplacer(bank, RUNTIME, 4, by_subject=True), FaceReplacer(bank, RUNTIME, 4)
    chosen, fitting = [], []
    for seed in range(6):
        found = [replace(region, subject="anna") for region in faces(BOXES[seed % 3])]
        chosen += prepared(replacer, photo(seed), found)
        fitting += prepared(other, photo(seed), found)
    assert len({face.seed for face in chosen}) == 1
    assert len({face.choice.donor // 2 for face in chosen}) == 1
    assert len({face.choice.donor // 2 for face in fitting}) > 1
    bob = [replace(region, subject="bob") for region in faces(BOXES[0])]
    people = {prepared(replacer, photo(0), [replace(bob[0], subject=f"p{i}")])[0].choice.donor // 2 for i in range(8)}
    assert len(people) > 3


@pytest.mark.parametrize(
    ("box", "side"),
    [((100, 80, 112, 95), 48), ((100, 60, 140, 110), 96), ((80, 30, 180, 150), 256), ((40, 10, 240, 230), 256)],
)
def test_larger_faces_have_larger_crops(replacer, box, side):
    (face,) = prepared(replacer, photo(), faces(box))
    assert face.crop.side <= side
    assert face.crop.side >= 0.5 * side
    assert face.frame.side == face.crop.side == len(face.composite.alpha)


def test_small_faces_are_refused_with_the_limit(bank):
    found = faces((30, 40, 70, 90), (120, 100, 123, 103), (200, 100, 211, 108), shape="ellipse", expansion=1.3)
    made = prepared(FaceReplacer(bank, RUNTIME, 16), photo(), found)
    assert isinstance(made[0], Replacement)
    assert made[1:] == [Refusal("smaller than 16 px")] * 2
    made = prepared(FaceReplacer(bank, RUNTIME, 14.9), photo(), found)
    assert made[1] == Refusal("smaller than 14.9 px")
    assert isinstance(made[2], Replacement)  # 15 px wide


@pytest.mark.parametrize("box", [(-1e30, -1e30, 1e30, 1e30), (-4000, -4000, 4000, 4000), (-3e38, 0, 3e38, 40)])
@pytest.mark.parametrize("shape", ["face", "ellipse"])
def test_enormous_boxes_are_refused(replacer, box, shape):
    assert prepared(replacer, photo(), faces(box, shape=shape)) == [Refusal("the box is far larger than the image")]


@pytest.mark.parametrize("shape", ["face", "ellipse", "rectangle"])
def test_face_that_fills_its_image_is_refused(replacer, shape):
    image = photo(size=(60, 50))
    made = prepared(replacer, image, faces((-20, -20, 70, 80), width=50, height=60, shape=shape))
    assert made == [Refusal("too little of the image lies around it")]


@pytest.mark.parametrize("box", [(400, 20, 430, 60), (-90, -90, -60, -50)])
def test_face_outside_the_image_is_refused(replacer, box):
    assert prepared(replacer, photo(), faces(box)) == [Refusal("too little of the image lies around it")]


def test_face_that_no_donor_fits_is_refused(replacer, monkeypatch):
    (face,) = prepared(replacer, photo(), faces(BOXES[0]))
    monkeypatch.setattr(replacing, "MOST_COST", face.choice.best - 0.01)
    assert prepared(replacer, photo(), faces(BOXES[0])) == [Refusal("no donor fits")]
    monkeypatch.setattr(replacing, "MOST_COST", face.choice.best)
    assert isinstance(prepared(replacer, photo(), faces(BOXES[0]))[0], Replacement)


def test_what_is_refused_goes_to_the_next_method(swap):
    found = faces(BOXES[0], (200, 100, 201.2, 101.2))
    (result,) = make_ladder(swap, make("pixelate")).anonymize([(photo(), found)], KEY)
    assert result.methods == {0: "swap", 1: "pixelate"}


def test_refused_face_is_erased_for_its_neighbours(bank):
    replacer = FaceReplacer(bank, RUNTIME, 16)
    found = regions((120, 100, 150, 140), (154, 110, 157, 113), width=WIDTH, height=HEIGHT, shape="rectangle")
    image = photo(4)
    other = image.pixels.copy()
    x1, y1, x2, y2 = found[1].extent
    other[y1:y2, x1:x2] = 255
    one, two = (prepared(replacer, DecodedImage("p", pixels), found) for pixels in (image.pixels, other))
    assert isinstance(one[1], Refusal)
    assert same(one[0], two[0])


@pytest.mark.parametrize("shape", ["face", "ellipse", "rectangle"])
def test_patches_without_a_soft_edge_change_the_masks_alone(replacer, shape):
    image, found = photo(5), faces(*BOXES, shape=shape)
    made = prepared(replacer, image, found)
    pairs = [(face, np.full_like(face.crop.pixels, 10 * i + 5)) for i, face in enumerate(made)]
    pixels, touched = composed(image, pairs, found)
    _, unknown = erased(image.pixels, found)
    assert np.array_equal(touched, unknown)
    assert np.array_equal(pixels[~unknown], image.pixels[~unknown])
    for i, region in enumerate(found):
        x1, y1, x2, y2 = region.mask_extent
        assert (pixels[y1:y2, x1:x2][geometry.region_mask(region)] == 10 * i + 5).all()


@pytest.mark.parametrize("soft_edge", [0.02, 0.16, 0.5])
@pytest.mark.parametrize("shape", ["face", "ellipse", "rectangle"])
def test_patches_have_a_share_of_one_in_the_mask_and_none_far_outside(replacer, shape, soft_edge):
    image, found = photo(5), faces(*BOXES, shape=shape, soft_edge=soft_edge)
    for face in prepared(replacer, image, found):
        patch = render_patch(face, face.composite.pixels)
        x1, y1, x2, y2 = face.region.extent
        assert patch.pixels.shape == (y2 - y1, x2 - x1, 3)
        assert patch.pixels.dtype == np.uint8
        assert patch.alpha.dtype == np.float32
        soft = geometry.soft_alpha(face.region)
        assert (patch.alpha[soft == 1] == 1).all()
        assert patch.alpha.min() >= 0
        assert patch.alpha.max() <= 1
        away = geometry.distance_to_zero(soft < 1)
        assert not patch.alpha[away > face.region.edge_px + 3 + 2 * face.frame.scale].any()


@pytest.mark.parametrize("degrees", [0, 35])
@pytest.mark.parametrize("shape", ["ellipse", "rectangle", "face"])
def test_wide_soft_edge_leaves_no_dark_rim(swap, degrees, shape):
    level = 200
    image = DecodedImage("p", np.full((HEIGHT, WIDTH, 3), level, np.uint8))
    found = faces(BOXES[1], degrees=degrees, shape=shape, soft_edge=0.5)
    (result,) = run_method(swap, [(image, found)])
    _, unknown = erased(image.pixels, found)
    rim = result.touched & ~unknown
    assert rim.sum() > 30
    assert np.median(result.pixels[rim]) > level - 25
    far = geometry.distance_to_zero(~unknown) > 0.6 * found[0].edge_px
    assert np.abs(result.pixels[far].astype(int) - level).max() < 4


@pytest.mark.parametrize(
    ("box", "score", "least", "most"),
    [
        ((40, 40, 56, 58), 0.15, 0.1, 0.2),
        ((40, 40, 56, 58), 0.5, 0.25, 0.45),
        ((40, 40, 56, 58), 0.85, 1, 1),
        ((40, 40, 56, 58), 1.0, 1, 1),
        ((40, 40, 120, 130), 0.15, 1, 1),
        ((40, 40, 85, 95), 0.2, 0.3, 0.9),
    ],
)
def test_opacity_follows_the_score_where_faces_are_small(box, score, least, most):
    (region,) = faces(box, scores=[score], shape="ellipse", expansion=1.3)
    assert least <= opacity_of(region) <= most


@given(st.floats(0, 1), st.floats(0, 1), st.floats(4, 120), st.floats(4, 120))
def test_opacity_rises_with_score_and_size(score, other_score, side, other_side):
    low, high = sorted((score, other_score))
    small, large = sorted((side, other_side))
    (less,), (more,) = (
        faces((20, 20, 20 + size, 20 + size), scores=[value], shape="ellipse")
        for size, value in ((small, low), (large, high))
    )
    assert 0 < opacity_of(less) <= opacity_of(more) + 1e-9 <= 1 + 1e-9


def test_a_doubtful_small_face_is_fainter_than_a_sure_one(swap):
    box, image = (100, 100, 118, 122), photo(4)
    sure, doubtful = (faces(box, scores=[score], shape="ellipse", expansion=1.3) for score in (0.9, 0.2))
    whole, faint = (run_method(swap, [(image, found)])[0] for found in (sure, doubtful))
    inside = whole.touched

    def detail(pixels):
        lightness = pixels.astype(float).mean(axis=2)
        return np.abs(np.diff(lightness, axis=1))[inside[:, 1:]].mean()

    assert detail(faint.pixels) < 0.6 * detail(whole.pixels)
    spoilt = image.pixels.copy()
    spoilt[inside] = 255 - spoilt[inside]
    (again,) = run_method(swap, [(DecodedImage(image.image_id, spoilt), doubtful)])
    assert np.array_equal(again.pixels, faint.pixels)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_face_with_the_higher_score_wins_where_masks_overlap(replacer, order):
    image = photo(4)
    boxes, scores = ((90, 90, 114, 118), (96, 84, 126, 124)), (0.9, 0.16)  # the doubtful one is larger
    found = faces(*(boxes[i] for i in order), scores=[scores[i] for i in order], shape="ellipse")
    made = prepared(replacer, image, found)
    pixels, _ = composed(image, [(face, face.composite.pixels) for face in made], found)
    sure = next(face for face in made if face.region.score > 0.5)
    alone, touched = composed(image, [(sure, sure.composite.pixels)], found)
    assert np.array_equal(pixels[touched], alone[touched])


def test_a_bank_that_is_damaged_is_refused_at_once():
    with pytest.raises(ModelError, match="donor bank"):
        FaceReplacer(model("donors")[:1000], RUNTIME, 4)
    tensors = {name: own for name, own in bank_tensors(2).items() if name != "surroundings.head.0.bias"}
    with pytest.raises(ModelError, match="encoder of surroundings"):
        FaceReplacer(bank_bytes(tensors), RUNTIME, 4)


def test_options_are_checked():
    with pytest.raises(ConfigError, match="donor_by"):
        make("swap", donor_by="chance")
    with pytest.raises(ConfigError, match="min_side_px"):
        make("swap", min_side_px=-1)


def test_swap_by_subject_keeps_the_identity_and_by_surroundings_looks_at_them(swap):
    subject = make("swap", donor_by="subject")
    assert subject._replacer._by_subject
    assert not swap._replacer._by_subject
    item = [(photo(0), faces(SMALL[0]))]
    by_surroundings, by_subject = run_method(swap, item)[0], run_method(subject, item)[0]
    assert not np.array_equal(by_surroundings.pixels, by_subject.pixels)
    assert np.array_equal(run_method(subject, item)[0].pixels, by_subject.pixels)


def test_donors_of_the_bundled_bank_are_used_widely(swap):
    found = faces(*SMALL)
    donors = [face.choice.donor // 2 for seed in range(4) for face in prepared(swap._replacer, photo(seed), found)]
    assert len(set(donors)) > 6
    assert max(donors) < len(DonorBank(model("donors"))) // 2
