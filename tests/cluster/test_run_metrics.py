"""What is recorded of shards, without Ray: bounded labels, sums over starts, gauges that stay, and the way of a Ray client."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import ray
from pipeline_fixtures import job, shards, write_dataset

from anon_batch.cluster import metrics
from anon_batch.cluster.metrics import METRICS, Point, Recorder, open_recorder
from anon_batch.cluster.run_metrics import RunMetrics
from anon_batch.formats.gates_json import Gates
from anon_batch.pipeline.run import Run, open_run
from anon_batch.pipeline.shard import ShardProcessor
from anon_batch.pipeline.totals import Totals
from anon_batch.records import ShardResult, ShardSpec
from anon_batch.stats import LabelStats, ShardStats


class Recorded:
    """Keeps what is recorded: sums of counters, last values of gauges."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}

    def record(self, points: Sequence[Point]) -> None:
        for name, value, labels in points:
            assert set(labels) == set(METRICS[name].labels), name
            key = name, frozenset(labels.items())
            self.values[key] = value + (self.values.get(key, 0) if METRICS[name].kind == "counter" else 0)

    def close(self) -> None: ...

    def value(self, name: str, **labels: str) -> float:
        return sum(v for (own, have), v in self.values.items() if own == name and labels.items() <= dict(have).items())


@pytest.fixture
def run(tmp_path: Path) -> Run:
    write_dataset(str(tmp_path), [f"{index}.png" for index in range(10)])
    return open_run(job(str(tmp_path)), ())[0]


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


def _committed(stats: ShardStats) -> ShardResult:
    return ShardResult(ShardSpec(0, stats.rows), "committed", stats.statuses, stats=stats.to_json())


def test_a_resumed_run_begins_with_what_is_committed(run: Run, recorded: Recorded) -> None:
    processor = ShardProcessor(run)
    first, *others = shards(run)
    processor.process(first)
    watching = RunMetrics(run, Totals.read(run.release), recorded)
    assert (recorded.value("rows"), recorded.value("rows_done")) == (10, first.count)
    for spec in others:
        watching.shard(processor.process(spec))
    assert recorded.value("rows_done") == 10
    assert recorded.value("images") == 10 - first.count, "of this start"
    assert recorded.value("gate_limit", gate="failed") == 0.01


def test_a_shard_whose_worker_died_after_its_commit_counts_once(run: Run, recorded: Recorded) -> None:
    spec = shards(run)[0]
    ShardProcessor(run).process(spec)
    watching = RunMetrics(run, Totals(), recorded)
    watching.shard(ShardResult(spec, "already_committed"))
    assert recorded.value("rows_done") == recorded.value("images") == spec.count
    assert recorded.value("shard_seconds") == 0


def test_labels_and_methods_that_the_job_does_not_know_share_one_value(run: Run, recorded: Recorded) -> None:
    watching = RunMetrics(run, Totals(), recorded)
    methods = {f"method{number}": 1 for number in range(50)}
    stats = ShardStats(
        rows=1,
        statuses={"anonymized": 1},
        labels={"face": LabelStats(methods=methods), "Jane Doe": LabelStats(methods={"solid": 2})},
    )
    watching.shard(_committed(stats))
    assert recorded.value("regions", label="other") == 2
    assert recorded.value("regions", label="face") == 50
    assert recorded.value("regions", method="other") > 0
    assert len({labels for name, labels in recorded.values if name == "regions"}) <= 34
    assert not any("Jane" in text for _, labels in recorded.values for _, text in labels)


def test_repeated_calls_of_workers_and_of_the_driver_are_added(
    run: Run, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run.storage, "take_repetitions", lambda: {"throttled": 2})
    watching = RunMetrics(run, Totals(), recorded)
    watching.shard(ShardResult(ShardSpec(0, 4), "error", code="throttled", retries={"throttled": 3}))
    assert recorded.value("storage_retries", code="throttled") == 5
    assert recorded.value("shard_errors", code="throttled") == recorded.value("shards", outcome="error") == 1


def test_only_gates_that_committed_rows_decide_are_known_meanwhile(tmp_path: Path) -> None:
    write_dataset(str(tmp_path), ["0.png"])
    limits = job(str(tmp_path), gates__withheld=0.1, gates__recall=0.9, gates__missed=0.1).gates
    totals = Totals()
    totals.add(ShardStats(rows=4, statuses={"withheld": 1, "clean": 3}, reasons={"withheld:residual": 1}))
    known: Gates = totals.gates(limits)
    assert {own.name: own.value for own in known.results} == {"withheld": 0.25, "failed": 0.0}


class _Gauge:
    def __init__(self, *_: object) -> None:
        self.set_to: list[float] = []

    def set(self, value: float, _: object) -> None:
        self.set_to.append(value)


def test_gauges_are_set_again_because_ray_forgets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    gauge = _Gauge()
    monkeypatch.setattr(metrics, "_SET_AGAIN_S", 0.01)
    monkeypatch.setattr(metrics, "_create", lambda name: gauge)
    recorder = Recorder()
    recorder.record([Point("rows", 5)])
    until = time.monotonic() + 10
    while len(gauge.set_to) < 4:
        assert time.monotonic() < until
        time.sleep(0.01)
    recorder.close()
    time.sleep(0.1)
    count = len(gauge.set_to)
    time.sleep(0.1)
    assert len(gauge.set_to) == count, "nothing is set after the end"
    assert set(gauge.set_to) == {5}


def test_a_ray_client_records_in_an_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Any] = []

    class Remote:
        def options(self, **options: Any) -> Remote:
            heard.append(options)
            return self

        def remote(self, *_: Any) -> Remote:
            heard.extend(_)
            return self

        record = close = property(lambda self: self)

    monkeypatch.setattr(ray.util.client.ray, "is_connected", lambda: True)
    monkeypatch.setattr(ray, "remote", lambda kind: heard.append(kind) or Remote())
    open_recorder().record(iter([Point("rows", 5)]))  # type: ignore[arg-type]
    assert heard == [Recorder, {"num_cpus": 0}, [Point("rows", 5)]]


def test_totals_of_a_release_are_those_of_its_parts(run: Run) -> None:
    def statuses() -> Iterator[dict[str, int]]:
        for spec in shards(run):
            yield dict(ShardProcessor(run).process(spec).statuses)

    assert Totals.read(run.release).statuses == {}
    expected = sum(map(Counter, statuses()), Counter())
    assert Totals.read(run.release).statuses == dict(expected)
