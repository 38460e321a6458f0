"""What a user may have meant by a key that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from pydantic import BaseModel

from anon_batch.config.description import describe, list_items


def suggestion(model: type[BaseModel], key: str, prefix: str = "") -> str:
    """Return e.g. `; did you mean X?`, or an empty text if no name is near.

    A name is near if it is beside the key, below its section, or exactly the name of a key elsewhere.

    Args:
        model: the expected keys.
        key: dotted, without the prefix.
        prefix: of the keys in messages.
    """
    parent, _, leaf = key.rpartition(".")
    known = [name for name, *_ in describe(model)]
    if key in known or any(name.startswith(f"{key}.") for name in known):
        return ""
    here = f"{parent}." if parent else ""
    if near := _nearest(leaf, keys_beside(model, key)):
        return f"; did you mean `{prefix}{here}{near}`?"
    for list_key, item in list_items(model):
        if list_key.startswith(here) and parent and (near := _nearest(leaf, item.model_fields)):
            return f"; did you mean `{near}` of an item of `{prefix}{list_key}`, e.g. [{{name: ..., {near}: ...}}]?"
    below = {name.rpartition(".")[2]: name for name in reversed(known) if name.startswith(here)}
    near = _nearest(leaf, below) if parent else leaf
    return f"; did you mean `{prefix}{below[near]}`?" if near in below else ""


def keys_beside(model: type[BaseModel], key: str) -> list[str]:
    """Return the names that the section of a key has, each once, in the order of the model."""
    parent = key.rpartition(".")[0]
    above = parent.rpartition(".")[0]
    known = [name for name, *_ in describe(model)]
    for list_key, item in list_items(model):
        if list_key == above:
            return list(item.model_fields)
    here = f"{parent}." if parent else ""
    names = [name.removeprefix(here).partition(".")[0] for name in known if name.startswith(here)]
    if not names:  # a label, which has the keys of the other labels
        names = [
            name.rpartition(".")[2] for name in known if name.startswith(f"{above}.") and _depth(name) == _depth(key)
        ]
    return list(dict.fromkeys(names))


def _nearest(name: str, names: Iterable[str]) -> str:
    return next(iter(difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)), "")


def _depth(key: str) -> int:
    return key.count(".")
