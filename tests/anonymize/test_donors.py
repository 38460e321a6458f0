"""The bank of donors: what is in it, which files are refused, and how much of it stays decoded."""

from __future__ import annotations

import json
import re

import cv2
import numpy as np
import pytest
from drawn_donors import bank_bytes, bank_tensors, oval_matte
from replacement_scenes import DONOR_SIDE, SKIN, drawn_donor, model
from safetensors.numpy import save

from anon_batch.anonymize.faces import donors, landmarks
from anon_batch.anonymize.faces.donors import DonorBank
from anon_batch.errors import ModelError
from tools.donor_bank import LABELS, LOOKS, TABLES

BUNDLED = model("donors")
IMAGES = 5


@pytest.fixture(scope="module")
def bank():
    return DonorBank(BUNDLED)


@pytest.fixture(scope="module")
def drawn():
    return DonorBank(bank_bytes(bank_tensors(IMAGES)))


def test_bundled_bank_has_two_donors_for_each_image(bank):
    assert len(bank) >= 600
    assert len(bank) % 2 == 0
    assert set(LABELS + LOOKS) == set(bank.code_names)
    assert {column: tuple(names) for column, names in bank.code_names.items()} == {
        c: TABLES[c] for c in bank.code_names
    }


def test_mirrored_donors_are_mirror_images_with_their_landmarks_in_place(bank):
    for index in range(0, len(bank), 90):
        donor, mirror = bank.donor(index), bank.donor(index + 1)
        side = donor.pixels.shape[1]
        assert (donor.index, mirror.index) == (index, index + 1)
        assert np.array_equal(mirror.pixels, donor.pixels[:, ::-1])
        assert np.array_equal(mirror.matte, donor.matte[:, ::-1])
        assert mirror.pixels.flags.c_contiguous
        assert np.allclose(mirror.points, landmarks.mirror(donor.points, side), atol=1e-3)
        assert np.allclose(
            mirror.box, (side - donor.box[2], donor.box[1], side - donor.box[0], donor.box[3]), atol=1e-3
        )
        assert mirror.points[0, 0] < mirror.points[1, 0]  # still in the usual order
        assert np.array_equal(mirror.cheek, donor.cheek)


def test_mirrored_cells_are_mirrored_and_their_slopes_turned(bank, drawn):
    for own in (bank, drawn):
        colours, slopes, inside = own.cells()
        assert colours.dtype == slopes.dtype == np.float32
        assert inside.dtype == np.bool_
        assert np.array_equal(colours[1::2], colours[::2, :, ::-1])
        assert np.array_equal(inside[1::2], inside[::2, :, ::-1])
        assert np.array_equal(slopes[1::2, :, :, 0], -slopes[::2, :, ::-1, 0])
        assert np.array_equal(slopes[1::2, :, :, 1], slopes[::2, :, ::-1, 1])
        assert np.array_equal(colours[::2], own.tensors["cells"])


def test_every_bundled_donor_has_a_face_with_landmarks_inside(bank):
    for points, box in zip(bank.tensors["landmarks"], bank.tensors["boxes"], strict=True):
        longer = (box[2:] - box[:2]).max()
        assert (box[2:] - box[:2] > 40).all()
        assert (points > box[:2] - 0.2 * longer).all()
        assert (points < box[2:] + 0.2 * longer).all()
        assert points[3:, 1].mean() > points[:2, 1].mean() + 0.1 * longer


def test_bundled_images_decode_and_their_mattes_show_the_face(bank):
    shown = []
    for index in range(0, len(bank), 26):
        donor = bank.donor(index)
        side = len(donor.pixels)
        assert donor.pixels.shape == (side, side, 3)
        assert donor.matte.shape == (side, side)
        assert donor.pixels.dtype == donor.matte.dtype == np.uint8
        assert donor.pixels.std() > 10
        x, y = (int(v) for v in (donor.box[:2] + donor.box[2:]) / 2)
        assert donor.matte[y, x] > 240
        nose = donor.points[2].astype(int)
        shown.append(donor.matte[nose[1], nose[0]] > 240)
        assert 0.1 < donor.matte.mean() / 255 < 0.7
        assert max(donor.matte[:3].max(), donor.matte[:, :3].max(), donor.matte[:, -3:].max()) < 100
    assert np.mean(shown) > 0.95


