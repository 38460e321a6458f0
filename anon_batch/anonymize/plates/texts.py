"""Texts of plates that nobody has.

Registration numbers in international traffic consist of Arabic numerals and capital Latin letters (Convention on Road Traffic,
Vienna 1968, annex 2); Greek plates use only the letters that look like Latin ones. So a text with one of UNISSUED stands on no
such plate. Letters that make words, or pairs that some regions do not give out, are left out.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Characters = Literal["unissued", "latin"]

UNISSUED = "ΔΞΣΦΨ"
LETTERS = "BCDFGJLMPRTVWXY"
DIGITS = "0123456789"


def draw_characters(rng: np.random.Generator, pattern: str, characters: Characters) -> str:
    """Return a random text: `L` of the pattern becomes a letter, `9` a digit, everything else stays.

    Args:
        rng: the only source of randomness.
        pattern: has at least one `L`.
        characters: `unissued`: one of the letters is one of UNISSUED; `latin`: none is, and the text may be that of a real plate.
    """
    places = [at for at, kind in enumerate(pattern) if kind == "L"]
    letters = rng.permutation(list(LETTERS))[: len(places)]
    out = list(pattern)
    for place, letter in zip(places, letters, strict=True):
        out[place] = str(letter)
    if characters == "unissued":
        out[places[int(rng.integers(len(places)))]] = UNISSUED[int(rng.integers(len(UNISSUED)))]
    return "".join(DIGITS[int(rng.integers(10))] if kind == "9" else kind for kind in out)
