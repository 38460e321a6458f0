"""From regions to composites and back into the picture: what is replaced, what is refused, and what decides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from replacement_scenes import erased, model, regions, scenery, turned

from anon_batch import geometry, keys
from anon_batch.anonymize.faces.align import CROP_SIDE
from anon_batch.anonymize.faces.donors import DonorBank
from anon_batch.anonymize.faces.replace import LARGE_SIDE, Limits, opacity_of, painted, replacements
from anon_batch.anonymize.ladder import Ladder
from anon_batch.anonymize.methods.pixelate import Pixelate
from anon_batch.anonymize.methods.swap import Swap
from anon_batch.records import DecodedImage

KEY = bytes(range(32))
LIMITS = Limits(4)
WIDTH, HEIGHT = 320, 240
BOXES = [(30, 40, 70, 90), (120, 100, 190, 190), (250, 30, 280, 70)]


@pytest.fixture(scope="module")
def bank():
    return DonorBank(model("donors"))


def photo(seed=0, name=None, size=(HEIGHT, WIDTH)):
    return DecodedImage(name or f"photo{seed}", scenery(*size, seed=seed))


def faces(*boxes, width=WIDTH, height=HEIGHT, **kind):
    return regions(*boxes, width=width, height=height, **kind)


def test_each_region_has_its_replacement(bank):
    made, refused = replacements(photo(), faces(*BOXES), bank, KEY, LIMITS)
    assert [face.region.index for face in made] == [0, 1, 2]
    assert refused == {}
    for face in made:
        assert face.seed == keys.face_seed(KEY, "photo0", face.region.index)
        assert face.choice.donor.index == bank.choose(face.crop, face.seed).donor.index
        assert face.crop.unknown.any()
        assert face.composite.pixels.shape == face.crop.pixels.shape


@pytest.mark.parametrize("shape", ["ellipse", "rectangle"])
@pytest.mark.parametrize("degrees", [0, 33])
def test_nothing_under_any_mask_enters(bank, degrees, shape):
    regs = faces(*BOXES, shape=shape, points=[turned(box, degrees) for box in BOXES])
    image = photo(1)
    _, unknown = erased(image.pixels, regs)
    other = image.pixels.copy()
    other[unknown] = np.random.default_rng(0).integers(0, 256, (unknown.sum(), 3))
    assert not np.array_equal(other, image.pixels)
    one, two = (replacements(DecodedImage("p", pixels), regs, bank, KEY, LIMITS)[0] for pixels in (image.pixels, other))
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a.crop.pixels, b.crop.pixels)
        assert np.array_equal(a.composite.pixels, b.composite.pixels)
        assert a.choice.donor.index == b.choice.donor.index


def test_the_surroundings_do_enter(bank):
    (region,) = faces(BOXES[1])
    one, two = (replacements(photo(seed, "p"), [region], bank, KEY, LIMITS)[0][0] for seed in (1, 2))
    assert not np.array_equal(one.crop.pixels, two.crop.pixels)
    assert np.abs(one.choice.tone - two.choice.tone).max() > 0.1


def test_run_key_name_and_index_decide_among_donors(bank):
    regs = faces(*[(40 + 4 * i, 60, 90 + 4 * i, 120) for i in range(2)])

    def donors(name="p", key=KEY):
        return [face.choice.donor.index for face in replacements(photo(3, name), regs, bank, key, LIMITS)[0]]

    assert donors() == donors()
    by_name = {tuple(donors(f"p{i}")) for i in range(8)}
    by_key = {tuple(donors(key=bytes([i]) * 32)) for i in range(8)}
    assert len(by_name) > 4
    assert len(by_key) > 4
    assert any(a != b for a, b in by_name)


@pytest.mark.parametrize(
    ("box", "side"),
    [
        ((100, 80, 120, 104), CROP_SIDE),
        ((100, 60, 160, 140), CROP_SIDE),
        ((80, 30, 180, 150), LARGE_SIDE),
    ],
)
def test_large_faces_have_large_crops(bank, box, side):
    ((face,), _) = replacements(photo(), faces(box), bank, KEY, LIMITS)
    assert face.crop.pixels.shape == (side, side, 3)
    assert face.composite.weight.shape == (side, side)


def test_small_faces_are_refused_with_the_limit(bank):
    regs = faces((30, 40, 70, 90), (120, 100, 123, 103), (200, 100, 211, 108))
    made, refused = replacements(photo(), regs, bank, KEY, Limits(16))
    assert [face.region.index for face in made] == [0]
    assert refused == {1: "smaller than 16 px", 2: "smaller than 16 px"}
    assert replacements(photo(), regs, bank, KEY, Limits(14.9))[1] == {1: "smaller than 14.9 px"}  # 15 px wide


def test_faces_of_a_low_score_are_refused_with_the_limit(bank):
    made, refused = replacements(photo(), faces(*BOXES, scores=[0.9, 0.39, 0.41]), bank, KEY, Limits(4, 0.4))
    assert [face.region.index for face in made] == [0, 2]
    assert refused == {1: "found with a score below 0.4"}


@pytest.mark.parametrize("box", [(-1e30, -1e30, 1e30, 1e30), (-4000, -4000, 4000, 4000), (-3e38, 0, 3e38, 40)])
def test_enormous_boxes_are_refused(bank, box):
    made, refused = replacements(photo(), faces(box), bank, KEY, LIMITS)
    assert made == []
    assert refused == {0: "the box is far larger than the picture"}


def test_a_face_that_fills_its_picture_is_refused(bank):
    image = photo(size=(60, 50))
    made, refused = replacements(image, faces((-20, -20, 70, 80), width=50, height=60), bank, KEY, LIMITS)
    assert made == []
    assert refused == {0: "too little of the picture lies around it"}


def test_a_refused_face_is_erased_for_its_neighbours_all_the_same(bank):
    regs = faces((120, 100, 150, 140), (154, 110, 157, 113), shape="rectangle")
    image = photo(4)
    other = image.pixels.copy()
    x1, y1, x2, y2 = regs[1].extent
    other[y1:y2, x1:x2] = 255
    one, two = (
        replacements(DecodedImage("p", pixels), regs, bank, KEY, Limits(16))[0][0] for pixels in (image.pixels, other)
    )
    assert np.array_equal(one.crop.pixels, two.crop.pixels)


def test_painting_changes_the_masks_alone(bank):
    image, regs = photo(5), faces(*BOXES)
    made, _ = replacements(image, regs, bank, KEY, LIMITS)
    pairs = [(face, np.full_like(face.crop.pixels, 10 * i + 5)) for i, face in enumerate(made)]
    result = painted(image, pairs, {7: "why"}, 0, "x")
    assert result.methods == {0: "x", 1: "x", 2: "x"}
    assert result.refused == {7: "why"}
    _, unknown = erased(image.pixels, regs)
    assert np.array_equal(result.touched, unknown)
    assert np.array_equal(result.pixels[~unknown], image.pixels[~unknown])
    for i, region in enumerate(regs):
        x1, y1, x2, y2 = region.extent
        assert (result.pixels[y1:y2, x1:x2][geometry.region_mask(region)] == 10 * i + 5).all()


@pytest.mark.parametrize("shape", ["ellipse", "rectangle"])
@pytest.mark.parametrize("degrees", [0, 45])
def test_a_wide_soft_edge_leaves_no_dark_rim(bank, degrees, shape):
    level = 200
    image = DecodedImage("p", np.full((HEIGHT, WIDTH, 3), level, np.uint8))
    regs = faces(BOXES[1], shape=shape, points=[turned(BOXES[1], degrees)])
    (result,) = Swap(bank, LIMITS, 0.5).anonymize([(image, regs)], KEY)
    _, unknown = erased(image.pixels, regs)
    rim = result.touched & ~unknown
    assert rim.sum() > 1000
    assert result.pixels[rim].min() > level - 20


def test_swap_gives_the_same_alone_and_in_company_and_in_any_order(bank):
    batch = [(photo(i), faces(*BOXES[: i % 3 + 1])) for i in range(4)]
    together = Swap(bank, LIMITS).anonymize(batch, KEY)
    backwards = Swap(DonorBank(model("donors")), LIMITS).anonymize(batch[::-1], KEY)[::-1]
    for item, a, b in zip(batch, together, backwards, strict=True):
        (alone,) = Swap(bank, LIMITS).anonymize([item], KEY)
        assert np.array_equal(a.pixels, alone.pixels)
        assert np.array_equal(b.pixels, alone.pixels)
        assert a.methods == alone.methods == dict.fromkeys(range(len(item[1])), "swap")


def test_what_swap_refuses_falls_to_the_next_method(bank):
    regs = faces(BOXES[0], (200, 100, 201.2, 101.2))
    (result,) = Ladder([Swap(bank, LIMITS), Pixelate(8)]).anonymize([(photo(), regs)], KEY)
    assert result.methods == {0: "swap", 1: "pixelate"}


@pytest.mark.parametrize(
    ("box", "score", "least", "most"),
    [
        ((40, 40, 56, 58), 0.15, 0.16, 0.16),
        ((40, 40, 56, 58), 0.5, 0.3, 0.4),
        ((40, 40, 56, 58), 0.8, 1, 1),
        ((40, 40, 56, 58), 1.0, 1, 1),
        ((40, 40, 120, 130), 0.15, 1, 1),
        ((40, 40, 85, 95), 0.2, 0.4, 0.9),
    ],
)
def test_opacity_follows_the_score_where_faces_are_small(box, score, least, most):
    (region,) = faces(box, scores=[score])
    assert least <= opacity_of(region) <= most


@given(st.floats(0, 1), st.floats(0, 1), st.floats(4, 120), st.floats(4, 120))
def test_opacity_rises_with_score_and_size(score, other_score, side, other_side):
    low, high = sorted((score, other_score))
    small, large = sorted((side, other_side))
    (less,), (more,) = (
        faces((20, 20, 20 + size, 20 + size), scores=[value]) for size, value in ((small, low), (large, high))
    )
    assert 0 < opacity_of(less) <= opacity_of(more) + 1e-9 <= 1 + 1e-9


def test_a_doubtful_small_face_is_painted_faintly_and_nothing_of_the_old_one_shows(bank):
    box, image = (100, 100, 118, 122), photo(4)
    sure, doubtful = (faces(box, scores=[score]) for score in (0.9, 0.2))
    whole, faint = (Swap(bank, LIMITS).anonymize([(image, regs)], KEY)[0] for regs in (sure, doubtful))
    (made,), _ = replacements(image, sure, bank, KEY, LIMITS)
    bare = painted(image, [(made, made.crop.pixels)], {}, 0.0, "swap").pixels.astype(float)
    inside = whole.touched
    change, faint_change = (np.abs(out.pixels - bare)[inside].mean() for out in (whole, faint))
    assert faint_change == pytest.approx(0.16 * change, rel=0.1)
    spoilt = image.pixels.copy()
    spoilt[inside] = 255 - spoilt[inside]
    (again,) = Swap(bank, LIMITS).anonymize([(DecodedImage(image.image_id, spoilt), doubtful)], KEY)
    assert np.array_equal(again.pixels, faint.pixels)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_where_masks_overlap_the_surer_face_is_seen(bank, order):
    image = photo(4)
    boxes, scores = ((90, 90, 114, 118), (96, 84, 126, 124)), (0.9, 0.16)  # the doubtful one is larger
    regs = faces(*(boxes[i] for i in order), scores=[scores[i] for i in order])
    made, refused = replacements(image, regs, bank, KEY, LIMITS)
    result = painted(image, [(face, face.composite.pixels) for face in made], refused, 0.0, "swap")
    sure = next(face for face in made if face.region.score > 0.5)
    alone = painted(image, [(sure, sure.composite.pixels)], {}, 0.0, "swap")
    assert np.array_equal(result.pixels[alone.touched], alone.pixels[alone.touched])
