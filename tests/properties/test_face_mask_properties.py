"""The shape `face`: what must lie in the mask, whatever box, landmarks, angle and image border."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from anon_batch import geometry
from anon_batch.anonymize.faces.landmarks import CANONICAL, mirror
from anon_batch.face_outline import CHIN, TAPER
from anon_batch.face_shape import MAX_GROWTH
from anon_batch.records import Detections, Region

EIGHTHS = st.integers(-240, 900).map(lambda value: value / 8)  # exact in float32, and so are their mirror images
SIDES = st.integers(1, 480).map(lambda value: value / 8)
EXPANSIONS = st.sampled_from([1.1, 1.15, 1.3, 1.7])
AROUND = np.array([(math.cos(step * math.pi / 16), math.sin(step * math.pi / 16)) for step in range(32)])
SHIFTS = st.integers(-64, 64).map(lambda value: value / 64)


@dataclass(frozen=True)
class Face:
    """A detection in an image, and what other detectors took for its landmarks."""

    detections: Detections
    width: int
    height: int
    expansion: float

    def region(self, soft_edge: float = 0.0) -> Region:
        return geometry.region_of(self.detections, 0, self.width, self.height, self.expansion, "face", soft_edge)

    @property
    def points(self) -> Any:
        found = self.detections
        return np.concatenate([found.landmarks[0], *found.witnesses[0]])


@st.composite
def faces(draw: st.DrawFn) -> Face:
    """Faces of any proportions, turned by up to 60 degrees, with landmarks off their usual places, perhaps cut by the border."""
    x, y, w, h = draw(EIGHTHS), draw(EIGHTHS), draw(SIDES), draw(SIDES)
    angle = draw(st.floats(-1, 1))
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    spread = draw(st.sampled_from([0.0, 0.1, 0.4]))

    def marks() -> np.ndarray:
        off = np.array(draw(st.lists(SHIFTS, min_size=10, max_size=10))).reshape(5, 2) * spread
        own = (CANONICAL - 0.5 + off) * [w, h] @ turn + [x + w / 2, y + h / 2]
        return np.asarray(np.round(own * 8) / 8, np.float32)

    witnesses = [marks() for _ in range(draw(st.integers(0, 2)))]
    found = Detections(
        np.array([[x, y, x + w, y + h]], np.float32),
        np.array([draw(st.sampled_from([0.3, 0.5, 0.9]))], np.float32),
        marks()[None],
        ("d",),
        witnesses=np.array(witnesses, np.float32).reshape(1, -1, 5, 2),
    )
    return Face(found, draw(st.integers(1, 110)), draw(st.integers(1, 110)), draw(EXPANSIONS))


def inside(region: Region, x: Any, y: Any) -> Any:
    """Return the values of the mask's formula at points: at most 1 in the mask."""
    cosine, sine = math.cos(region.angle), math.sin(region.angle)
    x, y = x - region.centre[0], y - region.centre[1]
    u, v = (x * cosine + y * sine) / region.radii[0], (y * cosine - x * sine) / region.radii[1]
    if region.shape == "face":
        v = np.where(v > 0, v / CHIN, v)
        u = u / (1 - TAPER * np.clip(v, 0, 1) ** 2)
    return u * u + v * v


@settings(deadline=None)
@given(faces())
def test_the_mask_of_a_well_found_face_holds_every_landmark_with_a_margin(face: Face) -> None:
    region = face.region()
    assume(region.shape == "face")
    mask, (x1, y1, x2, y2) = geometry.region_mask(region), region.mask_extent
    for point in face.points:
        around = point + 0.05 * max(_sides(region)) * AROUND
        assert (inside(region, *around.T) <= 1 + 1e-6).all()
        for column, row in np.floor(around).astype(int).tolist():
            if 0 <= column < face.width and 0 <= row < face.height:
                assert x1 <= column < x2
                assert y1 <= row < y2
                assert mask[row - y1, column - x1]


def _sides(region: Region) -> tuple[float, float]:
    x1, y1, x2, y2 = region.box
    return x2 - x1, y2 - y1


@settings(deadline=None)
@given(faces())
def test_the_mask_is_never_empty_and_lies_in_the_image(face: Face) -> None:
    region = face.region(0.16)
    x1, y1, x2, y2 = region.mask_extent
    left, top, right, bottom = region.extent
    assert 0 <= left <= x1 < x2 <= right <= face.width
    assert 0 <= top <= y1 < y2 <= bottom <= face.height
    mask, alpha = geometry.region_mask(region), geometry.soft_alpha(region)
    assert mask.shape == (y2 - y1, x2 - x1)
    assert mask.any()
    whole = np.zeros(alpha.shape, bool)
    whole[y1 - top : y2 - top, x1 - left : x2 - left] = mask
    assert np.array_equal(alpha == 1, whole)


