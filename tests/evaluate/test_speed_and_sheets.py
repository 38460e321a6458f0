"""Timing with a fake clock, and contact sheets of flat colours."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

from anon_batch.evaluate.contact_sheet import CELL_PX, FACES, FaceSample, crop_face, draw_sheet
from anon_batch.evaluate.speed import MAX_PASSES, Timing, time_passes
from anon_batch.geometry import regions_of
from anon_batch.records import Detections, PixelArray, Region


def _clock(spent: list[float]) -> Iterator[float]:
    now = 0.0
    for seconds in spent:
        yield now
        now += seconds
        yield now


def test_median_pass_after_a_warm_up() -> None:
    calls: list[str] = []
    ticks = _clock([0.5, 4.0, 1.0])
    timing = time_passes(calls.append, ["a", "b"], 10, lambda: next(ticks))
    assert calls == ["a", "b"] * 4
    assert timing == Timing(faces=10, passes=3, faces_per_s=10.0, slowest=2.5, fastest=20.0)


def test_short_passes_are_repeated_and_the_number_is_bounded() -> None:
    ticks = _clock([0.3] * 99)
    assert time_passes(lambda _: None, ["a"], 1, lambda: next(ticks)).passes == 4
    ticks = _clock([0.0] * 99)
    assert time_passes(lambda _: None, ["a"], 1, lambda: next(ticks)).passes == MAX_PASSES


def _regions(width: int, height: int, *boxes: tuple[float, ...]) -> list[Region]:
    count = len(boxes)
    found = Detections(
        np.array(boxes, np.float32),
        np.ones(count, np.float32),
        np.full((count, 5, 2), np.nan, np.float32),
        ("x",) * count,
    )
    return regions_of(found, width, height, 1.0, "rectangle")


def _flat(width: int, height: int, value: int) -> PixelArray:
    return np.full((height, width, 3), value, np.uint8)


def test_crops_are_downscaled_never_upscaled() -> None:
    small, large = _regions(900, 800, (10, 10, 30, 40), (100, 100, 700, 500))
    assert crop_face(_flat(900, 800, 9), small).shape == (30 + 16, 20 + 16, 3)
    assert max(crop_face(_flat(900, 800, 9), large).shape) == CELL_PX


def test_a_sheet_shows_original_and_output_side_by_side() -> None:
    sample = FaceSample(0)
    for value in (40, 60):
        outputs = {"m": _flat(200, 200, value + 100), "withheld": None}
        sample.offer(_flat(200, 200, value), outputs, _regions(200, 200, (0, 0, 200, 200)))
    sheet = np.asarray(Image.open(io.BytesIO(draw_sheet(sample.faces(), "m"))).convert("L"), np.int16)
    middle = sheet[18 + CELL_PX // 2]
    for column, value in ((0, 40), (1, 60)):
        left = column * (2 * CELL_PX + 8)
        assert abs(middle[left + CELL_PX // 2] - value) <= 2
        assert abs(middle[left + CELL_PX + CELL_PX // 2] - value - 100) <= 2
    grey = np.asarray(Image.open(io.BytesIO(draw_sheet(sample.faces(), "withheld"))).convert("L"), np.int16)
    assert abs(grey[18 + CELL_PX // 2, CELL_PX + CELL_PX // 2] - 160) <= 2


def test_a_face_sample_is_seeded_bounded_and_prefers_legible_faces() -> None:
    def sampled(seed: int) -> list[int]:
        sample = FaceSample(seed)
        for value in range(200):
            side = 40 if value % 2 else 8
            sample.offer(_flat(64, 64, value), {}, _regions(64, 64, (0, 0, side, side)))
        return [int(face.original[0, 0, 0]) for face in sample.faces()]

    values = sampled(1)
    assert len(values) == FACES
    assert values == sorted(values) == sampled(1)
    assert values != sampled(2)
    assert all(value % 2 for value in values)
    assert max(values) > 120
    few = FaceSample(0)
    few.offer(_flat(64, 64, 5), {}, _regions(64, 64, (0, 0, 8, 8)))
    assert len(few.faces()) == 1
