"""What the regions of a label are called in sentences and tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from anon_batch.records import DEFAULT_LABEL, PERSON_LABEL, PLATE_LABEL, TEXT_LABEL

_NOUNS: Mapping[str, str] = {
    DEFAULT_LABEL: "faces",
    PLATE_LABEL: "number plates",
    PERSON_LABEL: "persons",
    TEXT_LABEL: "texts",
}


def noun_of(label: str) -> str:
    """Return e.g. `number plates`; of other labels `regions “dog”`."""
    return _NOUNS.get(label, f"regions “{label}”")


def join_nouns(labels: Iterable[str], word: str = "and") -> str:
    """Return e.g. `faces and number plates`, faces first, each label once."""
    nouns = [noun_of(label) for label in sorted(set(labels), key=lambda own: (own != DEFAULT_LABEL, own))]
    *most, last = nouns
    return f"{', '.join(most)} {word} {last}" if most else last
