"""`mannequin` on drawn scenes; that it never sees what it hides is in tests/contracts and tests/properties."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drawn_bodies import standing, street
from method_harness import KEY, make, make_detections, make_ladder, make_regions, run_method
from shifted_memory import numpy_memory_at, shifted

from anon_batch import Anonymizer, geometry
from anon_batch.anonymize.bodies.draw import draw
from anon_batch.anonymize.bodies.figure import make_figure
from anon_batch.anonymize.bodies.solids import Ellipsoid, Limb
from anon_batch.anonymize.ladder import Ladder
from anon_batch.anonymize.policy import Policy, Treatment
from anon_batch.config.anonymize import TreatmentConfig
from anon_batch.detect.pose import KEYPOINTS
from anon_batch.geometry import crop, region_mask
from anon_batch.records import DecodedImage

SIZE = 480, 640
BOX = (240, 40, 400, 440)
METHOD = make("mannequin")


def region_at(box=BOX, keypoints=None, **how):
    [region] = make_regions(box, width=SIZE[1], height=SIZE[0], **how)
    return region if keypoints is None else replace(region, keypoints=keypoints)


def shown(region, image_id="p", pixels=None, method=METHOD):
    pixels = street(*SIZE) if pixels is None else pixels
    [result] = run_method(method, [(DecodedImage(image_id, pixels), [region])])
    return result


def front(region):
    """Return where the figure is, on the image."""
    opaque = np.zeros(SIZE, np.bool_)
    crop(opaque, region.extent)[...] = draw(make_figure(region.keypoints), region.extent).opacity > 0.5
    return opaque


def test_a_figure_stands_where_the_keypoints_are():
    region = METHOD.claim(region_at(), SIZE[1], SIZE[0])
    result = shown(region)
    assert result.methods == {0: "mannequin"}
    body = front(region)
    for name in ("nose", "left elbow", "right wrist", "left knee", "right ankle"):
        x, y = region.keypoints[KEYPOINTS.index(name), :2].astype(int).tolist()
        assert body[y, x], name
    removed = shown(region, method=make("inpaint"))
    assert np.abs(result.pixels[body].astype(int) - removed.pixels[body]).mean() > 12


def test_the_mask_grows_to_hold_the_figure_and_its_shadow():
    arms = standing(BOX)
    for side in (1, -1):
        for joint, reach in (("elbow", 85), ("wrist", 130), ("index", 150), ("pinky", 150), ("thumb", 140)):
            at = KEYPOINTS.index(f"{'left' if side > 0 else 'right'} {joint}")
            arms[at, :2] = 320 + side * reach, 114
    region = region_at(keypoints=arms)
    claimed = METHOD.claim(region, SIZE[1], SIZE[0])
    assert claimed.mask_extent[0] < region.mask_extent[0] < region.mask_extent[2] < claimed.mask_extent[2]
    mask = geometry.union_of_masks([claimed], SIZE[1], SIZE[0])
    assert mask[geometry.union_of_masks([region], SIZE[1], SIZE[0])].all()
    assert mask[front(claimed)].all()
    result = shown(claimed)
    assert np.array_equal(result.pixels[~mask], street(*SIZE)[~mask])


def test_parts_that_nobody_sees_do_not_let_the_mask_grow():
    points = standing(BOX)
    points[KEYPOINTS.index("left wrist")] = 620, 60, 0, 0.05
    region = region_at(keypoints=points)
    claimed = METHOD.claim(region, SIZE[1], SIZE[0])
    assert claimed.mask_extent[2] < 480


def test_a_figure_does_not_leave_the_neighbourhood_of_its_box():
    points = standing((0, 0, 640, 480))  # nonsense, all sure
    claimed = METHOD.claim(region_at((300, 200, 340, 300), points), SIZE[1], SIZE[0])
    x1, y1, x2, y2 = claimed.mask_extent
    assert (x1, y1, x2, y2) == (285, 185, 355, 315)


def test_widths_come_from_the_keypoints_alone():
    slim, broad = region_at((290, 40, 350, 440)), region_at((140, 40, 500, 440))
    assert np.array_equal(slim.keypoints, broad.keypoints)
    slim, broad = (METHOD.claim(own, SIZE[1], SIZE[0]) for own in (slim, broad))
    assert np.array_equal(front(slim), front(broad))


def test_the_seed_chooses_among_few_colours():
    region = region_at()
    colours = set()
    for at in range(24):
        pixels = shown(region, image_id=f"p{at}").pixels
        middle = pixels[150:180, 310:330].reshape(-1, 3).mean(axis=0)
        colours.add(tuple(np.round(middle / 6).astype(int)))
        assert np.ptp(middle) < 60
    assert 2 <= len(colours) <= 16


def test_light_comes_from_the_surroundings():
    bright, dark = street(*SIZE), street(*SIZE) // 4
    region = region_at()
    body = front(region)
    values = [shown(region, pixels=pixels).pixels[body].mean() for pixels in (bright, dark)]
    assert values[0] > 2 * values[1]


def test_a_front_is_not_covered_by_what_is_behind_a_neighbour():
    near, far = (240, 40, 420, 470), (150, 100, 300, 400)
    regions = make_regions(near, far, width=SIZE[1], height=SIZE[0], shape="rectangle")
    [both] = run_method(METHOD, [(DecodedImage("p", street(*SIZE)), regions)])
    alone = draw(make_figure(regions[1].keypoints), (0, 0, SIZE[1], SIZE[0])).opacity > 0.99
    other = draw(make_figure(regions[0].keypoints), (0, 0, SIZE[1], SIZE[0])).opacity > 0
    hidden = alone & ~other
    hidden[:, :240] = False  # only where the regions overlap
    hidden[:, 300:] = False
    assert hidden.sum() > 300
    [removed] = run_method(make("inpaint"), [(DecodedImage("p", street(*SIZE)), regions)])
    assert np.abs(both.pixels[hidden].astype(int) - removed.pixels[hidden]).mean() > 12


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"keypoints": None}, "no keypoints"),
        ({"box": (240.0, 40.0, 260.0, 80.0)}, "too small"),
        ({"keypoints": standing(BOX, 0.2)}, "too few of its keypoints are sure"),
        ({"keypoints": np.full((33, 4), np.nan, np.float32)}, "not finite"),
        ({"keypoints": np.ones((33, 4), np.float32)}, "body of"),
    ],
)
def test_who_cannot_be_drawn_goes_to_the_next_method(change, reason):
    region = replace(region_at(), **change)
    assert METHOD.claim(region, SIZE[1], SIZE[0]) is region
    result = shown(region)
    assert result.methods == {}
    assert reason in result.refused[0]


def test_the_fallbacks_see_nothing_either():
    assert TreatmentConfig(method="mannequin").ladder == ("mannequin", "inpaint", "solid")


def test_no_result_depends_on_the_batch_and_its_order():
    batch = [(DecodedImage(f"p{n}", street(*SIZE, n)), [region_at((200 + 30 * n, 40, 420, 440))]) for n in range(3)]
    together = run_method(METHOD, batch)
    backwards = run_method(METHOD, batch[::-1])[::-1]
    for own, other, item in zip(together, backwards, batch, strict=True):
        assert np.array_equal(own.pixels, other.pixels)
        assert np.array_equal(own.pixels, run_method(METHOD, [item])[0].pixels)


@pytest.mark.parametrize("offset", [4, 20, 52])
def test_no_result_depends_on_where_arrays_lie_in_memory(offset):
    region, pixels = METHOD.claim(region_at(), SIZE[1], SIZE[0]), street(*SIZE)
    expected = shown(region, pixels=pixels).pixels
    with numpy_memory_at(offset):
        claimed = METHOD.claim(region_at(), SIZE[1], SIZE[0])
        found = shown(claimed, pixels=shifted(pixels, offset)).pixels
    assert np.array_equal(claimed.outline, region.outline)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("side", [60, 200, 3000])
def test_figures_of_all_sizes_are_drawn(side):
    height, width = side + 20, side // 2 + 40
    [region] = make_regions((20, 10, width - 20, height - 10), width=width, height=height)
    drawing = draw(make_figure(region.keypoints), region.extent)
    share = drawing.opacity.mean()
    assert 0.1 < share < 0.5
    assert drawing.light.max() < 1.3


def test_solids_are_seen_as_geometry_says():
    x, y = np.arange(0, 100, dtype=np.float32)[None, :], np.arange(0, 100, dtype=np.float32)[:, None]
    ball = Limb(np.array([50.0, 50.0, 7.0]), np.array([50.0, 50.0, 7.0]), 20, 20)
    same = Ellipsoid(np.array([50.0, 50.0, 7.0]), np.eye(3), (20, 20, 20))
    for solid in (ball, same):
        own = solid.seen(x, y)
        assert own.hit.sum() == pytest.approx(np.pi * 400, rel=0.02)
        assert own.depth[50, 50] == pytest.approx(-13, abs=0.01)
        assert own.normal[:, 50, 60] == pytest.approx([0.5, 0, -np.sqrt(0.75)], abs=0.01)
    slanted = Limb(np.array([20.0, 50.0, 0.0]), np.array([80.0, 50.0, 60.0]), 10, 10).seen(x, y)
    assert slanted.depth[50, 50] == pytest.approx(30 - 10 * np.sqrt(2), abs=0.05)
    swallowed = Limb(np.array([50.0, 50.0, 0.0]), np.array([52.0, 50.0, 3.0]), 20, 5).seen(x, y)
    assert swallowed.hit.sum() == pytest.approx(np.pi * 400, rel=0.02)


class Posed:
    """Finds the same standing body in every box, and counts."""

    models = ("person_pose",)

    def __init__(self):
        self.boxes = []

    def find(self, pixels, boxes):
        self.boxes += boxes
        return [standing(box) for box in boxes]


def test_keypoints_are_found_only_for_labels_whose_methods_use_them():
    policy = Policy({"face": Treatment("solid"), "person": Treatment("mannequin", ("solid",))}, Treatment("solid"))
    poses = Posed()
    ladder = Ladder(policy, {"solid": make("solid"), "mannequin": METHOD}, poses=poses)
    found = make_detections(BOX, (10, 10, 30, 30), labels=("person", "face"))
    regions = policy.regions_of(found, SIZE[1], SIZE[0])
    image = DecodedImage("p", street(*SIZE))
    ready = ladder.prepare(regions, lambda: image)
    assert poses.boxes == [regions[0].box]
    assert ready[0].keypoints is not None
    assert ready[1] is regions[1]
    assert (ready[0].outline & region_mask(ready[0])).any()
    [result] = ladder.anonymize([(image, ready)], KEY)
    assert result.methods == {0: "mannequin", 1: "solid"}
    assert "person_pose" in ladder.models
    assert "person_pose" not in make_ladder(make("solid")).models


def test_python_draws_figures_from_given_boxes():
    pixels = street(*SIZE)
    region = METHOD.claim(region_at(), SIZE[1], SIZE[0])
    person = shown(region, pixels=pixels).pixels  # a figure is person enough for the network
    anonymizer = Anonymizer(
        {"detectors": ["manifest"]}, {"person": {"method": "mannequin", "shape": "rectangle"}}, key=KEY
    )
    truth = geometry_truth(BOX)
    [outcome] = anonymizer([person], ["p"], [truth])
    assert outcome.result.methods == {0: "mannequin"}
    assert "person_pose" in anonymizer.models
    [again] = anonymizer([person], ["p"], [truth])
    assert np.array_equal(outcome.pixels, again.pixels)
    untouched = ~outcome.result.touched
    assert np.array_equal(outcome.pixels[untouched], person[untouched])


def geometry_truth(box):
    from anon_batch.records import GroundTruth

    return GroundTruth(np.float32([box]), np.zeros(1, np.bool_), ("person",))
