from __future__ import annotations

import unicodedata

import numpy as np
import pytest

from anon_batch.anonymize.plates import design
from anon_batch.anonymize.plates.design import FORMATS, HEIGHT_PX, draw_plate
from anon_batch.anonymize.plates.glyphs import GLYPHS, draw_text
from anon_batch.anonymize.plates.texts import DIGITS, LETTERS, UNISSUED, draw_characters


def written(monkeypatch, seed, aspect, characters):
    """Return the texts of a plate, without captions."""
    lines, captions = [], []
    monkeypatch.setattr(design, "draw_text", lambda mask, text, box: lines.append(text))
    monkeypatch.setattr(design, "_draw_captions", lambda *args: captions.append(args))
    monkeypatch.setattr(design, "_draw_band", lambda *args: 0.1)
    draw_plate(np.random.default_rng(seed), aspect, characters)
    return lines


@pytest.mark.parametrize("aspect", [form.aspect for form in FORMATS])
def test_every_plate_has_exactly_one_letter_that_no_region_issues(monkeypatch, aspect):
    for seed in range(60):
        text = " ".join(written(monkeypatch, seed, aspect, "unissued"))
        assert sum(character in UNISSUED for character in text) == 1, text
        assert set(text) <= set(UNISSUED + LETTERS + DIGITS + " ")


@pytest.mark.parametrize("aspect", [form.aspect for form in FORMATS])
def test_latin_texts_look_like_any_plate(monkeypatch, aspect):
    texts = {" ".join(written(monkeypatch, seed, aspect, "latin")) for seed in range(60)}
    assert len(texts) > 50
    assert set("".join(texts)) <= set(LETTERS + DIGITS + " ")


def test_unissued_letters_are_greek_capitals_that_no_latin_one_looks_like():
    latin_twins = set("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ")
    assert not set(UNISSUED) & latin_twins
    assert all(unicodedata.name(letter).startswith("GREEK CAPITAL LETTER") for letter in UNISSUED)


def test_letters_make_no_words():
    assert not set(LETTERS) & set("AEIOU")
    text = draw_characters(np.random.default_rng(0), "LLLL", "latin")
    assert len(set(text)) == 4


def test_every_character_has_a_glyph_that_fills_its_cell():
    shapes = set()
    for character in UNISSUED + LETTERS + DIGITS:
        mask = np.zeros((80, 60), np.uint8)
        draw_text(mask, character, (5, 5, 55, 75))
        rows, columns = np.nonzero(mask)
        assert rows.min() >= 3, character
        assert rows.max() < 77, character
        assert np.ptp(rows) > 50, character
        assert columns.min() >= 3, character
        assert columns.max() < 57, character
        shapes.add(mask.tobytes())
    assert len(shapes) == len(UNISSUED + LETTERS + DIGITS)
    assert set(UNISSUED + LETTERS + DIGITS) <= set(GLYPHS)


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: str(form.aspect))
def test_a_plate_has_the_format_of_its_aspect_and_the_same_seed_gives_the_same(form):
    for seed in range(20):
        plate, opacity = draw_plate(np.random.default_rng(seed), form.aspect * 1.05, "unissued")
        assert plate.dtype == opacity.dtype == np.float32
        assert plate.shape[:2] == opacity.shape
        assert opacity.shape[1] / HEIGHT_PX == pytest.approx(form.aspect, rel=0.12)
        assert 0 <= plate.min() <= plate.max() <= 1
        assert (opacity[0, 0], opacity[HEIGHT_PX // 2, opacity.shape[1] // 2]) == (0, 1)
        again, _ = draw_plate(np.random.default_rng(seed), form.aspect * 1.05, "unissued")
        assert np.array_equal(plate, again)
