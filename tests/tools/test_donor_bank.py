"""The bank of donors: the table is checked, mirrored borders are not real, mattes leave hair out, and the tensors fit."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from drawn_faces import names, write_faces
from safetensors import safe_open

from anon_batch.anonymize.faces import landmarks
from anon_batch.train.face_crops import read_crops
from anon_batch.train.matte import matte_of
from tools import donor_bank
from tools.donor_matte import face_matte
from tools.donor_views import FRAME_POINTS, SIDE, lab_of, mirrored_rows, real_pixels, thumbnail

HEADER = "file grade age sex skin hair glasses beard mouth pose light fringe"
LABELS = "1 young f 2 brown n n closed front even n"
BOX = np.array([40.0, 24, 168, 184])
POINTS = BOX[:2] + landmarks.CANONICAL * (BOX[2:] - BOX[:2])


def write_table(path, files, labels=LABELS):
    lines = [HEADER, *(f"{file} {labels}" for file in files)]
    path.write_text("\n".join(lines).replace(" ", "\t") + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("donors")
    faces = write_faces(folder / "faces", 3)
    return faces, write_table(folder / "donors.tsv", names(3)[:3])


def build(monkeypatch, made, output):
    monkeypatch.setattr("sys.argv", ["donor_bank", *map(str, made), "--output", str(output)])
    donor_bank.main()
    with safe_open(output, "np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118 - not a mapping


def test_the_bank_has_its_tensors(monkeypatch, made, tmp_path):
    tensors, metadata = build(monkeypatch, made, tmp_path / "bank")
    shapes = {
        name: (values.shape, str(values.dtype))
        for name, values in tensors.items()
        if name not in ("jpeg", "matte_jpeg")
    }
    assert shapes == {
        "jpeg_end": ((3,), "int64"),
        "matte_end": ((3,), "int64"),
        "landmarks": ((6, 5, 2), "float32"),
        "boxes": ((6, 4), "float32"),
        "cells": ((3, 24, 24, 3), "int8"),
        "slopes": ((3, 24, 24, 2), "int8"),
        "inside": ((3, 24, 24), "uint8"),
        "faces": ((3, 24, 24), "uint8"),
        "cheek": ((3, 3), "float32"),
        "unlit": ((3,), "float32"),
        "codes": ((6, 48), "float32"),
        "labels": ((3, 6), "uint8"),
        "looks": ((3, 5), "uint8"),
    }
    for name, shape in (("jpeg", (SIDE, SIDE, 3)), ("matte_jpeg", (donor_bank.MATTE_SIDE,) * 2)):
        ends = tensors[name.removesuffix("_jpeg") + "_end"]
        image = cv2.imdecode(tensors[name][: ends[0]], cv2.IMREAD_UNCHANGED)
        assert image.shape == shape
        assert ends[-1] == len(tensors[name])
    tables = json.loads(metadata["labels"])
    assert [table[place] for table, place in zip(tables.values(), tensors["labels"][0], strict=True)] == [
        "young",
        "f",
        "2",
        "n",
        "closed",
        "1",
    ]
    assert set(json.loads(metadata["inputs"])) == {"donors.tsv", "meta.jsonl"}
    assert "SFHQ-T2I" in metadata["source"]


def test_boxes_lie_in_the_middle_and_mirror_images_follow(monkeypatch, made, tmp_path):
    tensors, _ = build(monkeypatch, made, tmp_path / "bank")
    boxes, points = tensors["boxes"].astype(float), tensors["landmarks"].astype(float)
    np.testing.assert_allclose((boxes[:, :2] + boxes[:, 2:]) / 2, SIDE / 2, atol=1e-3)
    np.testing.assert_allclose((boxes[:, 2:] - boxes[:, :2]).max(axis=1), SIDE / 1.6, atol=1e-3)
    np.testing.assert_allclose(points[1::2], landmarks.mirror(points[::2], SIDE), atol=1e-3)


def test_the_same_inputs_give_the_same_bytes(monkeypatch, made, tmp_path):
    for name in ("a", "b"):
        build(monkeypatch, made, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("files", "labels", "message"),
    [
        (names(2)[:1] * 2, LABELS, "listed twice"),
        (names(1)[1:2], LABELS, "held out"),
        (names(1)[:1], LABELS.replace("young", "ancient"), "age ancient is unknown"),
        (names(1)[:1], "1 young f", "fringe None is unknown"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path, files, labels, message):
    with pytest.raises(ValueError, match=message):
        donor_bank.read_table(write_table(tmp_path / "donors.tsv", files, labels))


def test_a_donor_that_is_not_there_is_named(monkeypatch, made, tmp_path, capsys):
    table = write_table(tmp_path / "donors.tsv", names(4)[:4])
    with pytest.raises(SystemExit):
        build(monkeypatch, (made[0], table), tmp_path / "bank")
    assert names(4)[3] in capsys.readouterr().err


@pytest.mark.parametrize("turns", range(4))
def test_padding_that_mirrors_the_image_is_not_real(turns):
    noise = np.random.default_rng(0).normal(120, 60, (128, 128, 3))
    image = cv2.GaussianBlur(noise, (0, 0), 2).clip(0, 255).astype(np.uint8)
    padded = np.rot90(cv2.copyMakeBorder(image, 20, 0, 0, 0, cv2.BORDER_REFLECT_101), turns)
    real = real_pixels(np.ascontiguousarray(padded))
    expected = np.rot90(np.arange(148)[:, None].repeat(128, 1) >= 20, turns)
    assert np.mean(real == expected) > 0.98
    assert real_pixels(image).all()
    assert mirrored_rows(np.zeros((64, 64), np.float32)) == 0  # a plain background mirrors itself


def test_thumbnails_are_upright_and_lab(made):
    face = next(iter(read_crops([made[0]])))
    lab, valid = thumbnail(face)
    to = landmarks.similarity(face.points.astype(float), FRAME_POINTS)
    column, row = landmarks.apply(landmarks.inverse(to), np.array([[24.0, 18.0]]))[0].astype(int)
    own = cv2.cvtColor(face.pixels[row : row + 1, column : column + 1].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    np.testing.assert_allclose(lab_of(lab)[18, 24], own[0, 0], atol=12)  # skin between eyes and nose
    assert valid[24, 24] == 1


def drawn(background, hair):
    """Return a face with hair above it, its forehead under a fringe."""
    pixels = np.full((SIDE, SIDE, 3), background, np.uint8)
    cv2.ellipse(pixels, (104, 70), (70, 66), 0, 180, 360, hair, -1)
    cv2.ellipse(pixels, (104, 104), (46, 76), 0, 0, 360, (205, 160, 135), -1)
    pixels[20:48, 60:148] = hair
    for point in POINTS:
        cv2.circle(pixels, tuple(np.rint(point).astype(int)), 5, (90, 50, 40), -1)
    return pixels


def test_mattes_leave_background_and_fringe_out():
    pixels = drawn((60, 110, 190), (150, 150, 60))
    matte = face_matte(pixels, BOX, POINTS, profile=False, beard=False)
    quick = matte_of(pixels, BOX)
    assert (matte <= quick + 1e-6).all()
    assert matte[90:150, 80:128].min() > 0.99  # features count, whatever their colour
    assert quick[104, 54] > 0.9  # background beside the jaw, inside the quick matte's ellipse
    assert matte[104, 54] < 0.1
    assert quick[40, 104] > 0.9
    assert matte[40, 104] < 0.2  # hair


def test_mattes_keep_a_beard():
    pixels = drawn((60, 110, 190), (150, 150, 60))
    pixels[150:176, 80:128] = (50, 40, 30)
    assert face_matte(pixels, BOX, POINTS, profile=False, beard=True)[150:170, 90:118].min() > 0.9


def test_light_from_one_side_costs():
    lab = np.full((2, 48, 48, 3), (60, 12, 15), np.float32)
    lab[1, :, :24, 0] = 85
    even, one_sided = donor_bank.badness_of_light(lab)
    assert even == 0
    assert one_sided > 1


def test_a_bank_takes_other_labels_and_keeps_the_rest(monkeypatch, made, tmp_path):
    before, _ = build(monkeypatch, made, tmp_path / "bank")
    table = write_table(tmp_path / "donors.tsv", names(3)[:3], "3 middle m 2 brown n n closed front side y")
    arguments = ["donor_bank", "--relabel", str(tmp_path / "bank"), str(table), "--output", str(tmp_path / "other")]
    monkeypatch.setattr("sys.argv", arguments)
    donor_bank.main()
    after, notes = build(monkeypatch, (made[0], table), tmp_path / "built")
    assert (tmp_path / "other").read_bytes() == (tmp_path / "built").read_bytes()
    assert {name for name in after if not np.array_equal(after[name], before[name])} == {"labels", "looks"}
    assert json.loads(notes["inputs"])["donors.tsv"]


def test_labels_of_other_donors_are_refused(monkeypatch, made, tmp_path):
    build(monkeypatch, made, tmp_path / "bank")
    table = write_table(tmp_path / "fewer.tsv", names(3)[:2])
    with pytest.raises(ValueError, match="2 donors, expected the bank's 3"):
        donor_bank.relabel((tmp_path / "bank").read_bytes(), table)
