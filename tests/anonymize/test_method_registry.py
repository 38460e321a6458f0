from __future__ import annotations

import sys
import types
from importlib.metadata import EntryPoint

import pytest

from anon_batch.anonymize import registry
from anon_batch.anonymize.methods.solid import Solid
from anon_batch.config import AnonymizeConfig, ModelsConfig
from anon_batch.errors import ConfigError, ModelError, UnknownNameError
from anon_batch.models.store import ModelStore
from anon_batch.storage import Storage

CONFIG = AnonymizeConfig()


def load(name):
    return registry.load_method(name, CONFIG, ModelStore(Storage(), ModelsConfig()), 1, "cpu")


@pytest.fixture
def plug_in(monkeypatch):
    """Installs a plug-in: name, factory -> None."""
    points = []
    module = types.ModuleType("a_plug_in")
    monkeypatch.setitem(sys.modules, "a_plug_in", module)
    group_of_methods = {registry.ENTRY_POINT_GROUP: points}
    monkeypatch.setattr(registry, "entry_points", lambda group: group_of_methods[group])

    def install(name, factory, attribute="make"):
        setattr(module, attribute, factory)
        points.append(EntryPoint(name, f"a_plug_in:{attribute}", registry.ENTRY_POINT_GROUP))

    return install


class Veil(Solid):
    def __init__(self, name="veil"):
        super().__init__()
        self.name = name


@pytest.mark.parametrize("name", sorted(registry.BUILT_IN))
def test_built_ins_load_under_their_names(name):
    assert load(name).name == name


def test_the_registry_cannot_be_written():
    with pytest.raises(TypeError):
        registry.BUILT_IN["solid"] = "elsewhere:create"


def test_an_unknown_name_is_told_the_nearest_and_all():
    with pytest.raises(UnknownNameError, match=r"`pixellate`; did you mean `pixelate`\? there are `solid`, "):
        load("pixellate")
    with pytest.raises(UnknownNameError, match="`zzz`; there are `solid`, `pixelate`, `blur`, `inpaint`"):
        load("zzz")


def test_a_plug_in_is_found(plug_in):
    plug_in("veil", lambda config, store, threads, device: Veil())
    assert load("veil").name == "veil"
    assert list(registry.known_methods())[-1] == "veil"


def test_a_plug_in_cannot_take_a_name(plug_in):
    plug_in("solid", lambda *_: Veil("solid"))
    with pytest.raises(ConfigError, match="claims a name that is taken"):
        load("solid")


def test_two_plug_ins_cannot_share_a_name(plug_in):
    plug_in("veil", lambda *_: Veil(), "one")
    plug_in("veil", lambda *_: Veil(), "two")
    with pytest.raises(ConfigError, match="uninstall one of them"):
        load("veil")


def test_a_plug_in_that_breaks_is_named(plug_in):
    def broken(*_):
        raise RuntimeError("no licence file")

    plug_in("veil", broken)
    with pytest.raises(ConfigError, match=r"`veil` \(a_plug_in:make\) cannot be loaded: .*no licence file"):
        load("veil")


def test_missing_system_library_is_explained(plug_in):
    def broken(*_):
        raise ImportError("libGL.so.1: cannot open shared object file")

    plug_in("veil", broken)
    with pytest.raises(ConfigError, match="apt-get install libgl1"):
        load("veil")


def test_errors_of_the_package_pass(plug_in):
    def missing(*_):
        raise ModelError("weights of veil: sha256 differs")

    plug_in("veil", missing)
    with pytest.raises(ModelError, match="sha256"):
        load("veil")


@pytest.mark.parametrize("made", [None, object(), Veil("other")])
def test_what_is_no_method_is_refused(plug_in, made):
    plug_in("veil", lambda *_: made)
    with pytest.raises(ConfigError, match="expected an object with name 'veil'"):
        load("veil")
