"""Mattes: whole in the middle, nothing at the border, skin beyond the core, no hair."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from replacement_scenes import DONOR_SIDE, SKIN, drawn_donor, model

from anon_batch.anonymize.faces.donors import DonorBank
from anon_batch.train.matte import head_of, matte_of

BOX = np.array([36.0, 26, 124, 138])


def check(matte):
    assert matte.shape == (DONOR_SIDE, DONOR_SIDE)
    assert matte.dtype == np.float32
    assert matte.min() >= 0
    assert matte.max() <= 1 + 1e-6
    assert not any(edge.any() for edge in (matte[0], matte[-1], matte[:, 0], matte[:, -1]))


def test_a_drawn_face():
    pixels, box, _ = drawn_donor()
    matte = matte_of(pixels, box)
    check(matte)
    assert matte[60:110, 60:100].min() > 0.99  # features count, whatever their colour
    assert matte[:, :20].max() < 0.01
    assert matte[:18].max() < 0.01


@pytest.mark.parametrize("kind", ["noise", "black", "white", "skin"])
@pytest.mark.parametrize(
    "box", [BOX, np.array([0.0, 0, 160, 160]), np.array([70.0, 70, 90, 90]), np.array([-20.0, 30, 60, 140])]
)
def test_any_image_has_a_matte(kind, box):
    noise = np.random.default_rng(1).integers(0, 256, (DONOR_SIDE, DONOR_SIDE, 3), np.uint8)
    colours = {
        "noise": noise,
        "black": noise * 0,
        "white": noise * 0 + 255,
        "skin": noise * 0 + np.array(SKIN, np.uint8),
    }
    matte = matte_of(colours[kind], box)
    check(matte)
    x, y = (int(v) for v in (box[:2] + box[2:]) / 2)
    assert matte[y, x] > 0.95


def test_skin_beyond_the_box_belongs_to_the_face_and_hair_does_not():
    pixels, box, _ = drawn_donor()
    cv2.rectangle(pixels, (26, 70), (40, 95), SKIN, -1)  # an ear, in touch with the face
    cv2.rectangle(pixels, (120, 70), (134, 95), (30, 20, 15), -1)  # hair
    matte = matte_of(pixels, box)
    assert matte[75:90, 31:36].min() > 0.9
    assert matte[75:90, 127:132].max() < 0.1


def test_skin_that_does_not_touch_the_face_is_left_out():
    pixels, box, _ = drawn_donor()
    pixels[60:100, 22:32] = SKIN
    matte = matte_of(pixels, box)
    assert matte[:, 23:29].max() < 0.05


def test_the_bundled_donors():
    bank, shown = DonorBank(model("donors")), []
    for index in range(0, len(bank), 60):
        donor = bank.donor(index)
        matte = matte_of(donor.pixels, donor.box)
        x, y = (int(v) for v in (donor.box[:2] + donor.box[2:]) / 2)
        assert matte[y, x] > 0.99
        eyes_and_nose = donor.points[:3].astype(int)
        shown.append(matte[eyes_and_nose[:, 1], eyes_and_nose[:, 0]] > 0.5)
        assert 0.1 < matte.mean() < 0.8
    assert np.mean(shown) > 0.98  # the far eye of a face in profile lies at its border


def test_a_head_holds_the_face_and_its_hair_but_no_background():
    pixels, box, _ = drawn_donor()
    face = matte_of(pixels, box)
    head = head_of(pixels, box, face)
    check(head)
    assert (head >= face).all()
    assert head[:20, :10].max() < 0.1
    assert head[:20, -10:].max() < 0.1


def test_a_head_is_the_same_whatever_was_drawn_at_random_before():
    pixels, box, _ = drawn_donor()
    face = matte_of(pixels, box)
    first = head_of(pixels, box, face)
    cv2.setRNGSeed(99)
    assert np.array_equal(head_of(pixels, box, face), first)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_image_that_is_all_face_or_none_has_its_face_as_head(value):
    face = np.full((160, 160), value, np.float32)
    grey = np.full((160, 160, 3), 90, np.uint8)
    head = head_of(grey, np.array([-200.0, -200, 400, 400]), face)
    assert head.shape == face.shape
    assert (head >= face).all()
    assert head.max() <= 1
