from __future__ import annotations

import sys
import types
from importlib.metadata import EntryPoint

import pytest
from method_harness import RUNTIME
from pydantic import BaseModel

from anon_batch import plugins
from anon_batch.anonymize.checks import load_checks
from anon_batch.anonymize.checks.structure import Structure
from anon_batch.anonymize.protocol import Finding, ImageCheck, Method, RegionCheck
from anon_batch.config import DetectConfig, JobConfig
from anon_batch.errors import ConfigError, ModelError, UnknownNameError


@pytest.fixture
def install(monkeypatch):
    """Install plug-ins: kind, name, class or function."""
    points: dict[str, list[EntryPoint]] = {}
    module = types.ModuleType("a_plug_in")
    monkeypatch.setitem(sys.modules, "a_plug_in", module)
    monkeypatch.setattr(plugins, "entry_points", lambda group: points.get(group, []))

    def install(kind, name, value, attribute="Made"):
        setattr(module, attribute, value)
        points.setdefault(f"anon_batch.{kind}", []).append(
            EntryPoint(name, f"a_plug_in:{attribute}", f"anon_batch.{kind}")
        )

    return install


class Veil(Method):
    name = "veil"

    class Options(plugins.PluginOptions):
        share: float = 0.5

    def render(self, targets):
        return []


def load(name, kind="methods", **options):
    return plugins.load(kind, name, options, RUNTIME)


@pytest.mark.parametrize("name", plugins.built_in("methods"))
def test_built_in_methods_load_under_their_names(name):
    assert load(name).name == name


def test_built_in_names_cannot_be_changed():
    with pytest.raises(TypeError):
        plugins.FAMILIES["methods"] = None


def test_unknown_name_suggests_the_nearest_and_lists_all():
    with pytest.raises(
        UnknownNameError, match=r"unknown method 'pixellate'. Did you mean 'pixelate'\? Known: blur, gan, "
    ):
        load("pixellate")
    with pytest.raises(UnknownNameError, match=r"unknown check 'zzz'\. Known: residual, structure"):
        load("zzz", "checks")


def test_plug_in_is_found_and_gets_its_options(install):
    install("methods", "veil", Veil)
    assert load("veil").options.share == 0.5
    assert load("veil", share=0.7).options.share == 0.7
    assert plugins.names("methods")[-1] == "veil"
    assert "veil" not in plugins.built_in("methods")


def test_wrong_options_of_a_plug_in_name_their_key(install):
    install("methods", "veil", Veil)
    with pytest.raises(
        ConfigError,
        match=r"unknown key `anonymize\.options\.veil\.shar`; did you mean `anonymize\.options\.veil\.share`",
    ):
        load("veil", shar=1)
    with pytest.raises(ConfigError, match=r"`anonymize\.options\.veil\.share`: .* \(given: \"x\"\)"):
        load("veil", share="x")


def test_options_that_accept_anything_are_refused(install):
    class Loose(Veil):
        class Options(BaseModel):
            share: float = 1

    install("methods", "veil", Loose)
    with pytest.raises(ConfigError, match="PluginOptions"):
        load("veil")


def test_any_strict_model_can_be_the_options(install):
    class Strict(Veil):
        class Options(BaseModel, extra="forbid"):
            share: float = 1

    install("methods", "veil", Strict)
    assert load("veil").options.share == 1


def test_plug_in_cannot_take_a_built_in_name(install):
    install("methods", "solid", Veil)
    with pytest.raises(
        ConfigError, match=r"method `solid`: entry point a_plug_in:Made claims this name, but it is built in"
    ):
        load("solid")
    assert load("blur").name == "blur"


def test_two_plug_ins_cannot_share_a_name(install):
    install("methods", "veil", Veil, "One")
    install("methods", "veil", Veil, "Two")
    with pytest.raises(ConfigError, match="uninstall one of them"):
        load("veil")


def _raise(error):
    def make(options, runtime):
        raise error

    return make


def test_plug_in_that_breaks_is_named(install):
    install("methods", "veil", _raise(RuntimeError("no licence file")))
    with pytest.raises(ConfigError, match=r"`veil` \(a_plug_in:Made\) cannot be made: .*no licence file"):
        load("veil")


def test_plug_in_that_cannot_be_imported_is_named(install, monkeypatch):
    install("methods", "veil", Veil)
    monkeypatch.delattr(sys.modules["a_plug_in"], "Made")
    with pytest.raises(ConfigError, match="`veil` cannot be imported"):
        load("veil")


def test_missing_system_library_is_explained(install):
    install("methods", "veil", _raise(ImportError("libGL.so.1: cannot open shared object file")))
    with pytest.raises(ConfigError, match="apt-get install libgl1"):
        load("veil")


def test_errors_of_the_package_pass(install):
    install("methods", "veil", _raise(ModelError("weights of veil: sha256 differs")))
    with pytest.raises(ModelError, match="sha256"):
        load("veil")


def test_what_is_no_method_is_refused(install):
    install("methods", "veil", lambda options, runtime: object())
    with pytest.raises(ConfigError, match="made object, which is not a Method"):
        load("veil")


def test_what_is_no_class_is_refused(install):
    install("methods", "veil", 5)
    with pytest.raises(ConfigError, match="a_plug_in:Made is not a class"):
        load("veil")


def test_method_that_calls_itself_otherwise_is_refused(install):
    install("methods", "shroud", Veil)
    with pytest.raises(ConfigError, match="calls itself 'veil'"):
        load("shroud")


class Look(ImageCheck):
    name = "look"

    def check(self, images):
        return [Finding() for _ in images]


def test_checks_of_a_job_are_sorted_by_kind(install):
    install("checks", "look", Look)
    job = JobConfig.model_validate(
        {"manifest": "m", "output": "o", "checks": {"look": None, "structure": {"max_share": 0.2}}}
    )
    checks = load_checks(job.checks, RUNTIME, job.detect)
    assert [type(check) for check in checks.of_regions] == [Structure]
    assert [type(check) for check in checks.of_images] == [Look]
    assert isinstance(checks.of_regions[0], RegionCheck)
    assert checks.of_regions[0].options.max_share == 0.2


@pytest.mark.parametrize("given", [None, {}, {"structure": None}])
def test_structure_is_always_checked(given):
    job = JobConfig.model_validate({"manifest": "m", "output": "o", "checks": given})
    assert job.checks == {"structure": {}}
    assert len(load_checks(job.checks, RUNTIME, job.detect).of_regions) == 1


def test_wrong_option_of_a_check_names_its_key():
    with pytest.raises(ConfigError, match=r"`checks\.structure\.max_share`"):
        load_checks({"structure": {"max_share": 1}}, RUNTIME, DetectConfig())
