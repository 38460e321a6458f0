"""Reads job files and `--set` overrides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from anon_batch.config.checking import validate
from anon_batch.config.job import JobConfig
from anon_batch.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """Refuses a key that appears twice in one mapping, because the first of them would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key `{key.value}` appears twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def load_job(path: str | Path | None, overrides: Mapping[str, Any]) -> JobConfig:
    """Read a job file and apply overrides.

    Args:
        path: YAML file, or None to start from the defaults.
        overrides: dotted key -> value, e.g. {"engine.shard_rows": 64}; they win.

    Raises:
        ConfigError: the file cannot be read, a key is unknown (the message names the nearest one) or removed (it names the new
            one), or a value is out of range.
    """
    data: dict[str, Any] = {}
    if path is not None:
        data = _read_yaml(Path(path))
    for key, value in overrides.items():
        _assign(data, key, value)
    return validate(JobConfig, data, str(path) if path else "flags")


def parse_override(text: str) -> tuple[str, Any]:
    """Split `key=value` of `--set`; the value is parsed as YAML, so numbers, lists and null work.

    Raises:
        ConfigError: there is no `=`, the key is empty, or the value is not YAML.
    """
    key, sep, value = text.partition("=")
    if not sep or not key.strip():
        shown = repr(text) if not sep else "=..."
        raise ConfigError(f"--set {shown}: expected key=value, e.g. --set engine.shard_rows=64")
    try:
        return key.strip(), _Loader(value).get_single_data()
    except yaml.YAMLError as exc:
        raise ConfigError(f"--set {key.strip()}: the value is not YAML: {_yaml_error(exc)}") from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        data = _Loader(path.read_text(encoding="utf-8")).get_single_data()
    except IsADirectoryError:
        raise ConfigError(
            f"job file {path} is a folder; to process its images, list them with `anon-batch manifest {path} -o "
            "photos.parquet`, then use `--manifest photos.parquet`"
        ) from None
    except OSError as exc:
        raise ConfigError(f"job file {path}: {exc.strerror or exc}") from None
    except yaml.YAMLError as exc:
        raise ConfigError(f"job file {path} is not YAML: {_yaml_error(exc)}") from None
    except (UnicodeDecodeError, RecursionError, ValueError) as exc:
        raise ConfigError(f"job file {path} is not YAML: {type(exc).__name__}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"job file {path}: expected a mapping of keys at the top level, found {type(data).__name__}")
    return data


def _yaml_error(exc: yaml.YAMLError) -> str:
    """Return what is wrong and where, without the line itself, because it may hold a secret."""
    mark = getattr(exc, "problem_mark", None)
    where = "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"
    return f"{getattr(exc, 'problem', None) or type(exc).__name__}{where}"


def _assign(data: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, leaf = dotted.split(".")
    for parent in parents:
        if (child := data.get(parent)) is None:
            child = data[parent] = {}
        if not isinstance(child, dict):
            raise ConfigError(f"{dotted}: {parent} is a value, not a section, so it has no keys")
        data = child
    data[leaf] = value
