"""From regions to composites and back into the image: what is replaced, what is refused, and what decides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from method_harness import KEY, make, make_ladder, run_method
from replacement_scenes import erased, model, regions, scenery, turned

from anon_batch import geometry, keys
from anon_batch.anonymize.compose import compose
from anon_batch.anonymize.faces.align import CROP_SIDE
from anon_batch.anonymize.faces.donors import DonorBank
from anon_batch.anonymize.faces.replace import LARGE_SIDE, Replacement, opacity_of, prepare, render_patch
from anon_batch.anonymize.protocol import Target
from anon_batch.records import DecodedImage

WIDTH, HEIGHT = 320, 240
BOXES = [(30, 40, 70, 90), (120, 100, 190, 190), (250, 30, 280, 70)]


@pytest.fixture(scope="module")
def bank():
    return DonorBank(model("donors"))


def photo(seed=0, name=None, size=(HEIGHT, WIDTH)):
    return DecodedImage(name or f"photo{seed}", scenery(*size, seed=seed))


def faces(*boxes, width=WIDTH, height=HEIGHT, **kind):
    return regions(*boxes, width=width, height=height, **kind)


def replacements(image, regs, bank, key=KEY, min_side_px=4):
    """Prepare all regions of an image: replacements, and region index -> reason of those that are refused."""
    hidden, unknown = erased(image.pixels, regs)
    made, refused = [], {}
    for region in regs:
        seed = keys.seed(key, image.image_id, region.subject)
        target = Target(image.image_id, region, seed, image.width, image.height, lambda: (hidden, unknown))
        face = prepare(target, bank, min_side_px)
        if isinstance(face, Replacement):
            made.append(face)
        else:
            refused[region.index] = face.reason
    return made, refused


def composed(image, pairs, regs):
    """Compose crops' pixels: (replacement, pixels)."""
    return compose(image.pixels, [(face.region, render_patch(face, own)) for face, own in pairs], regs, [], "surer")


def test_each_region_has_its_replacement(bank):
    made, refused = replacements(photo(), faces(*BOXES), bank)
    assert [face.region.index for face in made] == [0, 1, 2]
    assert refused == {}
    for face in made:
        assert face.seed == keys.seed(KEY, "photo0", face.region.index)
        assert face.choice.donor.index == bank.choose(face.crop, face.seed).donor.index
        assert face.crop.unknown.any()
        assert face.composite.pixels.shape == face.crop.pixels.shape


@pytest.mark.parametrize("shape", ["ellipse", "rectangle"])
@pytest.mark.parametrize("degrees", [0, 33])
def test_masked_pixels_do_not_affect_a_replacement(bank, degrees, shape):
    regs = faces(*BOXES, shape=shape, points=[turned(box, degrees) for box in BOXES])
    image = photo(1)
    _, unknown = erased(image.pixels, regs)
    other = image.pixels.copy()
    other[unknown] = np.random.default_rng(0).integers(0, 256, (unknown.sum(), 3))
    assert not np.array_equal(other, image.pixels)
    one, two = (replacements(DecodedImage("p", pixels), regs, bank)[0] for pixels in (image.pixels, other))
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a.crop.pixels, b.crop.pixels)
        assert np.array_equal(a.composite.pixels, b.composite.pixels)
        assert a.choice.donor.index == b.choice.donor.index


def test_surroundings_affect_a_replacement(bank):
    (region,) = faces(BOXES[1])
    one, two = (replacements(photo(seed, "p"), [region], bank)[0][0] for seed in (1, 2))
    assert not np.array_equal(one.crop.pixels, two.crop.pixels)
    assert np.abs(one.choice.tone - two.choice.tone).max() > 0.1


def test_run_key_name_and_index_decide_among_donors(bank):
    regs = faces(*[(40 + 4 * i, 60, 90 + 4 * i, 120) for i in range(2)])

    def donors(name="p", key=KEY):
        return [face.choice.donor.index for face in replacements(photo(3, name), regs, bank, key)[0]]

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
    ((face,), _) = replacements(photo(), faces(box), bank)
    assert face.crop.pixels.shape == (side, side, 3)
    assert face.composite.weight.shape == (side, side)


def test_small_faces_are_refused_with_the_limit(bank):
    regs = faces((30, 40, 70, 90), (120, 100, 123, 103), (200, 100, 211, 108))
    made, refused = replacements(photo(), regs, bank, min_side_px=16)
    assert [face.region.index for face in made] == [0]
    assert refused == {1: "smaller than 16 px", 2: "smaller than 16 px"}
    assert replacements(photo(), regs, bank, min_side_px=14.9)[1] == {1: "smaller than 14.9 px"}  # 15 px wide


@pytest.mark.parametrize("box", [(-1e30, -1e30, 1e30, 1e30), (-4000, -4000, 4000, 4000), (-3e38, 0, 3e38, 40)])
def test_enormous_boxes_are_refused(bank, box):
    made, refused = replacements(photo(), faces(box), bank)
    assert made == []
    assert refused == {0: "the box is far larger than the image"}


