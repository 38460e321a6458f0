"""Composites of training faces: the truth, the face itself as its donor, and files that a stopped preparation goes on with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anon_batch.train import composites
from anon_batch.train.composites import CompositeMaker, Composites
from anon_batch.train.face_crops import DONOR_REACH, DONOR_SIDE, FaceCrop, read_crops
from anon_batch.train.own_donor import own_donor

SIDE = 64


@pytest.fixture(scope="module")
def maker(bank: bytes) -> CompositeMaker:
    return CompositeMaker(bank, SIDE, 1, (1.1, 1.3), 3)


@pytest.fixture(scope="module")
def crops(faces: Path) -> list[FaceCrop]:
    return list(read_crops([faces]))[:3]


def _equal(one: Composites, other: Composites) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in Composites.__slots__)


def test_each_view_gives_another_donor_and_the_face_itself(maker: CompositeMaker, crops: list[FaceCrop]) -> None:
    rows = maker.make(crops[0])
    assert rows["own"].tolist() == [False, True, False, True]
    assert rows["placed"].shape == rows["truth"].shape == (4, SIDE, SIDE, 3)
    assert np.array_equal(rows["truth"][0], rows["truth"][1])
    assert not np.array_equal(rows["truth"][0], rows["truth"][2]), "the second view is of the mirror image"
    assert rows["share"][rows["unknown"]].mean() > 230, "1 on the mask itself, of which pixels of the crop show parts"
    assert 0.1 < rows["unknown"].mean() < 0.6
    known = (rows["share"] == 0) & ~rows["unknown"]
    difference = np.abs(rows["placed"].astype(int) - rows["truth"])[known]
    assert difference.mean() < 0.1, "outside the new face nothing changes"
    assert difference.max() <= 6, "a known pixel may lack 2 % of its sources"


def test_nothing_under_the_mask_reaches_a_composite_with_another_donor(
    maker: CompositeMaker, crops: list[FaceCrop], monkeypatch: pytest.MonkeyPatch
) -> None:
    face = crops[0]
    inverted, (x1, y1, x2, y2) = face.pixels.copy(), face.box.astype(int)
    inverted[y1 + 20 : y2 - 20, x1 + 16 : x2 - 16] = 255 - inverted[y1 + 20 : y2 - 20, x1 + 16 : x2 - 16]
    monkeypatch.setattr(maker, "_digest", lambda face: bytes(32))  # equal random draws
    one, other = (maker.make(replace(face, pixels=pixels), augmented=False) for pixels in (face.pixels, inverted))
    assert not np.array_equal(one["truth"], other["truth"])
    assert np.array_equal(one["placed"][0], other["placed"][0])
    assert not np.array_equal(one["placed"][1], other["placed"][1])


def test_the_face_itself_is_nearer_to_the_truth(maker: CompositeMaker, crops: list[FaceCrop]) -> None:
    for face in crops:
        rows = maker.make(face, augmented=False)
        error = np.abs(rows["placed"].astype(int) - rows["truth"])
        inside = [error[i][rows["unknown"][i]].mean() for i in range(2)]
        assert inside[1] < 0.95 * inside[0]


def test_files_are_read_again(
    maker: CompositeMaker, crops: list[FaceCrop], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = maker.prepare(crops[:2], tmp_path, lambda done: None)
    files = sorted(tmp_path.iterdir())
    assert [path.suffix for path in files] == [".npz"] * 2
    made: list[str] = []
    make = maker.make
    monkeypatch.setattr(maker, "make", lambda face: made.append(face.name) or make(face))
    second = maker.prepare(crops, tmp_path, lambda done: None)
    assert made == [crops[2].name], "a preparation goes on where it stopped"
    assert len(second) == 12
    assert _equal(first, Composites(*(getattr(second, name)[:8] for name in Composites.__slots__)))


def test_composites_do_not_depend_on_the_number_of_threads(
    maker: CompositeMaker, crops: list[FaceCrop], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    for threads in (1, 3):
        monkeypatch.setattr(composites.os, "cpu_count", lambda n=threads: n)
        made.append(maker.prepare(crops, tmp_path / str(threads), lambda done: None))
    assert _equal(*made)


def test_other_settings_have_other_files(bank: bytes, crops: list[FaceCrop], tmp_path: Path) -> None:
    for side in (64, 80):
        maker = CompositeMaker(bank, side, 1, (1.1, 1.3), 3)
        assert maker.prepare(crops[:1], tmp_path, lambda done: None).truth.shape[1] == side
    assert len(list(tmp_path.iterdir())) == 2


def test_own_donor_matches_the_face(crops: list[FaceCrop]) -> None:
    face = crops[0]
    donor = own_donor(face)
    assert donor.pixels.shape == (DONOR_SIDE, DONOR_SIDE, 3)
    assert donor.matte.shape == (DONOR_SIDE, DONOR_SIDE)
    scale = DONOR_SIDE / (DONOR_REACH * (face.box[2:] - face.box[:2]).max())
    np.testing.assert_allclose((donor.box[2:] - donor.box[:2]), (face.box[2:] - face.box[:2]) * scale, rtol=1e-6)
    np.testing.assert_allclose((donor.box[2:] + donor.box[:2]) / 2, DONOR_SIDE / 2, atol=1e-4)
    np.testing.assert_allclose(np.diff(donor.points, axis=0), np.diff(face.points, axis=0) * scale, atol=1e-3)
    x, y = donor.points[2].astype(int)
    u, v = face.points[2].astype(int)
    np.testing.assert_allclose(donor.pixels[y, x].astype(int), face.pixels[v, u].astype(int), atol=3)
