"""What every method must do. It runs for each built-in method and for a plug-in."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from method_harness import KEY, RUNTIME, make, make_ladder, make_regions, run_method
from random_color import RandomColor

from anon_batch import plugins
from anon_batch.anonymize.checks.structure import Structure, kept_structure
from anon_batch.anonymize.protocol import Method, Patch, Refusal
from anon_batch.anonymize.render import render
from anon_batch.geometry import union_of_masks
from anon_batch.records import AnonymizedImage, DecodedImage

CHECK = Structure(Structure.Options(), RUNTIME)
HEIGHT, WIDTH = 96, 128
SYNTHETIC = ("gan", "swap")

CASES = {
    "one face": [(40, 30, 70, 65)],
    "at the corner": [(-10, -8, 20, 25)],
    "at the far corner": [(110, 80, 150, 120)],
    "outside": [(200, 20, 230, 60)],
    "overlapping": [(20, 20, 60, 60), (40, 30, 80, 70), (45, 35, 52, 41)],
    "the same twice": [(20, 20, 60, 60), (20, 20, 60, 60)],
    "one inside another": [(20, 20, 80, 80), (40, 40, 44, 44)],
    "touching": [(20, 20, 40, 40), (40, 20, 60, 40)],
    "small": [(50, 50, 54, 55)],
    "one pixel": [(50, 50, 51, 51)],
    "no size": [(50, 50, 50, 50)],
    "inside out": [(70, 65, 40, 30)],
}


# Regions that a method refuses: too small, or with nothing but masks and void around them.
UNREPLACEABLE = {
    "outside": {0},
    "one inside another": {1},
    "one pixel": {0},
    "no size": {0},
    "overlapping": {2},
}
REFUSED = {
    "gan": UNREPLACEABLE,
    "swap": UNREPLACEABLE,
    "plate": {"one inside another": {1}, "small": {0}, "one pixel": {0}, "no size": {0}, "overlapping": {2}},
    "mannequin": {"one pixel": {0}, "no size": {0}},
}
METHODS = {name: make(name) for name in plugins.built_in("methods") if name not in ("gan", "mannequin")}
METHODS["mannequin"] = make("mannequin", min_side_px=0)
METHODS["gan"] = make("gan", min_side_px=4)
METHODS["random_color"] = RandomColor(RandomColor.Options(), RUNTIME)


@pytest.fixture(params=sorted(METHODS))
def method(request) -> Method:
    return METHODS[request.param]


@pytest.fixture(params=[0.0, 0.2], ids=["hard", "soft"])
def soft_edge(request) -> float:
    return request.param


def image_of(seed: int = 0, size: tuple[int, int] = (HEIGHT, WIDTH)) -> DecodedImage:
    return DecodedImage(f"p{seed}", np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8))


def regions(*boxes, size=(HEIGHT, WIDTH), shape="ellipse", soft_edge=0.0):
    return make_regions(*boxes, width=size[1], height=size[0], shape=shape, expansion=1.3, soft_edge=soft_edge)


def union(faces):
    return union_of_masks(faces, WIDTH, HEIGHT)


@pytest.mark.parametrize("shape", ["ellipse", "rectangle", "face"])
@pytest.mark.parametrize("case", CASES)
def test_every_region_is_rendered_or_refused(method, case, shape, soft_edge):
    image = image_of()
    before = image.pixels.copy()
    faces = regions(*CASES[case], shape=shape, soft_edge=soft_edge)
    (result,) = run_method(method, [(image, faces)])
    assert np.array_equal(image.pixels, before)
    assert set(result.methods) | set(result.refused) == {region.index for region in faces}
    assert set(result.refused) == REFUSED.get(method.name, {}).get(case, set())
    done = [region for region in faces if region.index in result.methods]
    assert CHECK.check(before, result.pixels, done) == {}


@pytest.mark.parametrize("case", CASES)
def test_hardly_a_pixel_of_a_mask_keeps_its_value(method, case, soft_edge):
    # On noise, chance leaves all three channels of a pixel as they were about once in a million.
    image, faces = image_of(1), regions(*CASES[case], soft_edge=soft_edge)
    (result,) = run_method(method, [(image, faces)])
    mask = union([face for face in faces if face.index in result.methods])
    assert not (image.pixels == result.pixels).all(axis=2)[mask].any()


def test_touched_is_the_masks_and_their_edges(method):
    boxes = (40, 30, 70, 65), (10, 10, 20, 20)
    image, mask = image_of(), union(regions(*boxes))
    hard = run_method(method, [(image, regions(*boxes))])[0]
    soft = run_method(method, [(image, regions(*boxes, soft_edge=0.1))])[0]
    assert np.array_equal(hard.touched, mask)
    assert soft.touched[mask].all()
    assert mask.sum() < soft.touched.sum() < 3 * mask.sum()


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"inpaint", "plate", "mannequin", "swap", "gan"}))
@pytest.mark.parametrize("case", ["overlapping", "touching", "one inside another"])
def test_soft_edge_of_a_neighbour_does_not_change_a_mask(name, case):
    # What is rebuilt from the surroundings depends on how far the patch reaches; those methods are left out.
    hard, soft = (
        run_method(METHODS[name], [(image_of(), regions(*CASES[case], soft_edge=edge))])[0] for edge in (0, 0.5)
    )
    mask = union(regions(*CASES[case]))
    assert np.array_equal(hard.pixels[mask], soft.pixels[mask])


def test_image_without_regions_is_unchanged(method):
    (result,) = run_method(method, [(image_of(), [])])
    assert np.array_equal(result.pixels, image_of().pixels)
    assert not result.touched.any()


def test_patches_do_not_depend_on_the_batch(method, soft_edge):
    batch = [(image_of(seed), regions((30 + seed, 30, 60, 60), soft_edge=soft_edge)) for seed in range(3)]
    together = run_method(method, batch)
    backwards = run_method(method, batch[::-1])[::-1]
    alone = [run_method(method, [item])[0] for item in batch]
    for a, b, c in zip(together, backwards, alone, strict=True):
        assert np.array_equal(a.pixels, b.pixels)
        assert np.array_equal(a.pixels, c.pixels)


def test_patches_of_one_image_do_not_depend_on_their_order(method):
    image, faces = image_of(), regions((20, 20, 50, 50), (70, 40, 100, 80))
    ((first, second),) = render(method, [(image, faces)], KEY)
    ((other_second, other_first),) = render(method, [(image, faces[::-1])], KEY)
    assert np.array_equal(first.pixels, other_first.pixels)
    assert np.array_equal(second.pixels, other_second.pixels)


def test_empty_batch_gives_nothing(method):
    assert list(method.render([])) == []


def test_method_that_does_not_declare_it_never_sees_what_it_hides(method):
    faces = regions((20, 20, 60, 60), (70, 40, 100, 80))
    image, mask = image_of(), union(faces)
    other = image.pixels.copy()
    other[mask] ^= 255
    first, second = (render(method, [(DecodedImage("p", own), faces)], KEY)[0] for own in (image.pixels, other))
    equal = [np.array_equal(a.pixels, b.pixels) for a, b in zip(first, second, strict=True)]
    assert equal == [not method.sees_original] * 2


def test_region_beyond_the_corner_is_rendered_or_refused(method):
    faces = regions((200, 200, 230, 240))
    assert faces[0].extent == (127, 95, 128, 96)
    (result,) = run_method(method, [(image_of(), faces)])
    # The mean of one pixel is the pixel.
    assert set(result.refused) == ({0} if method.name in ("pixelate", *SYNTHETIC) else set())


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (3, 3)])
def test_tiny_images_are_rendered_or_refused(method, size, soft_edge):
    image = image_of(3, size)
    faces = regions((0, 0, size[1], size[0]), size=size, soft_edge=soft_edge)
    (result,) = run_method(method, [(image, faces)])
    assert len(result.methods) + len(result.refused) == 1
    assert CHECK.check(image.pixels, result.pixels, faces if result.methods else []) == {}


def test_enormous_boxes_cover_the_image(method):
    image, faces = image_of(), regions((-1e30, -1e30, 1e30, 1e30))
    (result,) = run_method(method, [(image, faces)])
    if method.name in ("inpaint", *REFUSED):
        assert list(result.refused) == [0]
    else:
        assert result.touched.all()
        assert kept_structure(image.pixels, result.pixels, result.touched) < 0.01


@pytest.mark.parametrize(
    "copy_of", [copy.deepcopy, lambda own: pickle.loads(pickle.dumps(own))], ids=["copy", "pickle"]
)
def test_copies_render_the_same(method, copy_of):
    item = (image_of(), regions((40, 30, 70, 65)))
    assert np.array_equal(run_method(copy_of(method), [item])[0].pixels, run_method(method, [item])[0].pixels)


def test_answers_are_patches_and_refusals(method):
    (answers,) = render(method, [(image_of(), regions((40, 30, 70, 65), (50, 50, 51, 51)))], KEY)
    assert all(isinstance(answer, Patch | Refusal) for answer in answers)


def test_attributes_are_declared(method):
    assert method.overlap in ("larger", "surer")
    assert isinstance(method.models, tuple)
    assert (method.name in SYNTHETIC) == method.synthetic
    assert (method.name in ("pixelate", "blur")) == method.sees_original


def test_ladder_accepts_it(method, soft_edge):
    batch = [(image_of(seed), regions(*boxes, soft_edge=soft_edge)) for seed, boxes in enumerate(CASES.values())]
    last = [make("solid", color=[9, 8, 7])] if method.name in REFUSED else []
    outcomes = make_ladder(method, *last).anonymize(batch, KEY)
    for outcome, (_, faces), case in zip(outcomes, batch, CASES, strict=True):
        assert isinstance(outcome, AnonymizedImage)
        left = REFUSED.get(method.name, {}).get(case, set())
        assert outcome.methods == {r.index: "solid" if r.index in left else method.name for r in faces}
