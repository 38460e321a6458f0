"""A method of another package, from the job file to the result: `tests/plugins/random_color.py` is the complete plug-in."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import numpy as np
import pytest
from method_harness import KEY, RUNTIME, make_detections

from anon_batch import keys, plugins
from anon_batch.anonymize.ladder import build_ladder
from anon_batch.config import AnonymizeConfig
from anon_batch.errors import ConfigError
from anon_batch.records import DecodedImage


@pytest.fixture(autouse=True)
def _installed(monkeypatch):
    points = {"anon_batch.methods": [EntryPoint("random_color", "random_color:RandomColor", "anon_batch.methods")]}
    monkeypatch.setattr(plugins, "entry_points", lambda group: points.get(group, []))


def build(**options):
    return build_ladder(
        AnonymizeConfig.model_validate(
            {"face": {"method": "random_color"}, "options": {"random_color": options} if options else {}}
        ),
        RUNTIME,
    )


def test_plug_in_renders_what_its_seed_says():
    ladder = build(darkest=200)
    image = DecodedImage("img", np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8))
    regions = ladder.policy.regions_of(make_detections((10, 10, 30, 30), (40, 10, 60, 40)), 80, 60)
    (result,) = ladder.anonymize([(image, regions)], KEY)
    assert result.methods == {0: "random_color", 1: "random_color"}
    for index, point in enumerate([(20, 20), (25, 50)]):
        expected = np.random.default_rng(keys.seed(KEY, "img", index)).integers(200, 256, 3, np.uint8)
        assert result.pixels[point].tolist() == expected.tolist()
    assert np.array_equal(result.pixels[~result.touched], image.pixels[~result.touched])


def test_wrong_option_names_its_key():
    with pytest.raises(ConfigError, match=r"`anonymize\.options\.random_color\.darkest`.*255"):
        build(darkest=300)
    with pytest.raises(ConfigError, match=r"did you mean `anonymize\.options\.random_color\.darkest`"):
        build(darker=3)
