from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from anon_batch.config import DetectConfig, DetectorConfig, ModelsConfig
from anon_batch.detect import registry
from anon_batch.errors import ConfigError, UnknownNameError
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.storage import Storage

PLUGIN = """
from pydantic import BaseModel, ConfigDict

class Toy:
    name, models, labels = "toy", ("yunet",), ("licence_plate",)

    class Options(BaseModel):
        model_config = ConfigDict(extra="forbid")
        country: str = "any"

    def __init__(self, settings, runtime):
        self.settings, self.runtime = settings, runtime

    def detect(self, images):
        return []

not_callable = 3

def incomplete(settings, runtime):
    return object()
"""
RUNTIME = Runtime(ModelStore(Storage(), ModelsConfig()))


@pytest.fixture
def plugins(monkeypatch, tmp_path):
    def _install(*points):
        monkeypatch.setattr(
            registry, "entry_points", lambda group: [EntryPoint(name, value, group) for name, value in points]
        )

    (tmp_path / "toy_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return _install


def create(name, **keys):
    return registry.create_detector(DetectorConfig(name=name, **keys), DetectConfig(), RUNTIME)


def test_an_unknown_name_suggests_the_nearest_and_lists_all(plugins):
    plugins(("egoblur", "toy_plugin:Toy"))
    with pytest.raises(UnknownNameError, match=r"centerfaces.*centerface.*egoblur.*manifest"):
        create("centerfaces")


def test_a_plugin_gets_its_settings_and_the_runtime(plugins):
    plugins(("toy", "toy_plugin:Toy"))
    assert "toy" in registry.known_detectors()
    detector = create("toy", threshold=0.3, options={"country": "nl"})
    assert detector.settings.options.country == "nl"
    assert detector.settings.threshold(0.5) == 0.3
    assert detector.settings.scale == 1.0
    assert detector.runtime is RUNTIME


def test_the_options_of_a_plugin_are_checked_by_its_own_model(plugins):
    plugins(("toy", "toy_plugin:Toy"))
    with pytest.raises(ConfigError, match=r"toy: unknown key `contry`; did you mean `country`\?"):
        create("toy", options={"contry": "nl"})


@pytest.mark.parametrize(
    ("points", "name", "message"),
    [
        ([("centerface", "toy_plugin:Toy")], "centerface", "built-in"),
        ([("manifest", "toy_plugin:Toy")], "manifest", "built-in"),
        ([("toy", "toy_plugin:Toy"), ("toy", "other:create")], "toy", "claimed by .* and "),
        ([("toy", "no_such_module:create")], "toy", "cannot be loaded.*no_such_module"),
        ([("toy", "toy_plugin:not_callable")], "toy", "no class or function"),
        ([("toy", "toy_plugin:incomplete")], "toy", "without name, models, labels, detect"),
    ],
)
def test_a_bad_plugin_is_refused(plugins, points, name, message):
    plugins(*points)
    with pytest.raises(ConfigError, match=message):
        create(name)


def test_the_built_ins_cannot_be_changed():
    with pytest.raises(TypeError):
        registry.BUILT_IN["centerface"] = "evil:create"
