"""Attacks on photographs of 51 persons: obfuscation is broken where the naive attacker sees nothing, new faces stay at chance."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import external_data
import pytest

from anon_batch import plugins
from anon_batch.config import load_job
from anon_batch.evaluate.attacks.audit import AttackSettings, Audit
from anon_batch.evaluate.attacks.measures import SceneMeasures
from anon_batch.evaluate.pairs_csv import read_pairs
from anon_batch.evaluate.person_pairs import read_persons
from anon_batch.evaluate.setup import EvaluationConfig, load_setup
from anon_batch.storage import Storage

pytestmark = [pytest.mark.accuracy, external_data.needs_data(external_data.PAIRS)]
WEIGHTS = "mobilefacenet_kw.onnx"


@pytest.fixture
def attack(monkeypatch: pytest.MonkeyPatch) -> Any:
    external_data.skip_without_weights(WEIGHTS)
    points = {"anon_batch.methods": [EntryPoint("weak_blur", "weak_blur:WeakBlur", "anon_batch.methods")]}
    monkeypatch.setattr(plugins, "entry_points", lambda group: points.get(group, []))

    def on_faces_alone(method: str, **options: object) -> SceneMeasures:
        job = load_job(None, {"manifest": "none", "output": "x", f"anonymize.options.{method}": options})
        pairs, embedders = str(external_data.PAIRS / "pairs.csv"), (str(external_data.MODELS / WEIGHTS),)
        config = EvaluationConfig(job, (method,), "x", pairs=pairs, embedders=embedders)
        storage = Storage()
        setup = load_setup(config, storage)
        persons = read_persons(config, storage, setup.anonymizer, read_pairs(storage, pairs))
        assert len(persons) == 51
        settings = AttackSettings(("naive", "reverse", "parrot"), copies=8)
        audit = Audit(persons, setup.embedders, setup.eraser, settings, config.run_key)
        return audit._attack(setup.methods[0], audit._face)

    return on_faces_alone


def _of(scene: SceneMeasures, attack: str) -> tuple[float, float]:
    [own] = [own for own in scene.attackers if own.attack == attack]
    return own.rank_1.value, own.p_value


@pytest.mark.parametrize(("method", "options", "least"), [("weak_blur", {}, 0.7), ("pixelate", {"cells": 16}, 0.5)])
def test_obfuscation_is_broken_where_the_naive_attacker_sees_nothing(
    attack: Any, method: str, options: dict[str, object], least: float
) -> None:
    scene = attack(method, **options)
    assert _of(scene, "naive")[1] > 0.01  # at chance, as far as this attacker can tell
    share, p_value = _of(scene, "parrot")
    assert share > least
    assert p_value < 0.001
    assert scene.above_chance is True


@pytest.mark.parametrize("method", ["gan", "swap", "solid"])
def test_methods_that_do_not_see_the_face_stay_at_chance(attack: Any, method: str) -> None:
    scene = attack(method)
    assert scene.above_chance is False
    assert scene.strongest.rank_1.low < scene.chance < scene.strongest.rank_1.high
