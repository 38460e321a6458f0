"""Names of methods: built-ins, and those of other packages through the entry points
`anon_batch.anonymizers`.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

from anon_batch.anonymize.protocol import RegionAnonymizer
from anon_batch.config import AnonymizeConfig
from anon_batch.errors import AnonBatchError, ConfigError, UnknownNameError

ENTRY_POINT_GROUP = "anon_batch.anonymizers"

BUILT_IN: Mapping[str, str] = MappingProxyType(
    {
        "solid": "anon_batch.anonymize.methods.solid:create",
        "pixelate": "anon_batch.anonymize.methods.pixelate:create",
        "blur": "anon_batch.anonymize.methods.blur:create",
        "inpaint": "anon_batch.anonymize.methods.inpaint:create",
        "swap": "anon_batch.anonymize.methods.swap:create",
        "gan": "anon_batch.anonymize.methods.gan:create",
    }
)


def known_methods() -> Mapping[str, str]:
    """Name -> "module:factory" of every method that can be chosen here, built-ins first.

    Raises:
        ConfigError: two installed packages, or a package and this one, claim the same name.
    """
    names = dict(BUILT_IN)
    for point in _plug_ins():
        if point.name in names:
            raise ConfigError(
                f"method `{point.name}`: the installed package that provides {point.value} claims a name "
                f"that is taken by {names[point.name]}; uninstall one of them"
            )
        names[point.name] = point.value
    return MappingProxyType(names)


def load_method(name: str, config: AnonymizeConfig, store: Any, threads: int, device: str) -> RegionAnonymizer:
    """Makes the method `name`.

    Args:
        name: as in the job file.
        config: its section `anonymize`.
        store: the model store, for methods with weights.
        threads: of a network.
        device: `cpu` or `cuda`.

    Raises:
        UnknownNameError: no such method; the message names the nearest one and all of them.
        ConfigError: it is known but cannot be loaded.
        ModelError: its weights are missing or not the pinned ones.
    """
    known = known_methods()
    if name not in known:
        raise UnknownNameError(_unknown(name, known))
    module, _, attribute = known[name].partition(":")
    try:
        factory = getattr(importlib.import_module(module), attribute)
        method = factory(config, store, threads, device)
    except AnonBatchError:
        raise
    except Exception as exc:  # a plug-in may fail in any way; the user needs one line that names it
        raise ConfigError(f"method `{name}` ({known[name]}) cannot be loaded: {_hint(exc)}") from exc
    if not isinstance(method, RegionAnonymizer) or method.name != name:
        raise ConfigError(
            f"method `{name}`: {known[name]} made {type(method).__name__} named "
            f"{getattr(method, 'name', None)!r}; expected an object with name {name!r}, model_names and "
            f"anonymize(batch, run_key)"
        )
    return method


def _plug_ins() -> list[EntryPoint]:
    return sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: (point.name, point.value))


def _unknown(name: str, known: Mapping[str, str]) -> str:
    choices = ", ".join(f"`{n}`" for n in known)
    nearest = difflib.get_close_matches(name.strip().lower(), known, n=1, cutoff=0.5)
    guess = f" did you mean `{nearest[0]}`?" if nearest else ""
    return f"no method `{name}`;{guess} there are {choices}"


def _hint(exc: Exception) -> str:
    text = f"{type(exc).__name__}: {exc}"
    if isinstance(exc, ImportError) and "libGL" in str(exc):
        return f"{text}; OpenCV needs the system's libGL (Debian, Ubuntu: apt-get install libgl1)"
    return text
