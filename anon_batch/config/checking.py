"""Checking keys and values; errors name the key, its value and the nearest legal name."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from anon_batch.config.description import describe
from anon_batch.config.old_keys import OLD_KEYS
from anon_batch.errors import ConfigError

_Model = TypeVar("_Model", bound=BaseModel)


def validate(model: type[_Model], data: Mapping[str, Any], origin: str) -> _Model:
    """Checks `data` against `model`; every fault becomes one line of a ConfigError."""
    try:
        return model.model_validate(data)
    except ValidationError as exc:
        lines = [_explain(model, error) for error in exc.errors()]
        raise ConfigError(f"{origin}: " + "; ".join(lines)) from None


def _explain(model: type[BaseModel], error: Any) -> str:
    loc = error["loc"]
    key = ".".join(str(part) for part in loc)
    if key in OLD_KEYS:
        return f"`{key}` {OLD_KEYS[key]}"
    if error["type"] == "extra_forbidden":
        return f"unknown key `{key}`{_nearest(model, key)}"
    if error["type"] == "missing":
        return f"`{key}` is required"
    text = error["msg"].removeprefix("Value error, ")
    given = error["input"]
    if loc[:2] == ("storage", "options") or not isinstance(given, (str, int, float, type(None))):
        return f"`{key}`: {text}"  # what is given may hold secrets
    return f"`{key}`: {text} (given: {json.dumps(given)[:80]})"


def _nearest(model: type[BaseModel], key: str) -> str:
    known = [k for k, *_ in describe(model)]
    sections = sorted({k.rsplit(".", 1)[0] for k in known if "." in k})
    if match := difflib.get_close_matches(key, known + sections, n=1, cutoff=0.6):
        return f"; did you mean `{match[0]}`?"
    leaf = key.rsplit(".", 1)[-1]
    by_leaf = {k.rsplit(".", 1)[-1]: k for k in known}
    if match := difflib.get_close_matches(leaf, by_leaf, n=1, cutoff=0.6):
        return f"; did you mean `{by_leaf[match[0]]}`?"
    return ""
