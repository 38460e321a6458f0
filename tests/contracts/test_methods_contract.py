"""What every method must do, built in or not: parametrised over the registry's built-ins."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from anon_batch import geometry
from anon_batch.anonymize.checks.structure import fault_of_result, kept_structure, untreated_faces
from anon_batch.anonymize.ladder import Ladder
from anon_batch.anonymize.methods.solid import Solid
from anon_batch.anonymize.protocol import RegionAnonymizer
from anon_batch.anonymize.registry import BUILT_IN, load_method
from anon_batch.config import AnonymizeConfig, ModelsConfig
from anon_batch.models.store import ModelStore
from anon_batch.records import AnonymizedImage, DecodedImage, Detections
from anon_batch.storage import Storage

KEY = bytes(range(32))
STORE = ModelStore(Storage(), ModelsConfig())
REPLACED_FROM_PX = 4  # by `swap` and `gan`: smaller faces are refused
SIZE = (96, 128)  # height, width


def picture(seed: int = 0, size: tuple[int, int] = SIZE) -> DecodedImage:
    return DecodedImage(f"p{seed}", np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8))


def regions(*boxes, size=SIZE, shape="ellipse", expansion=1.3):
    n = len(boxes)
    found = Detections(
        np.array(boxes, np.float32).reshape(n, 4),
        np.full(n, 0.9, np.float32),
        np.full((n, 5, 2), np.nan, np.float32),
        ("d",) * n,
    )
    return geometry.regions_of(found, size[1], size[0], expansion, shape)


def union(image, faces):
    out = np.zeros(image.pixels.shape[:2], bool)
    for region in faces:
        x1, y1, x2, y2 = region.extent
        out[y1:y2, x1:x2] |= geometry.region_mask(region)
    return out


@pytest.fixture(params=sorted(BUILT_IN))
def name(request):
    return request.param


@pytest.fixture(params=[0.0, 0.2], ids=["hard", "soft"])
def method(name, request) -> RegionAnonymizer:
    return made(name, soft_edge=request.param)


def made(name, soft_edge):
    config = AnonymizeConfig(soft_edge=soft_edge, min_generated_px=REPLACED_FROM_PX)
    return load_method(name, config, STORE, 1, "cpu")


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

# Faces that `swap` and `gan` leave to the next method: too small, or with nothing but masks and void around them.
UNREPLACEABLE = {
    "outside": {0},
    "one inside another": {1},
    "one pixel": {0},
    "no size": {0},
    "overlapping": {2},
}


@pytest.mark.parametrize("shape", ["ellipse", "rectangle"])
@pytest.mark.parametrize("case", CASES)
def test_every_face_is_treated_or_refused_and_nothing_else_changes(method, case, shape):
    image = picture()
    faces = regions(*CASES[case], shape=shape)
    before = image.pixels.copy()
    (result,) = method.anonymize([(image, faces)], KEY)
    assert np.array_equal(image.pixels, before)
    assert fault_of_result(before, result, faces, method.name) is None
    asked = {region.index for region in faces}
    assert set(result.methods) | set(result.refused) == asked
    assert not set(result.methods) & set(result.refused)
    assert set(untreated_faces(before, result, faces)) == set(result.refused)
    assert (
        set(result.refused) == UNREPLACEABLE.get(case, set()) if method.name in ("swap", "gan") else not result.refused
    )
    for region in faces:
        if region.index in result.methods:
            x1, y1, x2, y2 = region.extent
            assert result.touched[y1:y2, x1:x2][geometry.region_mask(region)].all()


@pytest.mark.parametrize("case", CASES)
def test_hardly_a_pixel_of_a_mask_keeps_its_value(method, case):
    # On noise, chance leaves a pixel's three channels as they were about once in a million.
    image = picture(1)
    faces = regions(*CASES[case])
    (result,) = method.anonymize([(image, faces)], KEY)
    mask = union(image, [face for face in faces if face.index in result.methods])
    assert not (image.pixels == result.pixels).all(axis=2)[mask].any()


def test_touched_is_the_masks_and_their_edges(name):
    image, faces = picture(), regions((40, 30, 70, 65), (10, 10, 20, 20))
    hard = made(name, soft_edge=0).anonymize([(image, faces)], KEY)[0]
    soft = made(name, soft_edge=0.1).anonymize([(image, faces)], KEY)[0]
    mask = union(image, faces)
    assert np.array_equal(hard.touched, mask)
    assert soft.touched[mask].all()
    assert mask.sum() < soft.touched.sum() < 3 * mask.sum()


@pytest.mark.parametrize("name", sorted(set(BUILT_IN) - {"inpaint", "swap", "gan"}))
def test_a_neighbours_soft_edge_brings_nothing_back(name):
    # With and without the edge, the masks of overlapping and touching faces hold the same treated values.
    # (What is rebuilt from the surroundings depends on how far one looks; those methods have a non-interference
    # property instead.)
    for case in ("overlapping", "touching", "one inside another"):
        image, faces = picture(), regions(*CASES[case])
        hard = made(name, soft_edge=0).anonymize([(image, faces)], KEY)[0]
        soft = made(name, soft_edge=0.5).anonymize([(image, faces)], KEY)[0]
        mask = union(image, faces)
        assert np.array_equal(hard.pixels[mask], soft.pixels[mask])


def test_a_picture_without_regions_is_unchanged(method):
    image = picture()
    (result,) = method.anonymize([(image, [])], KEY)
    assert np.array_equal(result.pixels, image.pixels)
    assert not result.touched.any()
    assert result.methods == result.refused == {}


def test_results_do_not_depend_on_the_batch(method):
    batch = [(picture(seed), regions((30 + seed, 30, 60, 60))) for seed in range(3)]
    together = method.anonymize(batch, KEY)
    backwards = method.anonymize(batch[::-1], KEY)[::-1]
    alone = [method.anonymize([item], KEY)[0] for item in batch]
    for a, b, c in zip(together, backwards, alone, strict=True):
        assert np.array_equal(a.pixels, b.pixels)
        assert np.array_equal(a.pixels, c.pixels)


def test_an_empty_batch_is_fine(method):
    assert method.anonymize([], KEY) == []


def test_a_read_only_picture_is_fine(method):
    image = picture()
    image.pixels.flags.writeable = False
    (result,) = method.anonymize([(image, regions((40, 30, 70, 65)))], KEY)
    assert result.pixels.flags.writeable
    assert result.methods == {0: method.name}


def test_a_face_beyond_the_corner_is_treated_or_refused(method):
    image, faces = picture(), regions((200, 200, 230, 240))
    assert faces[0].extent == (127, 95, 128, 96)
    (result,) = method.anonymize([(image, faces)], KEY)
    # The mean of one pixel is the pixel.
    assert set(result.refused) == ({0} if method.name in ("pixelate", "swap", "gan") else set())


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (3, 3)])
def test_tiny_pictures_are_treated_or_refused(method, size):
    image = picture(3, size)
    faces = regions((0, 0, size[1], size[0]), size=size)
    (result,) = method.anonymize([(image, faces)], KEY)
    assert len(result.methods) + len(result.refused) == 1
    assert set(untreated_faces(image.pixels, result, faces)) == set(result.refused)


def test_enormous_boxes_cover_the_picture(method):
    image = picture()
    faces = regions((-1e30, -1e30, 1e30, 1e30))
    (result,) = method.anonymize([(image, faces)], KEY)
    if method.name in ("inpaint", "swap", "gan"):
        assert list(result.refused) == [0]
    else:
        assert result.touched.all()
        assert kept_structure(image.pixels, result.pixels, result.touched) < 0.01


def test_pickles(method):
    again = copy.deepcopy(method)
    item = (picture(), regions((40, 30, 70, 65)))
    assert np.array_equal(again.anonymize([item], KEY)[0].pixels, method.anonymize([item], KEY)[0].pixels)


def test_the_ladder_believes_it(method):
    batch = [(picture(seed), regions(*boxes)) for seed, boxes in enumerate(CASES.values())]
    believed = Ladder([method, Solid((9, 8, 7))] if method.name in ("swap", "gan") else [method]).anonymize(batch, KEY)
    for outcome, (_, faces), case in zip(believed, batch, CASES, strict=True):
        assert isinstance(outcome, AnonymizedImage)
        left = UNREPLACEABLE.get(case, set()) if method.name in ("swap", "gan") else set()
        assert outcome.methods == {r.index: "solid" if r.index in left else method.name for r in faces}
