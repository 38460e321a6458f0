"""Key `checks`: what looks at the result, by name, each with its own options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

# Always runs, because nothing else notices a method that leaves a region as it was.
ALWAYS = "structure"


def _add_structure(value: Any) -> Any:
    if value is None:
        return {ALWAYS: {}}
    if not isinstance(value, Mapping):
        return value
    return {ALWAYS: {}, **{name: {} if own is None else own for name, own in value.items()}}


ChecksConfig = Annotated[dict[str, dict[str, Any]], BeforeValidator(_add_structure)]
