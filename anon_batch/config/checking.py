"""Checking keys and values; errors name the key, its value and the nearest legal name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from anon_batch.config.old_keys import OLD_KEYS
from anon_batch.config.suggestions import keys_beside, suggestion
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
    key = (prefix + local).rstrip(".")  # no local key: the fault is of several keys together
    if key in OLD_KEYS:
        return f"`{key}` {OLD_KEYS[key]}"
    if error["type"] == "extra_forbidden":
        return f"unknown key `{key}`{suggestion(model, local, prefix) or _known(model, local, prefix)}"
    if error["type"] == "missing":
        return f"`{key}` is required"
    if error["type"] == "model_type":
        return f"`{key}`: expected keys and values{suggestion(model, local, prefix)}"
    text = error["msg"].removeprefix("Value error, ")
    if text.startswith("`"):  # because it names keys itself
        return str(text)
    given = error["input"]
    if loc[:2] == ("storage", "options") or not isinstance(given, (str, int, float, type(None))):
        return f"`{key}`: {text}"  # the value may hold secrets
    return f"`{key}`: {text} (given: {json.dumps(given)[:80]})"


def _known(model: type[BaseModel], key: str, prefix: str) -> str:
    section = (prefix + key).rpartition(".")[0]
    names = ", ".join(keys_beside(model, key))
    return names and (f"; keys of `{section}`: {names}" if section else f"; known keys: {names}")
