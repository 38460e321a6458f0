"""What holds for `swap` on any image: what lies under masks has no influence, nor has the batch, memory or threads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from method_harness import KEY, make, run_method
from replacement_scenes import regions, scenery, turned
from shifted_memory import numpy_memory_at, shifted

from anon_batch.anonymize.render import render
from anon_batch.geometry import crop, union_of_masks
from anon_batch.records import DecodedImage, Region

METHODS = {name: make("swap", min_side_px=0, donor_by=name) for name in ("surroundings", "subject")}
SWAP = METHODS["surroundings"]
SHAPES = st.sampled_from(["face", "face", "ellipse", "rectangle"])
EDGES = st.sampled_from([0.0, 0.02, 0.16, 0.5])
SEEDS = st.integers(0, 2**32 - 1)
QUICK = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}


def scene(seed: int, side_px: float, count: int, shape: str, edge: float) -> tuple[DecodedImage, list[Region]]:
    """An image with faces of about one size, turned, with any scores; some overlap, some are cut by the border."""
    rng = np.random.default_rng(seed)
    width, height = int(side_px * 2.6) + 20, int(side_px * 2.2) + 20
    pixels = scenery(height, width, seed=seed, cell_px=max(int(side_px / 4), 3)).astype(np.float32)
    pixels += rng.normal(0, rng.choice([0, 3, 20]), pixels.shape)
    boxes, points = [], []
    for _ in range(count):
        down = side_px * rng.uniform(0.7, 1.1)
        across = down * rng.uniform(0.65, 0.95)
        x, y = rng.uniform(-0.3 * across, width - 0.7 * across), rng.uniform(-0.3 * down, height - 0.7 * down)
        boxes.append((x, y, x + across, y + down))
        points.append(turned(boxes[-1], rng.uniform(-40, 40)))
    scores = rng.uniform(0.3, 1, count).tolist()
    found = regions(
        *boxes, width=width, height=height, shape=shape, expansion=1.15, points=points, scores=scores, soft_edge=edge
    )
    return DecodedImage(f"p{seed}", pixels.clip(0, 255).astype(np.uint8)), found


def spoilt(image: DecodedImage, found: list[Region], seed: int) -> DecodedImage:
    """The image with other pixels under all masks."""
    rng = np.random.default_rng(seed)
    mask = union_of_masks(found, image.width, image.height)
    other = image.pixels.copy()
    kind = seed % 3
    drawn = rng.integers(0, 256, other.shape, np.uint8)
    other[mask] = drawn[mask] if kind == 0 else (255 * (kind - 1))
    return replace(image, pixels=other)


@pytest.mark.parametrize("donor_by", METHODS)
@settings(max_examples=12, **QUICK)
@given(SEEDS, st.floats(8, 70), st.integers(1, 3), SHAPES, EDGES)
def test_pixels_under_all_masks_change_no_byte(donor_by, seed, side_px, count, shape, edge):
    image, found = scene(seed, side_px, count, shape, edge)
    first, second = (
        run_method(METHODS[donor_by], [(image, found)]),
        run_method(METHODS[donor_by], [(spoilt(image, found, seed), found)]),
    )
    assert first[0].methods == second[0].methods
    assert first[0].refused == second[0].refused
    mask = union_of_masks([region for region in found if region.index in first[0].refused], image.width, image.height)
    assert np.array_equal(first[0].pixels[~mask], second[0].pixels[~mask])


@settings(max_examples=5, **QUICK)
@given(SEEDS, st.floats(220, 420), st.integers(1, 2), SHAPES, EDGES)
def test_nor_where_faces_are_so_large_that_they_are_downscaled(seed, side_px, count, shape, edge):
    image, found = scene(seed, side_px, count, shape, edge)
    (first,), (second,) = (run_method(SWAP, [(own, found)]) for own in (image, spoilt(image, found, seed)))
    assert first.methods == second.methods
    mask = union_of_masks([region for region in found if region.index in first.refused], image.width, image.height)
    assert np.array_equal(first.pixels[~mask], second.pixels[~mask])


@settings(max_examples=12, **QUICK)
@given(SEEDS, st.floats(8, 60), st.integers(1, 3), SHAPES, EDGES)
@example(7, 40, 2, "face", 0.0)
def test_nothing_outside_the_extents_changes_and_every_mask_does(seed, side_px, count, shape, edge):
    image, found = scene(seed, side_px, count, shape, edge)
    (result,) = run_method(SWAP, [(image, found)])
    allowed = np.zeros(image.pixels.shape[:2], bool)
    masks = union_of_masks([r for r in found if r.index in result.methods], image.width, image.height)
    for region in found:
        crop(allowed, region.extent)[...] = True
    if edge == 0:
        allowed = union_of_masks(found, image.width, image.height)
    changed = (result.pixels != image.pixels).any(axis=2)
    assert not (changed & ~allowed).any()
    assert not (changed & ~result.touched).any()
    assert result.touched[masks].all()
    assert not masks.any() or changed[masks].mean() > 0.8


@settings(max_examples=3, **QUICK)
@given(SEEDS, SHAPES, EDGES)
def test_the_batch_and_its_order_change_no_byte(seed, shape, edge):
    batch = [scene(seed + i, 18 + 14 * i, 2, shape, edge) for i in range(3)]
    together = run_method(SWAP, batch)
    backwards = run_method(SWAP, [(image, found[::-1]) for image, found in batch[::-1]])[::-1]
    for item, one, other in zip(batch, together, backwards, strict=True):
        (alone,) = run_method(SWAP, [item])
        assert np.array_equal(one.pixels, alone.pixels)
        assert np.array_equal(other.pixels, alone.pixels)
        assert one.methods == alone.methods


@pytest.fixture
def _threads_as_before() -> Iterator[None]:
    opencv, torchs = cv2.getNumThreads(), torch.get_num_threads()
    yield
    cv2.setNumThreads(opencv)
    torch.set_num_threads(torchs)


@pytest.mark.usefixtures("_threads_as_before")
@pytest.mark.parametrize("side_px", [20, 60, 300])
def test_memory_and_threads_change_no_byte(side_px):
    image, found = scene(5, side_px, 2, "face", 0.16)
    ((first, second),) = render(SWAP, [(image, found)], KEY)
    expected = [(patch.pixels.tobytes(), patch.alpha.tobytes()) for patch in (first, second)]
    for threads, source, result in ((1, 4, 16), (3, 20, 8), (4, 60, 48)):
        cv2.setNumThreads(threads)
        torch.set_num_threads(threads)
        moved = replace(image, pixels=shifted(image.pixels, source))
        with numpy_memory_at(result):
            (patches,) = render(SWAP, [(moved, found)], KEY)
        assert [(patch.pixels.tobytes(), patch.alpha.tobytes()) for patch in patches] == expected


def test_a_second_instance_renders_the_same():
    item = scene(9, 50, 3, "face", 0.16)
    one, two = (run_method(method, [item])[0] for method in (SWAP, make("swap", min_side_px=0)))
    assert np.array_equal(one.pixels, two.pixels)


def test_the_argument_is_not_changed():
    image, found = scene(3, 40, 2, "face", 0.16)
    before = image.pixels.copy()
    image.pixels.flags.writeable = False
    run_method(SWAP, [(image, found)])
    assert np.array_equal(image.pixels, before)
