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


def validate(model: type[_Model], data: Mapping[str, Any], origin: str, prefix: str = "") -> _Model:
    """Check `data` against `model`; every fault becomes one line of a ConfigError.

    Args:
        model: the expected keys and values.
        data: keys and values as the user wrote them.
        origin: where they come from, e.g. the job file's path.
        prefix: of the keys in messages, e.g. `anonymize.options.pixelate.`
    """
    try:
        return model.model_validate(data)
    except ValidationError as exc:
        lines = [_explain(model, error, prefix) for error in exc.errors()]
        raise ConfigError(f"{origin}: " + "; ".join(lines)) from None


def _explain(model: type[BaseModel], error: Any, prefix: str) -> str:
    loc = error["loc"]
    local = ".".join(str(part) for part in loc)
    key = prefix + local
    if key in OLD_KEYS:
        return f"`{key}` {OLD_KEYS[key]}"
    if error["type"] == "extra_forbidden":
        return f"unknown key `{key}`{_nearest(model, local, prefix)}"
    if error["type"] == "missing":
        return f"`{key}` is required"
    if error["type"] == "model_type":
        return f"`{key}`: expected keys and values{_nearest(model, local, prefix)}"
    text = error["msg"].removeprefix("Value error, ")
    if text.startswith("`"):  # because it names keys itself
        return str(text)
    given = error["input"]
    if loc[:2] == ("storage", "options") or not isinstance(given, (str, int, float, type(None))):
        return f"`{key}`: {text}"  # the value may hold secrets
    return f"`{key}`: {text} (given: {json.dumps(given)[:80]})"


def _nearest(model: type[BaseModel], key: str, prefix: str) -> str:
    known = [k for k, *_ in describe(model)]
    sections = sorted({k.rsplit(".", 1)[0] for k in known if "." in k})
    if key in known + sections:
        return ""
    parent, _, leaf = key.rpartition(".")
    by_leaf = {k.rsplit(".", 1)[-1]: k for k in known}
    match = difflib.get_close_matches(leaf, by_leaf, n=1, cutoff=0.6)
    if match and parent and parent not in sections:
        # A parent that the model does not list is a label or an item of a list, with the keys of its siblings.
        return f"; did you mean `{prefix}{parent}.{match[0]}`?"
    if near := difflib.get_close_matches(key, known + sections, n=1, cutoff=0.6):
        return f"; did you mean `{prefix}{near[0]}`?"
    return f"; did you mean `{prefix}{by_leaf[match[0]]}`?" if match else ""
