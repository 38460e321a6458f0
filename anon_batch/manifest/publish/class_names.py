"""Clean the names of classes, because they are texts of the source as the values of a column are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from typing import Any

from anon_batch.formats.features import map_class_labels
from anon_batch.manifest.publish.structured import UNREADABLE
from anon_batch.manifest.publish.values import is_too_much, kinds_of_texts

NAMES = "names"
# Control characters, marks that turn the direction of text, halves of characters.
_UNREADABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class ClassNames:
    """Clean the names in features of columns.

    A name that leads to a source or a person, or that holds control characters, becomes `class N`; too many of them
    make the column a plain number.

    Args:
        listed: dotted paths that are published as they are: a column, or `label.names` for the names alone.

    Attributes:
        withheld: `COLUMN.names` -> why, of names that are not published.
        replaced: `COLUMN.names` -> why -> number of names that were replaced.
    """

    def __init__(self, listed: Collection[str]) -> None:
        self._listed = frozenset(listed)
        self.withheld: dict[str, str] = {}
        self.replaced: dict[str, Counter[str]] = {}

    def clean(self, feature: Any, column: str) -> Any:
        """Return the feature of a column with the names that may be published."""
        return map_class_labels(feature, column, self._clean)

    def _clean(self, path: str, names: list[str]) -> list[str] | None:
        own = f"{path}.{NAMES}"
        kinds = {name: UNREADABLE for name in names if _UNREADABLE.search(name)}
        if not self._is_listed(own):
            kinds = {**kinds_of_texts([name for name in names if name not in kinds]), **kinds}
        if not kinds:
            return names
        counts = Counter(kinds.values())
        if is_too_much(len(kinds), len(names)):
            self.withheld[own] = max(sorted(counts), key=counts.__getitem__)
            return None
        self.replaced[own] = counts
        return [_other_name(number, names) if name in kinds else name for number, name in enumerate(names)]

    def _is_listed(self, path: str) -> bool:
        parts = path.split(".")
        return any(".".join(parts[:depth]) in self._listed for depth in range(1, len(parts) + 1))


def paths_of_names(feature: Any, column: str) -> list[str]:
    """Return the paths of the names of classes in the feature of a column."""
    paths: list[str] = []

    def note(path: str, names: list[str]) -> list[str]:
        paths.append(f"{path}.{NAMES}")
        return names

    map_class_labels(feature, column, note)
    return paths


def is_other_name(name: str, number: int) -> bool:
    """Return whether this may stand for the name of a class that is not published."""
    return name.rstrip("*") == f"class {number}"


def _other_name(number: int, names: Collection[str]) -> str:
    name = f"class {number}"
    while name in names:  # because names are unique
        name = f"{name}*"
    return name
