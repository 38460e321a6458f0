from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from method_harness import make_regions

from anon_batch import geometry
from anon_batch.anonymize.compose import compose, fault_of_patch
from anon_batch.anonymize.protocol import Patch, Refusal

WIDTH, HEIGHT = 60, 40
BEFORE = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)


def regions(*boxes, shape="rectangle", **kind):
    return make_regions(*boxes, width=WIDTH, height=HEIGHT, shape=shape, **kind)


def patch(region, value):
    x1, y1, x2, y2 = region.extent
    return Patch(np.full((y2 - y1, x2 - x1, 3), value, np.uint8))


def composed(faces, *, before=BEFORE, done=(), overlap="larger"):
    """Compose patches that show the index of their region."""
    patches = [(face, patch(face, face.index)) for face in faces if face not in done]
    return compose(before, patches, faces, list(done), overlap)


def test_larger_region_wins_where_masks_overlap():
    # A small detection inside a large face would otherwise bring finer detail back into it.
    big, small = (10, 10, 30, 30), (15, 15, 20, 20)
    for boxes, large in (((big, small), 0), ((small, big), 1)):
        pixels, _ = composed(regions(*boxes))
        assert (pixels[10:30, 10:30] == large).all()


def test_surer_region_wins_where_a_method_asks_for_it():
    for scores, winner in (((0.9, 0.3), 0), ((0.3, 0.9), 1)):
        first, second = regions((10, 10, 30, 30), (15, 15, 20, 20))
        faces = [_with_score(first, scores[0]), _with_score(second, scores[1])]
        pixels, _ = composed(faces, overlap="surer")
        assert (pixels[15:20, 15:20] == winner).all()


def _with_score(region, score):
    return type(region)(**{name: getattr(region, name) for name in region.__slots__} | {"score": score})


def test_ties_go_to_the_later_region():
    pixels, _ = composed(regions((10, 10, 20, 20), (10, 10, 20, 20)))
    assert (pixels[10:20, 10:20] == 1).all()


def test_regions_that_are_done_keep_what_they_show():
    faces = regions((10, 10, 20, 20), (5, 5, 30, 30), soft_edge=0.2)
    first, _ = composed(faces[:1])
    pixels, touched = composed(faces, before=first, done=faces[:1])
    assert (pixels[10:20, 10:20] == 0).all()
    assert (pixels[5:10, 5:30] == 1).all()
    assert touched[5:30, 5:30].all()


def test_soft_edge_mixes_outside_the_mask_only():
    pixels, touched = composed(regions((20, 10, 40, 30), soft_edge=0.1))
    assert pixels[20, 17:22, 0].tolist() == [200, round(200 * 2 / 3), round(200 / 3), 0, 0]
    assert touched[20, 17:22].tolist() == [False, True, True, True, True]


def test_soft_edges_do_not_enter_a_neighbours_mask():
    pixels, _ = composed(regions((10, 10, 20, 20), (20, 10, 30, 20), soft_edge=0.5))
    assert (pixels[10:20, 10:20] == 0).all()
    assert (pixels[10:20, 20:30] == 1).all()


def test_soft_edges_do_not_enter_masks_that_are_still_to_do():
    first, second = regions((10, 10, 20, 20), (20, 10, 30, 20), soft_edge=0.5)
    pixels, touched = compose(BEFORE, [(first, patch(first, 0))], [first, second], [], "larger")
    assert (pixels[10:20, 20:30] == 200).all()
    assert not touched[10:20, 20:30].any()


def test_patch_is_written_pixel_by_pixel():
    (face,) = regions((20, 10, 40, 30), soft_edge=0.1)
    x1, _, x2, _ = face.extent
    values = patch(face, 0).pixels
    values[..., 0] = np.arange(x1, x2)
    pixels, _ = compose(BEFORE, [(face, Patch(values))], [face], [], "larger")
    assert pixels[15, 20:40, 0].tolist() == list(range(20, 40))


def test_alpha_of_a_patch_replaces_the_soft_edge():
    (face,) = regions((20, 10, 40, 30), soft_edge=0.1)
    x1, y1, x2, y2 = face.extent
    alpha = np.zeros((y2 - y1, x2 - x1), np.float32)
    alpha[2:-2, 2:-2] = 1
    alpha[0, 0] = 0.5
    pixels, touched = compose(BEFORE, [(face, Patch(patch(face, 0).pixels, alpha))], [face], [], "larger")
    assert pixels[y1, x1].tolist() == [100, 100, 100]
    assert touched.sum() == 400 + 1
    assert (pixels[~touched] == 200).all()


