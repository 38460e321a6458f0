"""The training file: errors name the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from drawn_faces import tiny_config

from anon_batch.errors import ConfigError
from anon_batch.train.config import effective_text, load_training

NEEDED = "faces: a\noutput: b\n"


@pytest.mark.parametrize(
    ("text", "overrides", "expected"),
    [
        ("faces: a", {}, "`output` is required"),
        ("output: b", {}, "`faces` is required"),
        ("faces: []\noutput: b", {}, "`faces`"),
        (NEEDED + "batchsize: 4", {}, "did you mean `batch_size`"),
        (NEEDED + "weights: {truht: 4}", {}, "did you mean `weights.truth`"),
        (NEEDED, {"weights.truth": -1}, "`weights.truth`.*given: -1"),
        (NEEDED + "steps: 4", {"steps.all": 3}, "steps is not a section"),
        (NEEDED + "batch_size: 1", {}, "`batch_size`"),
        (NEEDED + "expansions: [1.4, 1.1]", {}, "the smaller first"),
        (NEEDED + "channels: [8, 0]", {}, "1 or more"),
        (NEEDED + "device: tpu", {}, "`device`"),
        (NEEDED + "generator_rate: .nan", {}, "`generator_rate`"),
        (NEEDED + "seed: 16777216", {}, "`seed`"),
        ("faces: [a", {}, "is not YAML.*line 1"),
        ("- faces", {}, "expected a mapping at the top level, found list"),
        (None, {}, "No such file"),
    ],
)
def test_errors_name_the_key(tmp_path: Path, text: str | None, overrides: dict[str, Any], expected: str) -> None:
    path = tmp_path / "t.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=expected):
        load_training(path, overrides)


def test_overrides_win(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(NEEDED + "steps: 7\nweights:\n")
    config = load_training(path, {"steps": 9, "weights.truth": 2})
    assert (config.steps, config.weights.truth, config.weights.donor) == (9, 2, 1.2)
    assert config.faces == ("a",)


def test_effective_file_says_the_same(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, tmp_path / "o", weights={"truth": 2.5})
    path = tmp_path / "again.yaml"
    path.write_text(effective_text(config))
    assert load_training(path, {}) == config
    assert set(yaml.safe_load(path.read_text())) == set(type(config).model_fields)


def test_training_files_of_the_repository() -> None:
    files = sorted((Path(__file__).parents[2] / "jobs/training").glob("*.yaml"))
    assert files
    for path in files:
        assert load_training(path, {}).steps > 0
