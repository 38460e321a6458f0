"""What each method leaves of a region: colours, gradients, and whether faces can be distinguished."""

from __future__ import annotations

import math
import time

import cv2
import numpy as np
import pytest
from method_harness import make, make_regions, run_method

from anon_batch import geometry
from anon_batch.anonymize.methods.blur import gaussian
from anon_batch.anonymize.methods.pixelate import cell_means
from anon_batch.errors import ConfigError
from anon_batch.records import DecodedImage


def noise(seed, height=120, width=160):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def run(method, pixels, *boxes, **kind):
    faces = make_regions(*boxes, width=pixels.shape[1], height=pixels.shape[0], **kind)
    return run_method(method, [(DecodedImage("p", pixels), faces)])[0]


def gradient_energy(pixels):
    values = pixels.astype(float)
    return (np.diff(values, axis=0) ** 2).mean() + (np.diff(values, axis=1) ** 2).mean()


def face_like(seed, side):
    """Smooth blobs at the scale of eyes and mouth: what recognition lives on."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (12, 12, 3)).astype(np.uint8)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)


def test_solid_shows_its_colour():
    result = run(make("solid", color=[10, 20, 30]), noise(0), (40, 30, 80, 80))
    assert (result.pixels[result.touched] == (10, 20, 30)).all()


def test_solid_does_not_depend_on_the_original():
    first, second = noise(0), noise(0)
    second[30:80, 40:80][geometry.region_mask(make_regions((40, 30, 80, 80), width=160, height=120)[0])] = 99
    a, b = run(make("solid"), first, (40, 30, 80, 80)), run(make("solid"), second, (40, 30, 80, 80))
    assert np.array_equal(a.pixels, b.pixels)


def test_pixelation_has_eight_cells_over_the_longer_side():
    result = run(make("pixelate"), noise(0), (20, 20, 84, 84), shape="rectangle")
    patch = result.pixels[20:84, 20:84]
    cells = patch[::8, ::8]
    assert np.array_equal(np.repeat(np.repeat(cells, 8, 0), 8, 1), patch)
    assert len(np.unique(cells.reshape(-1, 3), axis=0)) > 32
    source = noise(0)[20:84, 20:84].reshape(8, 8, 8, 8, 3).mean(axis=(1, 3))
    assert np.abs(cells - source).max() <= 0.5


@pytest.mark.parametrize(("width", "height"), [(64, 40), (37, 53), (9, 9), (3, 40), (17, 16), (2, 2), (5, 1)])
@pytest.mark.parametrize("cells", [2, 8, 64])
def test_pixelation_depends_on_cell_means_alone(width, height, cells):
    faces = make_regions((20, 20, 20 + width, 20 + height), width=160, height=120, shape="rectangle")
    pixels = noise(0)
    values = cell_means(pixels, faces[0], cells)
    assert len(np.unique(values.reshape(-1, 3), axis=0)) <= cells**2
    # Moving the pixels of each cell leaves its mean, and with it the result.
    rows = np.flatnonzero(np.diff(values.astype(int), axis=0, prepend=-1).any(axis=(1, 2)))
    columns = np.flatnonzero(np.diff(values.astype(int), axis=1, prepend=-1).any(axis=(0, 2)))
    moved = pixels.copy()
    for top, bottom in zip(rows, [*rows[1:], height], strict=True):
        for left, right in zip(columns, [*columns[1:], width], strict=True):
            cell = moved[20 + top : 20 + bottom, 20 + left : 20 + right]
            assert cell.shape[0] * cell.shape[1] >= 2
            cell[:] = np.roll(cell.reshape(-1, 3), 1, axis=0).reshape(cell.shape)
    assert not np.array_equal(moved, pixels)
    assert np.array_equal(cell_means(moved, faces[0], cells), values)


def test_a_face_cut_by_the_border_gets_cells_of_the_whole_face():
    whole = run(make("pixelate"), noise(0), (0, 20, 64, 84), shape="rectangle").pixels[20:84, :32]
    cut = run(make("pixelate"), noise(0)[:, 32:], (-32, 20, 32, 84), shape="rectangle").pixels[20:84, :32]
    assert len(np.unique(cut.reshape(-1, 3), axis=0)) == len(np.unique(whole.reshape(-1, 3), axis=0)) == 32


def test_small_faces_are_coarsened_too():
    for side in (2, 3, 5, 9):
        pixels = noise(side)
        result = run(make("pixelate"), pixels, (20, 20, 20 + side, 20 + side), shape="rectangle")
        patch = result.pixels[20 : 20 + side, 20 : 20 + side]
        assert len(np.unique(patch.reshape(-1, 3), axis=0)) <= max(side // 2, 1) ** 2


def test_a_single_pixel_is_refused():
    faces = make_regions((0, 0, 1, 1), width=1, height=1)
    (result,) = run_method(make("pixelate"), [(DecodedImage("p", noise(0, 1, 1)), faces)])
    assert list(result.refused) == [0]


@pytest.mark.parametrize("side", [12, 40, 200])
@pytest.mark.parametrize("share", [0.1, 0.2])
@pytest.mark.parametrize("at", ["inside", "corner"])
def test_blur_leaves_no_fine_detail(side, share, at):
    pixels = np.random.default_rng(side).integers(0, 256, (400, 500, 3), np.uint8)
    x = 150 if at == "inside" else 0
    result = run(make("blur", sigma=share), pixels, (x, x, x + side, x + side), shape="rectangle")
    before, after = pixels[x : x + side, x : x + side], result.pixels[x : x + side, x : x + side]
    assert gradient_energy(after) < 0.05 * gradient_energy(before)


@pytest.mark.parametrize(
    "method", [make("blur", sigma=0.1), make("blur", sigma=0.2), make("pixelate")], ids=lambda m: m.name
)
@pytest.mark.parametrize("side", [48, 160])
def test_differences_between_faces_shrink(method, side):
    # Distances between different faces, before and after: what would tell them apart shrinks.
    def patch(seed, anonymized):
        pixels = np.full((300, 300, 3), 128, np.uint8)
        pixels[60 : 60 + side, 60 : 60 + side] = face_like(seed, side)
        if anonymized:
            pixels = run(method, pixels, (60, 60, 60 + side, 60 + side), shape="rectangle").pixels
        return pixels[60 : 60 + side, 60 : 60 + side].astype(float)

    pairs = [(seed, seed + 1) for seed in range(0, 12, 2)]
    before = np.mean([np.abs(patch(a, False) - patch(b, False)).mean() for a, b in pairs])
    after = np.mean([np.abs(patch(a, True) - patch(b, True)).mean() for a, b in pairs])
    assert after < (0.75 if method.name == "pixelate" else 0.5) * before


def test_wider_blur_leaves_less():
    pixels = np.zeros((200, 200, 3), np.uint8)
    pixels[60:140, 60:140] = face_like(3, 80)
    left = [
        gradient_energy(
            run(make("blur", sigma=s), pixels, (60, 60, 140, 140), shape="rectangle").pixels[60:140, 60:140]
        )
        for s in (0.1, 0.2, 0.4, 1.0)
    ]
    assert left == sorted(left, reverse=True)
    assert left[-1] < left[0] / 4


def test_blur_below_the_minimum_is_refused():
    with pytest.raises(ConfigError, match=r"`anonymize\.options\.blur\.sigma`: .*0\.1"):
        make("blur", sigma=0.05)


def test_blur_at_the_border_mirrors_nothing():
    # Of a bright half and a dark one, cut through the bright, each pixel is a weighted mean of what exists:
    # the value at the border equals the renormalised one, computed here pixel by pixel.
    pixels = noise(4, 30, 40)
    sigma = 4.0
    values = gaussian(pixels, (0, 0, 40, 30), sigma)
    rows, columns = np.mgrid[:30, :40]
    for y, x in ((0, 0), (0, 20), (15, 39), (29, 0), (14, 17)):
        near = (abs(rows - y) <= 12) & (abs(columns - x) <= 12)
        weights = near * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * sigma**2))
        expected = (weights[:, :, None] * pixels).sum(axis=(0, 1)) / weights.sum()
        assert np.abs(values[y, x] - expected).max() <= 0.51


@pytest.mark.parametrize("sigma", [17, 33, 90])
def test_blur_of_the_downscaled_image_equals_the_full_one(sigma):
    pixels = cv2.normalize(cv2.GaussianBlur(noise(5, 300, 400), (0, 0), 5), None, 0, 255, cv2.NORM_MINMAX)
    for extent in ((0, 0, 100, 100), (150, 100, 260, 210), (300, 0, 400, 300)):
        reduced = gaussian(pixels, extent, sigma).astype(int)
        full = gaussian(pixels, extent, sigma, working_sigma_px=math.inf)
        assert np.abs(reduced - full).max() <= 1


def test_inpainting_continues_what_surrounds_the_face():
    pixels = np.zeros((100, 100, 3), np.uint8)
    pixels[:] = (50, 100, 150)
    pixels[30:70, 30:70] = noise(6, 40, 40)
    result = run(make("inpaint"), pixels, (30, 30, 70, 70), shape="rectangle")
    assert np.abs(result.pixels.astype(int) - (50, 100, 150)).max() <= 1


@pytest.mark.parametrize("side", [60, 900])
def test_inpainting_does_not_use_a_neighbouring_face(side):
    # Two faces side by side, one red: no red may flow into the other's place.
    pixels = np.full((side + 60, 2 * side + 60, 3), 128, np.uint8)
    pixels[30:-30, 30 + side : 30 + 2 * side] = (255, 0, 0)
    boxes = [(30, 30, 30 + side, 30 + side), (30 + side, 30, 30 + 2 * side, 30 + side)]
    result = run(make("inpaint"), pixels, *boxes, shape="rectangle")
    assert np.abs(result.pixels.astype(int) - 128).max() <= 1


def test_inpainting_refuses_an_image_that_is_all_mask():
    result = run(make("inpaint"), noise(7), (-400, -400, 500, 500), (10, 10, 20, 20))
    assert sorted(result.refused) == [0, 1]
    assert not result.touched.any()
    assert np.array_equal(result.pixels, noise(7))


def test_inpainting_finds_known_pixels_far_away():
    # Masks fill everything near the small face in the middle; only a strip at the image's end is known.
    pixels = np.full((100, 400, 3), 70, np.uint8)
    pixels[:, :300] = noise(8, 100, 300)
    result = run(make("inpaint"), pixels, (0, 0, 300, 100), (20, 40, 40, 60), shape="rectangle")
    assert not result.refused
    assert np.abs(result.pixels.astype(int) - 70).max() <= 1


def test_a_face_of_2000_px_takes_well_under_a_second():
    pixels = cv2.resize(noise(9, 75, 100), (3000, 2400))
    for method in (make("solid"), make("pixelate"), make("blur"), make("inpaint")):
        took = []
        for _ in range(2):
            start = time.process_time()  # of all threads; other processes do not count
            run(method, pixels, (300, 200, 2300, 2200))
            took.append(time.process_time() - start)
        assert min(took) < 1, method.name


def test_a_small_face_takes_well_under_a_millisecond():
    pixels = noise(10, 366, 512)
    faces = make_regions((100, 100, 140, 140), width=512, height=366, expansion=1.3)
    for method in (make("solid"), make("pixelate")):
        best = math.inf
        for _ in range(50):
            start = time.process_time()
            run_method(method, [(DecodedImage("p", pixels), faces)])
            best = min(best, time.process_time() - start)
        assert best < 1e-3, method.name
