"""Detectors, methods and checks by name: those of this package, and those that other packages add as entry points.

A package adds one with an entry point of the group `anon_batch.detectors`, `anon_batch.methods` or `anon_batch.checks`, whose
value names a class. The class has an attribute `Options`, a pydantic model of its settings, and takes (options, runtime). A
name of this package always means this package: an entry point of the same name is refused.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel

from anon_batch.config import validate
from anon_batch.config.section import Section
from anon_batch.errors import AnonBatchError, ConfigError, unknown_name
from anon_batch.models.runtime import Runtime

Kind = Literal["detectors", "methods", "checks"]
Plugin = Callable[..., Any]


class PluginOptions(Section):
    """Base class for the settings of a plug-in: it refuses unknown keys, and nothing in it changes."""


@dataclass(frozen=True, slots=True)
class _Family:
    """What the plug-ins of one kind have in common.

    Args:
        noun: what one of them is called in messages.
        options_key: key of the job file that holds the options; `{name}` stands for the plug-in's name.
        built_in: name -> "module:attribute" in this package.
        bases: "module:class" of which an instance must be one; empty when the caller checks it.
    """

    noun: str
    options_key: str
    built_in: Mapping[str, str]
    bases: tuple[str, ...] = ()


FAMILIES: Mapping[Kind, _Family] = MappingProxyType(
    {
        "detectors": _Family(
            "detector",
            "detect.detectors.{name}.options",
            {
                "centerface": "anon_batch.detect.centerface:create",
                "dlib_hog": "anon_batch.detect.dlib_faces:DlibHog",
                "dlib_mmod": "anon_batch.detect.dlib_faces:DlibMmod",
                "google_vision": "anon_batch.detect.services.google_vision:create",
                "licence_plate": "anon_batch.detect.licence_plate:create",
                "manifest": "anon_batch.detect.from_manifest:ManifestBoxes",
                "mediapipe": "anon_batch.detect.mediapipe:create",
                "mtcnn": "anon_batch.detect.mtcnn:Mtcnn",
                "person": "anon_batch.detect.person:create",
                "rekognition": "anon_batch.detect.services.rekognition:create",
                "retinaface": "anon_batch.detect.retinaface:create",
                "ssd": "anon_batch.detect.ssd:create",
                "text": "anon_batch.detect.text:create",
                "yunet": "anon_batch.detect.yunet:create",
                "yunet_n": "anon_batch.detect.yunet:create",
            },
        ),
        "methods": _Family(
            "method",
            "anonymize.options.{name}",
            {
                "solid": "anon_batch.anonymize.methods.solid:Solid",
                "pixelate": "anon_batch.anonymize.methods.pixelate:Pixelate",
                "blur": "anon_batch.anonymize.methods.blur:Blur",
                "inpaint": "anon_batch.anonymize.methods.inpaint:Inpaint",
                "swap": "anon_batch.anonymize.methods.swap:Swap",
                "gan": "anon_batch.anonymize.methods.gan:Gan",
                "plate": "anon_batch.anonymize.methods.plate:Plate",
                "mannequin": "anon_batch.anonymize.methods.mannequin:Mannequin",
            },
            ("anon_batch.anonymize.protocol:Method",),
        ),
        "checks": _Family(
            "check",
            "checks.{name}",
            {
                "structure": "anon_batch.anonymize.checks.structure:Structure",
                "residual": "anon_batch.anonymize.checks.residual:Residual",
            },
            ("anon_batch.anonymize.protocol:RegionCheck", "anon_batch.anonymize.protocol:ImageCheck"),
        ),
    }
)


def built_in(kind: Kind) -> tuple[str, ...]:
    """Return the names of this package's own plug-ins of one kind."""
    return tuple(FAMILIES[kind].built_in)


def names(kind: Kind) -> tuple[str, ...]:
    """Return every name that can be used here, this package's own first, then those of other packages, sorted."""
    own = built_in(kind)
    return (*own, *sorted({point.name for point in _entry_points(kind)} - set(own)))


