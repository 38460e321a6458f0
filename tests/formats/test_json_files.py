"""run.json, stats.json, gates.json and plan.json: read as written; damage and other versions are refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from anon_batch.errors import ConfigError, IntegrityError, ResumeRefusedError
from anon_batch.formats.gates_json import GateResult, Gates
from anon_batch.formats.plan import PLAN_VERSION, Plan
from anon_batch.formats.run_json import RUN_JSON_VERSION, RunJson
from anon_batch.formats.stats_json import StatsJson
from anon_batch.stats import ShardStats, summarise

RUN = RunJson(
    run_id="r",
    created_at="2024-01-01T00:00:00+00:00",
    rows=3,
    shard_rows=2,
    models=("net@0",),
    config={"name": "n", "write": {"layout": "parquet"}, "gates": {"failed": 0.1}},
)
STATS = StatsJson(summarise(ShardStats(rows=3, statuses={"clean": 3})))
GATES = Gates((GateResult("failed", "at_most", 0.01, 0.0, True), GateResult("recall", "at_least", 0.9, 0.95, True)))
PLAN = Plan("r", 3, 2, ("net@0",), {"name": "n"}, "rows", "2024-01-01T00:00:00+00:00")


@pytest.mark.parametrize("record", [RUN, RUN.finished({"clean": 3}), STATS, GATES, PLAN])
def test_a_file_is_read_as_it_was_written(record: Any) -> None:
    assert type(record).from_json(record.to_json(), "u") == record


def test_run_json_names_layout_gates_and_state() -> None:
    assert (RUN.name, RUN.layout, RUN.gates, RUN.is_finished) == ("n", "parquet", {"failed": 0.1}, False)
    finished = RUN.finished({"clean": 3})
    assert (finished.is_finished, finished.statuses) == (True, {"clean": 3})
    assert finished.finished_at is not None


@pytest.mark.parametrize("cls", [RunJson, StatsJson, Gates, Plan])
@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"5", b"null", b'"text"', b"{}", b"\xff\xfe"])
def test_a_damaged_file_is_refused_with_its_address(cls: Any, data: bytes) -> None:
    with pytest.raises(IntegrityError, match="the-address"):
        cls.from_json(data, "the-address")


def _changed(data: bytes, **fields: Any) -> bytes:
    return json.dumps({**json.loads(data), **fields}).encode()


@pytest.mark.parametrize(
    "fields",
    [
        {"rows": True},
        {"rows": 0},
        {"rows": "3"},
        {"run_id": 5},
        {"models": [5]},
        {"models": None},
        {"config": []},
        {"config": {"write": "files"}},
        {"statuses": 5},
        {"statuses": {"clean": "many"}},
        {"created_at": "yesterday"},
        {"finished_at": "tomorrow"},
        {"unknown": 1},
    ],
)
def test_run_json_with_a_wrong_field_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match="damaged"):
        RunJson.from_json(_changed(RUN.to_json(), **fields), "u")


GATE = dataclasses.asdict(GATES.results[0])


@pytest.mark.parametrize(
    "gate",
    [
        {**GATE, "kind": "about"},
        {**GATE, "passed": "yes"},
        {**GATE, "limit": None},
        {**GATE, "value": "0"},
        {**GATE, "value": None},  # a gate that was not measured never passes
        {**GATE, "limit": float("nan")},
        {**GATE, "value": float("inf")},
        {**GATE, "name": 5},
        {**GATE, "passed": False},  # contradicts the file's own verdict
        {"name": "failed"},
    ],
)
def test_gates_json_with_a_wrong_gate_is_refused(gate: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match="damaged"):
        Gates.from_json(_changed(GATES.to_json(), gates=[gate]), "u")


def test_gates_pass_only_together() -> None:
    assert Gates(()).passed
    assert GATES.passed
    unmeasured = GateResult("recall", "at_least", 0.9, None, False, "not measured")
    assert not Gates((*GATES.results, unmeasured)).passed


@pytest.mark.parametrize(
    ("parse", "error"),
    [
        (lambda v: RunJson.from_json(_changed(RUN.to_json(), format_version=RUN_JSON_VERSION + v), "u"), ConfigError),
        (lambda v: Plan.from_json(_changed(PLAN.to_json(), version=PLAN_VERSION + v), "u"), ResumeRefusedError),
    ],
)
def test_another_version_is_refused_with_advice(parse: Callable[[int], Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=r"older version of anon-batch.*run the job again"):
        parse(-1)
    with pytest.raises(error, match="Update anon-batch"):
        parse(1)