@settings(deadline=None)
@given(faces(), st.floats(0, 2 * math.pi), st.floats(0, 0.999))
def test_the_mask_holds_every_pixel_with_a_point_of_the_shape(face: Face, towards: float, share: float) -> None:
    region = face.region()
    x, y = math.cos(towards), math.sin(towards)
    centre = region.centre
    far = 1 / math.sqrt(inside(replace(region, centre=(0.0, 0.0)), x, y))
    for _ in range(20):  # to the border along the ray
        far /= math.sqrt(inside(replace(region, centre=(0.0, 0.0)), x * far, y * far))
    column, row = math.floor(centre[0] + x * far * share), math.floor(centre[1] + y * far * share)
    if 0 <= column < face.width and 0 <= row < face.height:
        x1, y1, x2, y2 = region.mask_extent
        assert x1 <= column < x2
        assert y1 <= row < y2
        assert geometry.region_mask(region)[row - y1, column - x1]


@settings(deadline=None)
@given(faces())
def test_no_pixel_far_from_the_shape_is_in_the_mask(face: Face) -> None:
    region = face.region()
    mask, (x1, y1, _, _) = geometry.region_mask(region), region.mask_extent
    assume(not mask.all())
    rows, columns = np.nonzero(mask)
    centres = np.stack([x1 + columns + 0.5, y1 + rows + 0.5], axis=-1)
    # The square along the mask's axes that holds a pixel reaches at most 1 px from the pixel's centre.
    offsets = np.concatenate([AROUND * 1.01, AROUND * 0.7, AROUND * 0.35, [[0, 0]]])
    near = centres[:, None] + offsets
    assert (inside(region, near[..., 0], near[..., 1]) <= 1 + 0.02).any(axis=1).all()


@settings(deadline=None)
@given(faces())
def test_mirroring_the_image_mirrors_the_mask(face: Face) -> None:
    found, width = face.detections, face.width
    flipped = found.boxes.copy()
    flipped[:, [0, 2]] = width - found.boxes[:, [2, 0]]
    mirrored = replace(
        found, boxes=flipped, landmarks=mirror(found.landmarks, width), witnesses=mirror(found.witnesses, width)
    )
    here, there = face.region(), replace(face, detections=mirrored).region()
    assert there.shape == here.shape
    assert there.angle == -here.angle
    x1, y1, x2, y2 = here.mask_extent
    assert there.mask_extent == (width - x2, y1, width - x1, y2)
    assert np.array_equal(geometry.region_mask(there), geometry.region_mask(here)[:, ::-1])


@settings(deadline=None)
@given(faces())
def test_the_mask_grows_only_so_far(face: Face) -> None:
    region = face.region()
    width, height = (max(side, 1.0) for side in _sides(region))
    largest = MAX_GROWTH * max(1.3, face.expansion)
    if region.shape == "ellipse":
        assert region.angle == 0
        assert width * largest / 2 >= region.radii[0] * (1 - 1e-9) >= width * 1.3 / 2 * (1 - 2e-9)
        assert math.isclose(region.radii[0] * height, region.radii[1] * width)
    else:
        upright = max(width, height)
        assert (
            max(region.radii) <= upright * largest / 2 * 2.2
        )  # turned by 45 degrees a slim face has a much smaller box


@settings(deadline=None)
@given(faces())
def test_an_upright_face_has_the_proportions_of_its_box(face: Face) -> None:
    found = face.detections
    level = found.landmarks.copy()
    level[:, 1, 1] = level[:, 0, 1]
    level[:, 4, 0] = level[:, 0, 0] + level[:, 1, 0] - level[:, 3, 0]
    region = replace(face, detections=replace(found, landmarks=level)).region()
    assume(region.shape == "face" and region.angle == 0)
    width, height = (max(side, 1.0) for side in _sides(region))
    assert math.isclose(region.radii[0] / width, region.radii[1] / height)
    assert region.radii[0] >= face.expansion * width / 2 * (1 - 1e-9)
    x1, y1, x2, y2 = region.mask_extent
    columns, rows = np.meshgrid(np.arange(x1, x2), np.arange(y1, y2))
    nearest_x = np.clip(region.centre[0], columns, columns + 1)
    nearest_y = np.clip(region.centre[1], rows, rows + 1)
    values = inside(region, nearest_x, nearest_y)
    mask = geometry.region_mask(region)
    if (values <= 1 + 1e-3).any():
        assert mask[values <= 1 - 1e-9].all()
        assert not mask[values > 1 + 1e-3].any()
