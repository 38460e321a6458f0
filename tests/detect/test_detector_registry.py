from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from anon_batch.config import DetectConfig
from anon_batch.detect import registry
from anon_batch.errors import ConfigError, UnknownNameError


@pytest.fixture
def plugins(monkeypatch, tmp_path):
    def _install(*points):
        monkeypatch.setattr(
            registry,
            "entry_points",
            lambda group: [EntryPoint(name, value, group) for name, value in points],
        )

    (tmp_path / "toy_plugin.py").write_text(
        "def create(*args): pass\ncreate.model_names = ('yunet', 'centerface')\nnot_callable = 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return _install


def test_unknown_names_get_the_nearest_and_the_list(plugins):
    plugins(("egoblur", "toy_plugin:create"))
    with pytest.raises(UnknownNameError, match=r"'centerfaces'.*mean 'centerface'\?.*egoblur, manifest"):
        registry.detector_factory("centerfaces")


def test_a_plugin_is_found_and_its_models_are_known_ahead(plugins):
    plugins(("toy", "toy_plugin:create"))
    assert "toy" in registry.known_detectors()
    assert callable(registry.detector_factory("toy"))
    config = DetectConfig(detectors=["manifest", "centerface", "toy"])
    assert registry.models_of(config) == ("centerface_int8", "yunet", "centerface")
    assert registry.models_of(config, "cuda") == ("centerface", "yunet")


@pytest.mark.parametrize(
    ("points", "name", "message"),
    [
        ([("centerface", "toy_plugin:create")], "centerface", "built-in"),
        ([("toy", "toy_plugin:create"), ("toy", "other:create")], "toy", "claimed by .* and "),
        ([("toy", "no_such_module:create")], "toy", "cannot be loaded.*no_such_module"),
        ([("toy", "toy_plugin:not_callable")], "toy", "no factory"),
    ],
)
def test_a_bad_plugin_is_refused(plugins, points, name, message):
    plugins(*points)
    with pytest.raises(ConfigError, match=message):
        registry.detector_factory(name)


def test_the_built_ins_cannot_be_changed():
    with pytest.raises(TypeError):
        registry.BUILT_IN["centerface"] = "evil:create"
    for name in registry.BUILT_IN:
        assert callable(registry.detector_factory(name))