def find(kind: Kind, name: str) -> Plugin:
    """Import a plug-in.

    Args:
        kind: `detectors`, `methods` or `checks`.
        name: as in the job file.

    Returns:
        The class, or another callable that makes an instance.

    Raises:
        UnknownNameError: nothing has that name; the message suggests the nearest and lists all.
        ConfigError: several packages claim the name, or the plug-in cannot be imported.
    """
    family = FAMILIES[kind]
    claims = [point for point in _entry_points(kind) if point.name == name]
    own = family.built_in.get(name)
    if own is not None and claims:
        raise ConfigError(
            f"{family.noun} `{name}`: {_origin(claims[0])} claims this name, but it is built in; uninstall that package"
        )
    if len(claims) > 1:
        raise ConfigError(
            f"{family.noun} `{name}`: {' and '.join(map(_origin, claims))} claim this name; uninstall one of them"
        )
    if own is None and not claims:
        raise unknown_name(family.noun, name, names(kind))
    try:
        plugin = _import(own) if own is not None else claims[0].load()
    except AnonBatchError:
        raise
    except Exception as exc:  # an import of another package may raise anything
        raise ConfigError(f"{family.noun} `{name}` cannot be imported: {_hint(exc)}") from exc
    if not callable(plugin):
        raise ConfigError(f"{family.noun} `{name}`: {_value(kind, name)} is not a class")
    return plugin  # type: ignore[no-any-return]


def load(kind: Kind, name: str, options: Mapping[str, Any], runtime: Runtime, *more: Any) -> Any:
    """Make an instance of a plug-in.

    Args:
        kind: `detectors`, `methods` or `checks`.
        name: as in the job file.
        options: the plug-in's own settings as the user wrote them.
        runtime: weights, threads and device.
        more: further arguments of the plug-in, after options and runtime.

    Raises:
        UnknownNameError: nothing has that name.
        ConfigError: an option is unknown or out of range, with its key; or the plug-in cannot be made.
        ModelError: the weights are missing or are not the pinned ones.
    """
    family = FAMILIES[kind]
    plugin = find(kind, name)
    settings = check_options(kind, name, options)
    try:
        instance = plugin(settings, runtime, *more)
    except AnonBatchError:
        raise
    except Exception as exc:  # a plug-in may fail in any way; the user needs one line that names it
        raise ConfigError(f"{family.noun} `{name}` ({_value(kind, name)}) cannot be made: {_hint(exc)}") from exc
    bases = tuple(_import(base) for base in family.bases)
    if bases and not isinstance(instance, bases):
        expected = " or ".join(base.__name__ for base in bases)
        raise ConfigError(
            f"{family.noun} `{name}`: {_value(kind, name)} made {type(instance).__name__}, which is not a {expected}"
        )
    if getattr(instance, "name", None) != name:
        raise ConfigError(
            f"{family.noun} `{name}`: {_value(kind, name)} calls itself {getattr(instance, 'name', None)!r}; "
            f"set its attribute `name` to {name!r}"
        )
    return instance


def check_options(kind: Kind, name: str, options: Mapping[str, Any]) -> BaseModel:
    """Check the settings of a plug-in against its `Options`.

    Raises:
        UnknownNameError: nothing has that name.
        ConfigError: an option is unknown or out of range; the message names its key in the job file.
    """
    family = FAMILIES[kind]
    model = getattr(find(kind, name), "Options", PluginOptions)
    if not (isinstance(model, type) and issubclass(model, BaseModel) and model.model_config.get("extra") == "forbid"):
        raise ConfigError(
            f"{family.noun} `{name}`: Options of {_value(kind, name)} is not a subclass of anon_batch.plugins.PluginOptions"
        )
    return validate(model, options, f"{family.noun} `{name}`", prefix=family.options_key.format(name=name) + ".")


def _entry_points(kind: Kind) -> list[EntryPoint]:
    return sorted(entry_points(group=f"anon_batch.{kind}"), key=lambda point: (point.name, point.value))


def _import(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _value(kind: Kind, name: str) -> str:
    own = FAMILIES[kind].built_in.get(name)
    return own or next(point.value for point in _entry_points(kind) if point.name == name)


def _origin(point: EntryPoint) -> str:
    return f"package {point.dist.name}" if point.dist else f"entry point {point.value}"


def _hint(exc: Exception) -> str:
    text = f"{type(exc).__name__}: {exc}"
    if isinstance(exc, ImportError) and "libGL" in str(exc):
        return f"{text}; OpenCV needs the system's libGL (Debian, Ubuntu: apt-get install libgl1)"
    return text
