"""The detectors by name: built-in ones and plug-ins (entry points of the group `anon_batch.detectors`).

A built-in name always means the built-in: a plug-in of the same name is refused.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import cast

from anon_batch.config import DetectConfig, DetectorConfig, validate
from anon_batch.detect import from_manifest
from anon_batch.detect.protocol import Detector, DetectorFactory, DetectorSettings, NoOptions
from anon_batch.errors import ConfigError, unknown_name
from anon_batch.models.runtime import Runtime

GROUP = "anon_batch.detectors"
BUILT_IN: Mapping[str, str] = MappingProxyType(
    {
        "centerface": "anon_batch.detect.centerface:create",
        "yunet": "anon_batch.detect.yunet:create",
        "yunet_n": "anon_batch.detect.yunet:create",
    }
)


def known_detectors() -> tuple[str, ...]:
    """Return the names of all detectors that are installed, sorted."""
    return tuple(sorted({from_manifest.NAME, *BUILT_IN, *(point.name for point in entry_points(group=GROUP))}))


def create_detector(config: DetectorConfig, detect: DetectConfig, runtime: Runtime) -> Detector:
    """Return a detector.

    Args:
        config: its entry in the job file.
        detect: the settings that all detectors share.
        runtime: where weights come from, and what the networks run on.

    Raises:
        UnknownNameError: nothing has that name; the message suggests the nearest.
        ConfigError: several plug-ins claim the name, a plug-in claims a built-in's, it cannot be imported, or it does not
            have an option.
        ModelError: weights that are missing or not the pinned ones.
    """
    factory = _factory(config.name)
    options = validate(getattr(factory, "Options", NoOptions), config.options, f"options of detector {config.name}")
    detector = factory(DetectorSettings(config, detect, options), runtime)
    if missing := [name for name in ("name", "models", "labels", "detect") if not hasattr(detector, name)]:
        raise ConfigError(
            f"detector {config.name!r} is a {type(detector).__name__} without {', '.join(missing)}; a detector has "
            "`name`, `models`, `labels` and `detect(images)`"
        )
    return detector


def _factory(name: str) -> DetectorFactory:
    plugins = [point for point in entry_points(group=GROUP) if point.name == name]
    if name in BUILT_IN or name == from_manifest.NAME:
        if plugins:
            raise ConfigError(f"{_origin(plugins[0])} claims the built-in name {name!r}; uninstall it")
    elif not plugins:
        raise unknown_name("detector", name, known_detectors())
    elif len(plugins) > 1:
        origins = " and ".join(map(_origin, plugins))
        raise ConfigError(f"detector {name!r} is claimed by {origins}; uninstall one")
    else:
        return _load(plugins[0])
    module, _, attribute = BUILT_IN[name].partition(":")
    return cast(DetectorFactory, getattr(importlib.import_module(module), attribute))


def _load(point: EntryPoint) -> DetectorFactory:
    try:
        factory = point.load()
    except Exception as exc:  # because a plug-in's import may raise anything
        raise ConfigError(f"detector {point.name!r} of {_origin(point)} cannot be loaded: {exc}") from exc
    if not callable(factory):
        raise ConfigError(f"detector {point.name!r} of {_origin(point)}: {point.value} is no class or function")
    return cast(DetectorFactory, factory)


def _origin(point: EntryPoint) -> str:
    return f"package {point.dist.name}" if point.dist else f"entry point {point.value}"
