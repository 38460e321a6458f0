"""Faces, name tags and plates in the masks of persons."""

from __future__ import annotations

import numpy as np
import pytest

from anon_batch import Anonymized, Anonymizer
from anon_batch.anonymize.parts import join_parts
from anon_batch.anonymize.policy import Policy
from anon_batch.config import AnonymizeConfig
from anon_batch.geometry import region_mask, union_of_masks
from anon_batch.records import OUTLINE_SIDE, Detections

SIZE = 200
PERSON = (40, 20, 120, 180)


def detections(*items):
    """Return detections of (label, box); a person's outline is the middle half of its box."""
    middle = np.zeros((OUTLINE_SIDE, OUTLINE_SIDE), np.bool_)
    middle[4:-4, 16:-16] = True
    return Detections(
        np.float32([box for _, box in items]),
        np.ones(len(items), np.float32),
        np.full((len(items), 5, 2), np.nan, np.float32),
        ("test",) * len(items),
        tuple(label for label, _ in items),
        outlines=tuple(middle if label == "person" else None for label, _ in items),
    )


def joined(found, **sections):
    policy = Policy.from_config(AnonymizeConfig(**sections))
    return join_parts(policy.regions_of(found, SIZE, SIZE), policy, SIZE, SIZE)


def anonymize(found, **sections):
    from anon_batch.imaging.source import SourceImage

    pixels = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
    anonymizer = Anonymizer("centerface", sections, key=bytes(32))
    [outcome] = anonymizer.process([SourceImage.from_array("image", pixels)], detections=[found])
    assert isinstance(outcome, Anonymized)
    return pixels, outcome


@pytest.mark.parametrize(
    ("face", "person", "within"),
    [
        ("gan", "solid", True),
        ("pixelate", "inpaint", True),
        ("pixelate", "blur", True),
        ("blur", "pixelate", True),
        ("gan", "pixelate", False),
        ("solid", "blur", False),
    ],
)
def test_a_face_in_a_person_is_a_part_unless_its_own_method_hides_more(face, person, within):
    found = detections(("face", (70, 30, 90, 55)), ("person", PERSON))
    own, body = joined(found, face={"method": face}, person={"method": person})
    assert own.within == (1 if within else None)
    assert body.within is None


def test_the_mask_of_a_person_grows_by_a_face_that_sticks_out():
    found = detections(("face", (50, 5, 105, 60)), ("person", PERSON))
    policy = {"face": {"method": "solid"}, "person": {"method": "solid"}}
    face, body = joined(found, **policy)
    [alone] = joined(detections(("person", PERSON)), **policy)
    assert face.within == 1
    grown = union_of_masks([body], SIZE, SIZE)
    assert (grown == union_of_masks([face, alone], SIZE, SIZE)).all()
    assert grown.sum() > region_mask(alone).sum()


@pytest.mark.parametrize(
    ("label", "box"),
    [
        ("face", (42, 100, 56, 118)),  # of somebody behind, in the person's box, beside the outline
        ("face", (150, 50, 170, 75)),
        ("licence_plate", (60, 140, 100, 160)),  # before the person
        ("dog", (70, 100, 90, 120)),
    ],
)
def test_what_is_no_part_keeps_its_own_method(label, box):
    other, body = joined(detections((label, box), ("person", PERSON)), person={"method": "inpaint"})
    assert other.within is None
    assert body.outline is not None


def test_of_two_persons_the_smaller_one_has_the_face():
    found = detections(("person", (10, 5, 190, 195)), ("face", (70, 30, 90, 55)), ("person", PERSON))
    assert joined(found, person={"method": "solid"})[1].within == 2


@pytest.mark.parametrize("person", ["solid", "inpaint", "pixelate", "blur"])
@pytest.mark.parametrize("face", ["solid", "pixelate", "inpaint"])
def test_every_pixel_of_every_mask_is_rendered_and_both_labels_are_counted(face, person):
    found = detections(
        ("face", (50, 5, 105, 60)),  # sticks out
        ("person", PERSON),
        ("face", (42, 100, 56, 118)),  # of somebody behind
        ("licence_plate", (60, 140, 100, 160)),  # before the person
    )
    pixels, outcome = anonymize(
        found, face={"method": face}, person={"method": person}, licence_plate={"method": "solid", "fallback": []}
    )
    methods = outcome.result.methods
    assert set(methods) == {0, 1, 2, 3}
    assert methods[1] == person
    assert methods[0] == (face if person in ("pixelate", "blur") and face != "pixelate" else person)
    assert (methods[2], methods[3]) == (face, "solid")
    masks = union_of_masks(outcome.regions, SIZE, SIZE)
    changed = (outcome.pixels != pixels).any(axis=2)
    assert changed[masks].mean() > 0.98  # some pixels of noise have their new colour already
    assert not changed[~masks].any()
    records = [(record.label, record.method) for record in outcome.records]
    assert records == [(region.label, methods[region.index]) for region in outcome.regions]


def test_a_person_that_is_kept_has_no_parts():
    from anon_batch.imaging.source import SourceImage
    from anon_batch.records import GroundTruth

    found = detections(("face", (70, 30, 90, 55)), ("person", PERSON))
    truth = GroundTruth(np.float32([PERSON]), np.zeros(1, np.bool_), ("person",), np.ones(1, np.bool_))
    pixels = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
    anonymizer = Anonymizer(
        "centerface", {"face": {"method": "pixelate"}, "person": {"method": "solid"}}, key=bytes(32)
    )
    [outcome] = anonymizer.process([SourceImage.from_array("image", pixels)], [truth], detections=[found])
    assert outcome.result.methods == {0: "pixelate"}


def test_a_person_whose_part_fails_a_check_goes_to_the_next_method(monkeypatch):
    from anon_batch.anonymize.checks.structure import Structure

    seen = []

    def check(self, before, after, regions):
        seen.append([region.index for region in regions])
        return {0: "face shows"} if len(seen) == 1 else {}

    monkeypatch.setattr(Structure, "check", check)
    found = detections(("face", (70, 30, 90, 55)), ("person", PERSON))
    _, outcome = anonymize(found, face={"method": "solid"}, person={"method": "inpaint", "fallback": ["solid"]})
    assert outcome.result.methods == {0: "solid", 1: "solid"}
    assert sorted(seen[0]) == [0, 1]


def test_no_finer_cells_of_a_face_lie_on_a_pixelated_person():
    found = detections(("face", (64, 40, 96, 72)), ("person", PERSON))
    _, outcome = anonymize(found, face={"method": "pixelate"}, person={"method": "pixelate"})
    colours = {tuple(colour) for colour in outcome.pixels[40:72, 64:96].reshape(-1, 3).tolist()}
    assert len(colours) <= 9  # cells of a person are 22 px wide