def test_bundled_values_are_plausible(bank):
    tensors = bank.tensors
    assert all(np.isfinite(values).all() for values in tensors.values() if values.dtype.kind == "f")
    assert np.allclose(np.linalg.norm(tensors["codes"], axis=1), 1, atol=1e-3)
    lightness, a, b = tensors["cheek"].T
    assert np.mean((lightness > 20) & (lightness < 95)) > 0.99
    assert np.mean((a > 0) & (b > 0)) > 0.95
    for column, names in bank.code_names.items():
        assert sum(bank.label_is(column, name).sum() for name in names) == len(bank)


def test_drawn_bank_returns_its_donors(drawn):
    assert len(drawn) == 2 * IMAGES
    for image in range(IMAGES):
        pixels, box, _ = drawn_donor(image)
        donor = drawn.donor(2 * image)
        assert np.abs(donor.pixels.astype(int) - pixels).mean() < 3  # JPEG, and not some other channel order
        assert np.abs(donor.matte.astype(int) - oval_matte(box)).mean() < 4
        assert np.allclose(donor.box, box)
        middle = donor.pixels[70:75, DONOR_SIDE // 2 - 4 : DONOR_SIDE // 2 + 4].reshape(-1, 3).mean(axis=0)
        assert np.abs(middle - SKIN).max() < 4


def test_labels_are_named(drawn):
    for column, names in (*((c, LABELS) for c in LABELS), *((c, LOOKS) for c in LOOKS)):
        codes = drawn.tensors["labels" if names is LABELS else "looks"][:, names.index(column)]
        for code, name in enumerate(TABLES[column]):
            assert np.array_equal(drawn.label_is(column, name), np.repeat(codes == code, 2).astype(np.float32))
    both = drawn.label_is("sex", "f", "m")
    assert np.array_equal(both, drawn.label_is("sex", "f") + drawn.label_is("sex", "m"))
    assert not drawn.label_is("age", "no such age").any()


def test_traits_of_a_donor_are_its_own_labels(bank):
    for index in (0, 1, 500, len(bank) - 1):
        traits = bank.traits_of(index)
        assert set(traits) == {"age", "sex", "skin"}
        assert all(bank.label_is(trait, name)[index] == 1 for trait, name in traits.items())


def test_a_trait_that_is_not_labelled_is_left_out():
    tensors = bank_tensors(IMAGES)
    tensors["labels"][1, LABELS.index("skin")] = TABLES["skin"].index("-")
    tensors["labels"][1, LABELS.index("age")] = 200
    bank = DonorBank(bank_bytes(tensors))
    assert set(bank.traits_of(2)) == {"sex"}
    assert set(bank.traits_of(0)) >= {"age", "sex"}


def test_only_the_last_images_stay_decoded(monkeypatch):
    monkeypatch.setattr(donors, "_KEPT_IMAGES", 3)
    bank, decoded = DonorBank(bank_bytes(bank_tensors(IMAGES))), []
    decode = bank._decode
    monkeypatch.setattr(
        bank, "_decode", lambda name, ends, image, flags: decoded.append(image) or decode(name, ends, image, flags)
    )
    first = bank.donor(0).pixels.copy()
    for index in (2, 4, 0, 6, 1, 8):
        bank.donor(index)
        assert len(bank._decoded) <= 3
    assert decoded[::2] == [0, 1, 2, 3, 4], "image 0 was used again and again, so it stayed"
    bank.donor(2)
    assert decoded[-1] == 1, "image 1 was dropped first"
    assert np.array_equal(bank.donor(0).pixels, first)


def test_a_kept_image_is_not_changed_by_its_mirror_image(drawn):
    own = drawn.donor(4).pixels.copy()
    drawn.donor(5).pixels[:] = 0
    assert np.array_equal(drawn.donor(4).pixels, own)


def without_notes(data):
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    del header["__metadata__"]
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[start:]


def damaged():
    tensors = bank_tensors(2)
    yield "empty", b""
    yield "text", b"no bank of donors at all"
    yield "cut short", BUNDLED[: len(BUNDLED) // 2]
    yield "a broken header", b"\xff" * 64 + BUNDLED[64:]
    yield "another file", save({"weights": np.zeros(3, np.float32)})
    yield "no tables of labels", save(tensors)
    yield "no notes", without_notes(bank_bytes(tensors))
    yield "no donor", bank_bytes({name: tensor[:0] for name, tensor in tensors.items()})


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in damaged()])
def test_bytes_that_are_not_a_bank_are_refused(data):
    with pytest.raises(ModelError, match="donor bank"):
        DonorBank(data)


