"""Judge texts by what they hold: addresses, digests, coordinates, contacts, accounts, secrets."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anon_batch.manifest.publish.patterns import HARMLESS, RULES

TOO_LONG = "too long to check"
# Shares of the texts of a column or key above which all of it is withheld, else only those texts.
MAX_SHARE = 0.05
MAX_SHARE_OF_FEW = 0.25  # because one or two addresses among a few captions say little about the others
FEW = 2
MAX_CHARS = 100_000
_BOUNDED = re.compile(r"\{(\d+),(\d+)\}")
_COMPILED = tuple((rule, re.compile(rule.pattern, re.ASCII)) for rule in RULES)


def _unbounded(pattern: str) -> str:
    """Return a pattern for RE2 that finds at least as much: RE2 needs no bounds to be fast, and is slow with many of them."""
    return _BOUNDED.sub(lambda m: {"0": "*", "1": "+"}.get(m[1], f"{{{m[1]},}}"), pattern)


_ANY = "|".join(f"(?:{_unbounded(rule.pattern)})" for rule in RULES)


def _plain(text: str) -> str:
    """Return a text with full-width letters and signs as plain ones, because readers take them for the same."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def is_too_much(hits: int, texts: int) -> bool:
    """Return whether so many texts lead somewhere that the others should not be published either."""
    return hits > texts * (MAX_SHARE if hits > FEW else MAX_SHARE_OF_FEW)


def kind_of_text(text: str) -> str | None:
    """Return what a text leads to, None if it holds nothing of the kind."""
    if len(text) > MAX_CHARS or len(text := _plain(text)) > MAX_CHARS:  # because one sign may become 18
        return TOO_LONG
    if HARMLESS.fullmatch(text):
        return None
    for rule, pattern in _COMPILED:
        for found in pattern.finditer(text):
            if rule.confirm is None or rule.confirm(found[0]):
                return rule.kind
    return None


def kinds_of_texts(texts: Collection[str]) -> dict[str, str]:
    """Return what each text leads to, for those that lead somewhere; one fast pass skips the others."""
    short = [text for text in texts if len(text) <= MAX_CHARS]
    suspects = pc.match_substring_regex(pa.array(map(_plain, short), pa.large_string()), _ANY).to_numpy(
        zero_copy_only=False
    )
    kinds = {text: TOO_LONG for text in texts if len(text) > MAX_CHARS}
    for at in np.flatnonzero(suspects).tolist():
        if (kind := kind_of_text(short[at])) is not None:
            kinds[short[at]] = kind
    return kinds
