"""Rounds of shards: what ends them when no shard can be committed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pipeline_fixtures import Silent, shards

from anon_batch.config import load_job
from anon_batch.errors import RunStoppedError, TerminatedError, TransientStorageError
from anon_batch.pipeline import rounds
from anon_batch.pipeline.run import Run, open_run
from anon_batch.pipeline.shard import ShardProcessor
from anon_batch.records import ShardResult, ShardSpec

ROWS, SHARD_ROWS = 8, 4


@pytest.fixture
def run(tmp_path: Path) -> Run:
    manifest = tmp_path / "manifest.parquet"
    ids = [f"{number}.jpg" for number in range(ROWS)]
    pq.write_table(pa.table({"image_id": ids, "uri": ids}), manifest)
    opened, _ = open_run(
        load_job(
            None,
            {
                "manifest": str(manifest),
                "output": str(tmp_path / "release"),
                "engine.shard_rows": SHARD_ROWS,
            },
        ),
        (),
    )
    return opened


class _Failing:
    """A dispatcher whose every shard ends in a passing error, after an attempt began or before."""

    def __init__(self, run: Run, *, begin: bool, rounds: int = 100) -> None:
        self.run = run
        self.begin = begin
        self.most = rounds
        self.rounds: list[list[ShardSpec]] = []

    def __call__(self, specs: Iterable[ShardSpec]) -> Iterator[ShardResult]:
        if len(self.rounds) == self.most:
            raise KeyboardInterrupt
        self.rounds.append(list(specs))
        for spec in self.rounds[-1]:
            if self.begin:
                name = f"{self.run.invocation}-{len(self.rounds)}"
                self.run.ledger.mark_attempt(spec, name)
            yield ShardResult(spec, "error", error="the store is away", retryable=True)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds.time, "sleep", lambda _: None)


def test_rounds_in_which_no_attempt_even_begins_end_the_run(run: Run) -> None:
    failing = _Failing(run, begin=False)
    with pytest.raises(TransientStorageError, match="the store is away"):
        rounds.drive(run, Silent(), failing)
    assert len(failing.rounds) == 1


def test_rounds_are_repeated_while_attempts_begin(run: Run) -> None:
    failing = _Failing(run, begin=True, rounds=3)
    with pytest.raises(KeyboardInterrupt):
        rounds.drive(run, Silent(), failing)
    assert [sum(spec.count for spec in specs) for specs in failing.rounds] == [ROWS] * 3


def test_a_non_retryable_error_stops_the_run(run: Run) -> None:
    def denied(specs: Iterable[ShardSpec]) -> Iterator[ShardResult]:
        for spec in specs:
            yield ShardResult(spec, "error", error="access denied", retryable=False)

    with pytest.raises(RunStoppedError, match="access denied"):
        rounds.drive(run, Silent(), denied)


def test_rows_that_no_attempt_survives_end_as_poison(run: Run) -> None:
    """Shards split down to single rows, which are given up one by one; no round goes on for ever."""

    def dies(specs: Iterable[ShardSpec]) -> Iterator[ShardResult]:
        for spec in specs:
            for number in range(3):
                name = f"{run.invocation}-{number}"
                run.ledger.mark_attempt(spec, name)
            yield ShardResult(spec, "exhausted")

    rounds.drive(run, Silent(), dies)
    assert sum(spec.count for spec in run.release.parts()) == ROWS


def test_after_a_notice_no_shard_is_started_and_those_in_flight_end(run: Run) -> None:
    begun: list[ShardSpec] = []

    def two_workers(specs: Iterable[ShardSpec]) -> Iterator[ShardResult]:
        for spec in specs:
            begun.append(spec)
            yield ShardResult(spec, "committed", {"clean": spec.count})

    with pytest.raises(TerminatedError, match="on notice"):
        rounds.drive(run, Silent(), two_workers, lambda: TerminatedError("on notice") if begun else None)
    assert len(begun) == 1


def test_a_notice_while_the_last_shards_end_ends_nothing(run: Run) -> None:
    processor, processed = ShardProcessor(run), []

    def dispatch(specs: Iterable[ShardSpec]) -> Iterator[ShardResult]:
        for spec in specs:
            processed.append(spec)
            yield processor.process(spec)

    rounds.drive(
        run, Silent(), dispatch, lambda: TerminatedError("late") if len(processed) == len(shards(run)) else None
    )
    assert sum(spec.count for spec in run.release.parts()) == ROWS


def test_a_store_that_is_away_for_everybody_ends_the_run_and_fails_no_row(run: Run) -> None:
    def away(specs: Iterable[ShardSpec]) -> Iterator[ShardResult]:
        for spec in specs:
            run.ledger.mark_attempt(spec, f"{run.invocation}-1")
            yield ShardResult(spec, "error", error="throttled", store_is_away=True)

    with pytest.raises(TransientStorageError, match="throttled; committed shards stay"):
        rounds.drive(run, Silent(), away)
    assert run.release.parts() == []


def test_a_worker_that_alone_cannot_reach_the_store_ends_nothing(run: Run) -> None:
    """Another worker commits a shard while this one waits."""
    failures = 0

    def uneven(specs: Iterable[ShardSpec]) -> Iterator[ShardResult]:
        nonlocal failures
        first, *others = specs
        for spec in others:
            for number in range(3):
                run.ledger.mark_attempt(spec, f"{run.invocation}-{number}")
            yield ShardResult(spec, "committed")
        failures += 1
        if failures == 4:
            raise KeyboardInterrupt
        yield ShardResult(first, "error", error="throttled", seconds=60.0, store_is_away=True)

    with pytest.raises(KeyboardInterrupt):
        rounds.drive(run, Silent(), uneven)
