"""Structured text in cells: JSON, as the members of a tar hold it, also inside a string of JSON."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

UNREADABLE = "unreadable structure"
MAX_JSON_CHARS = 2**21
MAX_DEPTH = 40


class Folded(NamedTuple):
    """The value of a structured text, and the text."""

    value: Any
    text: str


class Unreadable(NamedTuple):
    """A text that is structured, by its beginning or by the name of its column, and cannot be read."""

    text: str


def unfold(value: Any, depth: int = 0, *, must: bool = False) -> Any:
    """Return a cell with every structured text in it as Folded or Unreadable; containers are copied.

    Args:
        value: of a cell: None, text, a number, a dict, a list, or a pair of a map.
        depth: of the value.
        must: whether a text has to be JSON.
    """
    if isinstance(value, str):
        return _unfold_text(value, depth, must=must)
    if not isinstance(value, (dict, list, tuple)):
        return value
    if depth > MAX_DEPTH:
        return Unreadable("")
    if isinstance(value, dict):
        return {key: unfold(inner, depth + 1) for key, inner in value.items()}
    return type(value)(unfold(inner, depth + 1) for inner in value)


def _unfold_text(text: str, depth: int, *, must: bool) -> Any:
    start = text.lstrip("\ufeff \t\r\n")[:1]
    if not must and start not in ("{", "[", '"'):
        return text
    try:
        if len(text) > MAX_JSON_CHARS:
            raise ValueError("too long")
        value = json.loads(text.lstrip("\ufeff"), parse_constant=lambda _: None, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return Unreadable(text) if must or start == "{" else text
    return Folded(unfold(value, depth + 1), text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key appears twice")  # because one of its values would pass unseen
    return found


def fold(value: Any) -> str:
    """Return a value as JSON."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return json.dumps(value)
    return text