FILES = ("jpeg", "matte_jpeg")  # bytes; all other tensors have rows


@pytest.mark.parametrize("name", donors._TENSORS)
@pytest.mark.parametrize("fault", ["missing", "of another type", "of fewer donors", "of another shape"])
def test_a_tensor_that_does_not_fit_is_named(name, fault):
    tensors = bank_tensors(2)
    if fault == "missing":
        del tensors[name]
    elif fault == "of another type":
        tensors[name] = tensors[name].astype(np.float64)
    elif fault == "of fewer donors":
        tensors[name] = tensors[name][:1]
    else:
        tensors[name] = np.stack([tensors[name]] * 2, axis=-1)
    with pytest.raises(ModelError, match="donor bank: ") as caught:
        DonorBank(bank_bytes(tensors))
    named = set(re.findall(r"\w+", str(caught.value))) & set(donors._TENSORS)
    # The ends of the images say how many there are, so where they are wrong, nothing else fits.
    assert named == {name} or (name == "jpeg_end" and len(named) > 2)


@pytest.mark.parametrize("name", ["jpeg_end", "matte_end"])
def test_ends_that_are_one_number_are_refused(name):
    tensors = bank_tensors(3)
    tensors[name] = np.array(7, np.int64)
    with pytest.raises(ModelError, match=name):
        DonorBank(bank_bytes(tensors))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("fault", ["zeros", "ends backwards", "ends too late", "ends too soon", "another file's start"])
def test_images_that_are_none_are_refused(name, fault):
    tensors, ends = bank_tensors(3), name.replace("jpeg", "end") if name == "matte_jpeg" else "jpeg_end"
    if fault == "zeros":
        tensors[name] = np.zeros_like(tensors[name])
    elif fault == "ends backwards":
        tensors[ends] = tensors[ends][[1, 0, 2]]
    elif fault == "ends too late":
        tensors[ends] = tensors[ends] + 9
    elif fault == "ends too soon":
        tensors[ends] = tensors[ends] - 9
    else:
        tensors[name] = tensors[name].copy()
        tensors[name][tensors[ends][0]] = 0x42
    with pytest.raises(ModelError, match=f"donor bank: .*{name}"):
        DonorBank(bank_bytes(tensors))


def test_an_unknown_column_of_labels_is_named(drawn):
    with pytest.raises(ModelError, match="`shoes`"):
        drawn.label_is("shoes", "red")


def test_matte_of_another_size_is_scaled_to_the_image(drawn):
    small = cv2.imdecode(drawn.tensors["matte_jpeg"][: drawn.tensors["matte_end"][0]], cv2.IMREAD_GRAYSCALE)
    assert small.shape == (DONOR_SIDE // 2, DONOR_SIDE // 2)
    assert drawn.donor(0).matte.shape == (DONOR_SIDE, DONOR_SIDE)