def test_image_is_left_as_it_is():
    before = BEFORE.copy()
    before.flags.writeable = False
    pixels, touched = compose(before, [], [], [], "larger")
    assert pixels is not before
    assert np.array_equal(pixels, before)
    assert not touched.any()


def _bad_patches(face):
    x1, y1, x2, y2 = face.extent
    good, shape = patch(face, 7).pixels, (y2 - y1, x2 - x1)
    hole = np.ones(shape, np.float32)
    hole[shape[0] // 2, shape[1] // 2] = 0.99
    yield "rendered NoneType", None
    yield "rendered ndarray", good
    yield "rendered pixels list", Patch(good.tolist())
    yield "rendered pixels float32", Patch(good.astype(np.float32))
    yield "rendered pixels uint8", Patch(good[1:])
    yield "rendered pixels uint8", Patch(good[:, :, :1])
    yield "rendered alpha float64", Patch(good, np.ones(shape))
    yield "rendered alpha float32", Patch(good, np.ones((*shape, 1), np.float32))
    yield "outside 0 to 1", Patch(good, np.full(shape, np.nan, np.float32))
    yield "outside 0 to 1", Patch(good, np.full(shape, 1.5, np.float32))
    yield "below 1 inside the mask", Patch(good, hole)


def test_faults_of_patches():
    (face,) = regions((20, 10, 40, 30), soft_edge=0.1)
    assert fault_of_patch(face, patch(face, 7)) is None
    assert fault_of_patch(face, Patch(patch(face, 7).pixels, geometry.soft_alpha(face))) is None
    for expected, bad in _bad_patches(face):
        assert expected in fault_of_patch(face, bad)
    assert fault_of_patch(face, Refusal("no")) is not None


COORDINATES = st.floats(-20, 80, width=32)
BOXES = st.lists(st.tuples(COORDINATES, COORDINATES, COORDINATES, COORDINATES), min_size=1, max_size=5)


@settings(deadline=None)
@given(
    BOXES,
    st.integers(1, 60),
    st.integers(1, 60),
    st.sampled_from(["ellipse", "rectangle", "face"]),
    st.sampled_from([0.0, 0.1, 0.5]),
    st.sampled_from(["larger", "surer"]),
    st.integers(0, 5),
    st.data(),
)
def test_masks_are_covered_and_nothing_outside_the_extents_changes(
    boxes, width, height, shape, edge, overlap, done_count, data
):
    faces = make_regions(*boxes, width=width, height=height, shape=shape, expansion=1.3, soft_edge=edge)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    before = rng.integers(0, 256, (height, width, 3), np.uint8)
    done, rest = faces[:done_count], faces[done_count:]
    patches = []
    for face in rest:
        x1, y1, x2, y2 = face.extent
        alpha = None
        if data.draw(st.booleans()):
            alpha = rng.random((y2 - y1, x2 - x1), np.float32)
            geometry.crop(alpha, _inside(face))[geometry.region_mask(face)] = 1
        patches.append((face, Patch(rng.integers(0, 256, (y2 - y1, x2 - x1, 3), np.uint8), alpha)))
    assert all(fault_of_patch(*item) is None for item in patches)
    pixels, touched = compose(before, patches, faces, done, overlap)
    # Nothing outside the extents changes, and what changes is touched.
    reachable = np.zeros((height, width), bool)
    for face in rest:
        geometry.crop(reachable, face.extent)[...] = True
    assert not (touched & ~reachable).any()
    assert np.array_equal(pixels[~touched], before[~touched])
    # Masks of regions that are done keep their pixels.
    kept = geometry.union_of_masks(done, width, height)
    assert np.array_equal(pixels[kept], before[kept])
    # Every pixel of every mask shows a patch of a region whose mask it is in.
    masks = geometry.union_of_masks(rest, width, height)
    assert touched[masks].all()
    explained = kept.copy()
    for face, own in patches:
        x1, y1, _, _ = face.extent
        left, top, right, bottom = face.mask_extent
        values = own.pixels[top - y1 : bottom - y1, left - x1 : right - x1]
        same = (geometry.crop(pixels, face.mask_extent) == values).all(axis=2) & geometry.region_mask(face)
        geometry.crop(explained, face.mask_extent)[...] |= same
    assert explained[masks].all()
    # Edges stay outside all masks: those of regions that are done are covered above, those of the others show patches.


def _inside(face):
    """Return the mask's extent in coordinates of the region's extent."""
    x1, y1, _, _ = face.extent
    left, top, right, bottom = face.mask_extent
    return left - x1, top - y1, right - x1, bottom - y1
