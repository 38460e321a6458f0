"""Describes every key, for the documentation and `anon-batch config --keys`."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel

from anon_batch.config.detect import DetectorConfig
from anon_batch.config.job import JobConfig


def describe(model: type[BaseModel] = JobConfig, prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield (dotted key, type, default, description) of every key, in the order of the sections."""
    for name, info in model.model_fields.items():
        section = _section_of(info.annotation)
        if section is not None and not _is_sequence(info.annotation):
            yield from describe(section, f"{prefix}{name}.")
            continue
        default = "required" if info.is_required() else _default_text(info.get_default(call_default_factory=True))
        yield f"{prefix}{name}", _type_text(info.annotation), default, info.description or ""


def list_items(model: type[BaseModel] = JobConfig, prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield (dotted key, model of an item) of every key that holds a list of sections."""
    for name, info in model.model_fields.items():
        section = _section_of(info.annotation)
        if section is None:
            continue
        if _is_sequence(info.annotation):
            yield f"{prefix}{name}", section
        else:
            yield from list_items(section, f"{prefix}{name}.")


def _section_of(annotation: Any) -> type[BaseModel] | None:
    candidates = [annotation, *typing.get_args(annotation)]
    for candidate in candidates:
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _is_sequence(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (tuple, list)


def _default_text(value: Any) -> str:
    if isinstance(value, tuple):
        value = [v.name if isinstance(v, DetectorConfig) else v for v in value]
    return json.dumps(value)


def _type_text(annotation: Any) -> str:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{a}`" for a in args)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_text(a) for a in args)
    if origin in (tuple, list):
        return f"list of {_type_text(args[0])}"
    if origin is dict:
        return "mapping"
    names = {str: "text", int: "whole number", float: "number", type(None): "null", bool: "true/false"}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "name or mapping"
    return names.get(annotation, str(annotation))
