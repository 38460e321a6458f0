"""Non-interference: what lies under the masks enters nothing that `solid`, `inpaint`, `swap` and `gan` put out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import anon_batch
from anon_batch import geometry
from anon_batch.anonymize.compose import union_of_masks
from anon_batch.anonymize.faces.donors import DonorBank
from anon_batch.anonymize.faces.generator import load_generator
from anon_batch.anonymize.faces.replace import Limits
from anon_batch.anonymize.ladder import Ladder
from anon_batch.anonymize.methods.blur import Blur
from anon_batch.anonymize.methods.gan import Gan
from anon_batch.anonymize.methods.inpaint import Inpaint
from anon_batch.anonymize.methods.pixelate import Pixelate
from anon_batch.anonymize.methods.solid import Solid
from anon_batch.anonymize.methods.swap import Swap
from anon_batch.records import DecodedImage, Detections

KEY = bytes(32)
BUNDLED = Path(anon_batch.__file__).parent / "models" / "bundled"
COORDINATES = st.floats(-20, 80, width=32)
BOXES = st.lists(st.tuples(COORDINATES, COORDINATES, COORDINATES, COORDINATES), min_size=1, max_size=4)
SHAPES = st.sampled_from(["ellipse", "rectangle"])
EDGES = st.sampled_from([0.0, 0.1, 0.5])
SIDES = st.integers(1, 60)
SEEDS = st.integers(0, 2**32)
CHANGES = st.sampled_from(["noise", "black", "white", "one"])


def regions_of(boxes, width, height, shape):
    n = len(boxes)
    found = Detections(
        np.array(boxes, np.float32),
        np.full(n, 0.5, np.float32),
        np.full((n, 5, 2), np.nan, np.float32),
        ("d",) * n,
    )
    return geometry.regions_of(found, width, height, 1.3, shape)


BANK = DonorBank((BUNDLED / "donors.safetensors").read_bytes())
NETWORK = load_generator((BUNDLED / "generator.safetensors").read_bytes())
MAKERS = {
    "solid": lambda edge: Solid((9, 8, 7), edge),
    "inpaint": Inpaint,
    "swap": lambda edge: Swap(BANK, Limits(), edge),
    "gan": lambda edge: Gan(NETWORK, BANK, Limits(), edge, 1, "cpu"),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@settings(deadline=None, max_examples=60)
@given(BOXES, SIDES, SIDES, SHAPES, EDGES, SEEDS, CHANGES)
def test_pixels_under_the_masks_change_no_output_byte(make, boxes, width, height, shape, edge, seed, change):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
    faces = regions_of(boxes, width, height, shape)
    mask = union_of_masks(faces, width, height)
    other = pixels.copy()
    if change == "one":
        row, column = rng.choice(np.argwhere(mask))
        other[row, column] ^= 255
    else:
        drawn = rng.integers(0, 256, pixels.shape, np.uint8)
        other[mask] = {"noise": drawn, "black": drawn * 0, "white": drawn * 0 + 255}[change][mask]
    first, second = make(edge).anonymize([(DecodedImage("p", p), faces) for p in (pixels, other)], KEY)
    assert first.methods == second.methods
    assert first.refused == second.refused
    treated = np.zeros_like(mask) if first.refused else np.ones_like(mask)
    assert np.array_equal(first.pixels[treated | ~mask], second.pixels[treated | ~mask])


@pytest.mark.parametrize("make", [MAKERS["inpaint"], MAKERS["swap"], MAKERS["gan"]], ids=["inpaint", "swap", "gan"])
def test_non_interference_holds_on_the_reduced_copy_too(make):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (700, 900, 3), np.uint8)
    faces = regions_of([(100, 100, 500, 600), (450, 300, 800, 650)], 900, 700, "ellipse")
    mask = union_of_masks(faces, 900, 700)
    other = pixels.copy()
    other[mask] = rng.integers(0, 256, (mask.sum(), 3))
    for edge in (0.0, 0.2):
        method = make(edge)
        first, second = method.anonymize([(DecodedImage("p", p), faces) for p in (pixels, other)], KEY)
        assert first.methods == {0: method.name, 1: method.name}
        assert np.array_equal(first.pixels, second.pixels)


@settings(deadline=None)
@given(BOXES, SIDES, SIDES, SHAPES, EDGES, st.permutations([0, 1, 2, 3]), SEEDS)
def test_the_ladder_treats_every_mask_and_nothing_else(boxes, width, height, shape, edge, order, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    faces = regions_of(boxes, width, height, shape)
    methods = [Solid((0, 0, 0), edge), Pixelate(8, edge), Blur(0.2, edge), Inpaint(edge)]
    (result,) = Ladder([methods[i] for i in order]).anonymize([(DecodedImage("p", pixels), faces)], KEY)
    assert set(result.methods) == {face.index for face in faces}
    mask = union_of_masks(faces, width, height)
    assert result.touched[mask].all()
    assert np.array_equal(result.pixels[~result.touched], pixels[~result.touched])
