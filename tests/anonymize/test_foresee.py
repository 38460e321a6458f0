"""What blending would do to a donor: nothing where it continues the surroundings, paint over hair and walls that do not."""

from __future__ import annotations

import numpy as np
import pytest
from replacement_scenes import crop_of, regions

from anon_batch.anonymize.faces.cells import CELLS, MATTE_STEPS, whole_colours
from anon_batch.anonymize.faces.foresee import border_of, foresee
from anon_batch.anonymize.faces.surroundings import describe

SIZE, BOX = 200, (60, 50, 134, 150)
SKIN, WALL = (206, 158, 132), (205, 210, 216)
NOTHING = np.zeros((1, 3))


def place(colour):
    (region,) = regions(BOX, width=SIZE, height=SIZE, shape="face", expansion=1.15)
    return describe(crop_of(np.full((SIZE, SIZE, 3), colour, np.uint8), region))


def donor_like(around, shift=(0, 0, 0), face=1.0):
    """One donor in the colours of the surroundings plus a shift in Lab."""
    colours = whole_colours(np.asarray(around.lab + np.array(shift, np.float32), np.float32))[None]
    return colours, np.full((1, CELLS, CELLS), face * MATTE_STEPS, np.float32), np.ones((1, CELLS, CELLS), bool)


@pytest.mark.parametrize("colour", [SKIN, WALL])
@pytest.mark.parametrize("face", [0.0, 1.0])
def test_a_donor_that_continues_its_surroundings_stays_as_it_is(colour, face):
    around = place(colour)
    assert foresee(border_of(around), *donor_like(around, face=face), NOTHING) == ([0], [0], [0])


def test_a_wall_of_another_colour_is_painted_over_but_the_face_before_it_stays():
    around = place(WALL)
    colours, faces, inside = donor_like(around, (-40, 0, 0), face=0.0)
    assert foresee(border_of(around), colours, faces, inside, NOTHING)[0] == [1]
    faces[:, :, CELLS // 2 :] = MATTE_STEPS
    painted = foresee(border_of(around), colours, faces, inside, NOTHING)[0]
    assert painted == pytest.approx(0.5, abs=0.08)


def test_the_asked_tone_counts_where_no_skin_is_seen():
    around = place(WALL)
    donor = donor_like(around, (-40, 0, 0), face=0.0)
    assert foresee(border_of(around), *donor, np.array([[40.0, 0, 0]]))[0] == [0]


def test_skin_that_is_darker_all_around_is_matched_and_makes_no_step():
    around = place(SKIN)
    painted, step, cut = foresee(border_of(around), *donor_like(around, (-20, 0, 0)), NOTHING)
    assert painted == [0]
    assert step < 0.05
    assert cut < 0.05


def test_skin_that_is_darker_on_one_side_makes_a_step():
    around = place(SKIN)
    colours, faces, inside = donor_like(around)
    colours[:, :, : CELLS // 2, 0] -= 24
    _, step, cut = foresee(border_of(around), colours, faces, inside, NOTHING)
    assert step > 0.3
    assert cut < 0.05


def test_a_bare_forehead_against_hair_or_a_wall_is_cut_off():
    around = place(WALL)
    painted, step, cut = foresee(border_of(around), *donor_like(around, (-40, 15, 15)), NOTHING)
    assert painted == [0]
    assert step < 0.05
    assert cut > 0.9


def test_where_the_donors_image_does_not_reach_it_is_painted_over():
    around = place(WALL)
    colours, faces, inside = donor_like(around, face=0.0)
    inside[:] = False
    assert foresee(border_of(around), colours, faces, inside, NOTHING)[0] == [1]


@pytest.mark.parametrize("known", [False, True])
def test_without_a_border_nothing_is_foreseen(known):
    around = place(SKIN)
    around.known[:] = known
    border = border_of(around)
    assert len(border.cells) == 0
    assert foresee(border, *donor_like(around, (30, 0, 0), face=0.0), NOTHING) == ([0], [0], [0])


def test_a_donors_values_do_not_depend_on_the_others():
    around = place(SKIN)
    rng = np.random.default_rng(0)
    colours = rng.integers(-25, 26, (9, CELLS, CELLS, 3)).astype(np.float32)
    faces = rng.integers(0, 8, (9, CELLS, CELLS)).astype(np.float32)
    inside = rng.random((9, CELLS, CELLS)) < 0.9
    asked = rng.normal(0, 9, (9, 3))
    border = border_of(around)
    together = foresee(border, colours, faces, inside, asked)
    for at in range(9):
        one = slice(at, at + 1)
        alone = foresee(border, colours[one], faces[one], inside[one], asked[one])
        assert [values[0] for values in alone] == [values[at] for values in together]
