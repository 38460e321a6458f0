"""Non-interference: what lies under the masks enters nothing that `solid`, `inpaint`, `plate`, `mannequin`, `swap` and `gan` put
out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from method_harness import KEY, make, make_ladder, make_regions, run_method

from anon_batch.geometry import union_of_masks
from anon_batch.records import DecodedImage

COORDINATES = st.floats(-20, 80, width=32)
BOXES = st.lists(st.tuples(COORDINATES, COORDINATES, COORDINATES, COORDINATES), min_size=1, max_size=4)
SHAPES = st.sampled_from(["ellipse", "rectangle", "face"])
EDGES = st.sampled_from([0.0, 0.1, 0.5])
SIDES = st.integers(1, 60)
SEEDS = st.integers(0, 2**32)
CHANGES = st.sampled_from(["noise", "black", "white", "one"])


METHODS = {
    "solid": make("solid", color=[9, 8, 7]),
    "inpaint": make("inpaint"),
    "plate": make("plate", min_side_px=0),
    "mannequin": make("mannequin", min_side_px=0),
    "swap": make("swap", min_side_px=0),
    "gan": make("gan", min_side_px=0),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@settings(deadline=None, max_examples=60)
@given(BOXES, SIDES, SIDES, SHAPES, EDGES, SEEDS, CHANGES)
def test_pixels_under_the_masks_change_no_output_byte(method, boxes, width, height, shape, edge, seed, change):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
    faces = make_regions(*boxes, width=width, height=height, shape=shape, expansion=1.3, soft_edge=edge)
    mask = union_of_masks(faces, width, height)
    other = pixels.copy()
    if change == "one":
        row, column = rng.choice(np.argwhere(mask))
        other[row, column] ^= 255
    else:
        drawn = rng.integers(0, 256, pixels.shape, np.uint8)
        other[mask] = {"noise": drawn, "black": drawn * 0, "white": drawn * 0 + 255}[change][mask]
    first, second = run_method(method, [(DecodedImage("p", p), faces) for p in (pixels, other)])
    assert first.methods == second.methods
    assert first.refused == second.refused
    done = np.zeros_like(mask) if first.refused else np.ones_like(mask)
    assert np.array_equal(first.pixels[done | ~mask], second.pixels[done | ~mask])


@pytest.mark.parametrize("shape", ["ellipse", "face"])
@pytest.mark.parametrize("name", ["inpaint", "plate", "mannequin", "swap", "gan"])
def test_non_interference_holds_on_the_downscaled_copy_too(name, shape):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (700, 900, 3), np.uint8)
    boxes, method = [(100, 100, 500, 600), (450, 300, 800, 650)], METHODS[name]
    mask = union_of_masks(make_regions(*boxes, width=900, height=700, expansion=1.3, shape=shape), 900, 700)
    other = pixels.copy()
    other[mask] = rng.integers(0, 256, (mask.sum(), 3))
    for edge in (0.0, 0.2):
        faces = make_regions(*boxes, width=900, height=700, expansion=1.3, shape=shape, soft_edge=edge)
        assert {face.shape for face in faces} == {shape}
        first, second = run_method(method, [(DecodedImage("p", p), faces) for p in (pixels, other)])
        assert first.methods == {0: method.name, 1: method.name}
        assert np.array_equal(first.pixels, second.pixels)


@settings(deadline=None)
@given(BOXES, SIDES, SIDES, SHAPES, EDGES, st.permutations([0, 1, 2, 3]), SEEDS)
def test_ladder_changes_every_mask_and_nothing_else(boxes, width, height, shape, edge, order, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    faces = make_regions(*boxes, width=width, height=height, shape=shape, expansion=1.3, soft_edge=edge)
    methods = [make("solid"), make("pixelate"), make("blur"), make("inpaint")]
    (result,) = make_ladder(*[methods[i] for i in order]).anonymize([(DecodedImage("p", pixels), faces)], KEY)
    assert set(result.methods) == {face.index for face in faces}
    mask = union_of_masks(faces, width, height)
    assert result.touched[mask].all()
    assert np.array_equal(result.pixels[~result.touched], pixels[~result.touched])
