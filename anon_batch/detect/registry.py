"""The detectors by name: built-in ones and plug-ins (entry points of the group `anon_batch.detectors`).

A built-in name always means the built-in: a plug-in of the same name is refused.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import cast

from anon_batch.config import DetectConfig
from anon_batch.detect.precision import centerface_model
from anon_batch.detect.protocol import DetectorFactory
from anon_batch.errors import ConfigError, unknown_name

GROUP = "anon_batch.detectors"
BUILT_IN: Mapping[str, str] = MappingProxyType(
    {
        "centerface": "anon_batch.detect.centerface:create",
        "manifest": "anon_batch.detect.from_manifest:create",
        "yunet": "anon_batch.detect.yunet:create",
        "yunet_n": "anon_batch.detect.yunet:create",
    }
)
_BUILT_IN_MODELS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "manifest": (),
        "yunet": ("yunet",),
        "yunet_n": ("yunet_n",),
    }
)


def known_detectors() -> tuple[str, ...]:
    """Names of all detectors that are installed, sorted."""
    return tuple(sorted({*BUILT_IN, *(point.name for point in entry_points(group=GROUP))}))


def detector_factory(name: str) -> DetectorFactory:
    """The factory of a detector.

    Raises:
        UnknownNameError: nothing has that name; names the nearest.
        ConfigError: several plug-ins claim it, a plug-in claims a built-in's, or it cannot be imported.
    """
    plugins = [point for point in entry_points(group=GROUP) if point.name == name]
    if name in BUILT_IN:
        if plugins:
            raise ConfigError(f"{_origin(plugins[0])} claims the built-in name {name!r}; uninstall it")
        module, _, attribute = BUILT_IN[name].partition(":")
        return cast(DetectorFactory, getattr(importlib.import_module(module), attribute))
    if not plugins:
        raise unknown_name("detector", name, known_detectors())
    if len(plugins) > 1:
        origins = " and ".join(map(_origin, plugins))
        raise ConfigError(f"detector {name!r} is claimed by {origins}; uninstall one")
    return _load(plugins[0])


def models_of(config: DetectConfig, device: str = "cpu") -> tuple[str, ...]:
    """Names of the models that the configured detectors need, each once: to fetch, and for the fingerprint.

    Raises:
        UnknownNameError, ConfigError: as `detector_factory` and `centerface_model`.
    """
    names: dict[str, None] = {}
    for detector in config.detectors:
        factory = detector_factory(detector.name)
        models: tuple[str, ...] = _BUILT_IN_MODELS.get(detector.name, getattr(factory, "model_names", ()))
        if detector.name == "centerface":  # the only one of several files
            models = (centerface_model(config, device),)
        names.update(dict.fromkeys(models))
    return tuple(names)


def _load(point: EntryPoint) -> DetectorFactory:
    try:
        factory = point.load()
    except Exception as exc:  # a plug-in's import may raise anything
        raise ConfigError(f"detector {point.name!r} of {_origin(point)} cannot be loaded: {exc}") from exc
    if not callable(factory):
        raise ConfigError(f"detector {point.name!r} of {_origin(point)}: {point.value} is no factory")
    return cast(DetectorFactory, factory)


def _origin(point: EntryPoint) -> str:
    return f"package {point.dist.name}" if point.dist else f"entry point {point.value}"
