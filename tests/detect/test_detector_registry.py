from __future__ import annotations

import importlib
from importlib.metadata import EntryPoint

import pytest

from anon_batch import plugins
from anon_batch.config import DetectConfig, DetectorConfig, ModelsConfig
from anon_batch.detect.registry import create_detector
from anon_batch.errors import ConfigError, UnknownNameError
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.storage import Storage

PLUGIN = """
from anon_batch.plugins import PluginOptions

class Toy:
    name, models, labels = "toy", ("yunet",), ("licence_plate",)

    class Options(PluginOptions):
        country: str = "any"

    def __init__(self, options, runtime, settings):
        self.options, self.runtime, self.settings = options, runtime, settings

    def detect(self, images):
        return []

class Incomplete:
    name = "toy"

    def __init__(self, options, runtime, settings):
        pass
"""
RUNTIME = Runtime(ModelStore(Storage(), ModelsConfig()))


@pytest.fixture
def install(monkeypatch, tmp_path):
    def _install(*points):
        found = [EntryPoint(name, value, "anon_batch.detectors") for name, value in points]
        monkeypatch.setattr(plugins, "entry_points", lambda group: found if group == "anon_batch.detectors" else [])

    (tmp_path / "toy_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    return _install


def create(name, **keys):
    return create_detector(DetectorConfig(name=name, **keys), DetectConfig(), RUNTIME)


def test_an_unknown_name_suggests_the_nearest_and_lists_all(install):
    install(("egoblur", "toy_plugin:Toy"))
    with pytest.raises(UnknownNameError, match=r"centerfaces.*centerface.*egoblur.*manifest"):
        create("centerfaces")


def test_a_plugin_gets_its_options_the_runtime_and_the_settings(install):
    install(("toy", "toy_plugin:Toy"))
    detector = create("toy", threshold=0.3, options={"country": "nl"})
    assert detector.options.country == "nl"
    assert detector.settings.threshold(0.5) == 0.3
    assert detector.settings.scale == 1.0
    assert detector.runtime is RUNTIME


def test_the_options_of_a_plugin_are_checked_by_its_own_model(install):
    install(("toy", "toy_plugin:Toy"))
    with pytest.raises(ConfigError, match=r"unknown key `detect.detectors.toy.options.contry`; did you mean"):
        create("toy", options={"contry": "nl"})


@pytest.mark.parametrize("name", ["centerface", "manifest"])
def test_a_plugin_cannot_claim_a_built_in_name(install, name):
    install((name, "toy_plugin:Toy"))
    with pytest.raises(ConfigError, match="built in"):
        create(name)


def test_a_plugin_without_the_attributes_of_a_detector_is_refused(install):
    install(("toy", "toy_plugin:Incomplete"))
    with pytest.raises(ConfigError, match="without models, labels, detect"):
        create("toy")