def test_face_that_fills_its_image_is_refused(bank):
    image = photo(size=(60, 50))
    made, refused = replacements(image, faces((-20, -20, 70, 80), width=50, height=60), bank)
    assert made == []
    assert refused == {0: "too little of the image lies around it"}


def test_refused_face_is_erased_for_its_neighbours(bank):
    regs = faces((120, 100, 150, 140), (154, 110, 157, 113), shape="rectangle")
    image = photo(4)
    other = image.pixels.copy()
    x1, y1, x2, y2 = regs[1].extent
    other[y1:y2, x1:x2] = 255
    one, two = (
        replacements(DecodedImage("p", pixels), regs, bank, min_side_px=16)[0][0] for pixels in (image.pixels, other)
    )
    assert np.array_equal(one.crop.pixels, two.crop.pixels)


def test_patches_change_the_masks_alone(bank):
    image, regs = photo(5), faces(*BOXES)
    made, _ = replacements(image, regs, bank)
    pairs = [(face, np.full_like(face.crop.pixels, 10 * i + 5)) for i, face in enumerate(made)]
    pixels, touched = composed(image, pairs, regs)
    _, unknown = erased(image.pixels, regs)
    assert np.array_equal(touched, unknown)
    assert np.array_equal(pixels[~unknown], image.pixels[~unknown])
    for i, region in enumerate(regs):
        x1, y1, x2, y2 = region.extent
        assert (pixels[y1:y2, x1:x2][geometry.region_mask(region)] == 10 * i + 5).all()


@pytest.mark.parametrize("shape", ["ellipse", "rectangle"])
@pytest.mark.parametrize("degrees", [0, 45])
def test_wide_soft_edge_leaves_no_dark_rim(degrees, shape):
    level = 200
    image = DecodedImage("p", np.full((HEIGHT, WIDTH, 3), level, np.uint8))
    regs = faces(BOXES[1], shape=shape, points=[turned(BOXES[1], degrees)], soft_edge=0.5)
    (result,) = run_method(make("swap"), [(image, regs)])
    _, unknown = erased(image.pixels, regs)
    rim = result.touched & ~unknown
    assert rim.sum() > 1000
    assert result.pixels[rim].min() > level - 20


def test_swap_does_not_depend_on_batch_and_order():
    batch = [(photo(i), faces(*BOXES[: i % 3 + 1])) for i in range(4)]
    swap = make("swap")
    together = run_method(swap, batch)
    backwards = run_method(make("swap"), batch[::-1])[::-1]
    for item, a, b in zip(batch, together, backwards, strict=True):
        (alone,) = run_method(swap, [item])
        assert np.array_equal(a.pixels, alone.pixels)
        assert np.array_equal(b.pixels, alone.pixels)
        assert a.methods == alone.methods == dict.fromkeys(range(len(item[1])), "swap")


def test_what_swap_refuses_goes_to_the_next_method():
    regs = faces(BOXES[0], (200, 100, 201.2, 101.2))
    (result,) = make_ladder(make("swap"), make("pixelate")).anonymize([(photo(), regs)], KEY)
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


def test_small_face_with_a_low_score_is_blended_with_low_opacity(bank):
    box, image = (100, 100, 118, 122), photo(4)
    sure, doubtful = (faces(box, scores=[score]) for score in (0.9, 0.2))
    swap = make("swap")
    whole, faint = (run_method(swap, [(image, regs)])[0] for regs in (sure, doubtful))
    (made,), _ = replacements(image, sure, bank)
    bare = composed(image, [(made, made.crop.pixels)], sure)[0].astype(float)
    inside = whole.touched
    change, faint_change = (np.abs(out.pixels - bare)[inside].mean() for out in (whole, faint))
    assert faint_change == pytest.approx(0.16 * change, rel=0.1)
    spoilt = image.pixels.copy()
    spoilt[inside] = 255 - spoilt[inside]
    (again,) = run_method(swap, [(DecodedImage(image.image_id, spoilt), doubtful)])
    assert np.array_equal(again.pixels, faint.pixels)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_face_with_the_higher_score_wins_where_masks_overlap(bank, order):
    image = photo(4)
    boxes, scores = ((90, 90, 114, 118), (96, 84, 126, 124)), (0.9, 0.16)  # the doubtful one is larger
    regs = faces(*(boxes[i] for i in order), scores=[scores[i] for i in order])
    made, _ = replacements(image, regs, bank)
    pixels, _ = composed(image, [(face, face.composite.pixels) for face in made], regs)
    sure = next(face for face in made if face.region.score > 0.5)
    alone, touched = composed(image, [(sure, sure.composite.pixels)], regs)
    assert np.array_equal(pixels[touched], alone[touched])
