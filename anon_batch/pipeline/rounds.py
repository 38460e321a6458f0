"""Dispatches a run's shards in rounds until every row is committed. Knows nothing of Ray."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import takewhile
from typing import Protocol

from anon_batch.errors import AnonBatchError, RunStoppedError, TransientStorageError
from anon_batch.pipeline.attempts import count_attempts
from anon_batch.pipeline.commit import commit_poison
from anon_batch.pipeline.run import Run
from anon_batch.pipeline.uniform_failures import UniformFailures
from anon_batch.records import ShardResult, ShardSpec
from anon_batch.shards import gaps, pending
from anon_batch.units import format_counted, format_duration

RESUME = "committed shards stay; run the same command again to resume"
_PAUSE_AFTER_ERRORS_S = 5.0

Dispatch = Callable[[Iterable[ShardSpec]], Iterator[ShardResult]]
"""Processes shards and yields one result for each, in any order."""

Stops = Callable[[], AnonBatchError | None]
"""Returns the error that ends a run on purpose, once no shard should be started any more; None to go on."""


class Reporter(Protocol):
    """Receives the progress of a run. What it hears as a note names no image."""

    def started(self, run: Run, done: Counter[str], *, resumed: bool) -> None: ...
    def shard(self, result: ShardResult) -> None: ...
    def note(self, text: str) -> None: ...


def drive(run: Run, reporter: Reporter, dispatch: Dispatch, stops: Stops = lambda: None) -> None:
    """Dispatch rounds of shards until every row is committed.

    Each round dispatches the shards without a commit. A shard without attempts left is split; a single row without attempts
    left is committed as `failed(poison)`. Once `stops` returns an error no shard is started, and those in flight are awaited.

    Raises:
        RunStoppedError: a shard met a non-retryable error, or all rows fail for one reason.
        TransientStorageError: no shard of a whole round could begin an attempt, or a store stayed away for everybody.
        AnonBatchError: what `stops` returned, and rows are left.
    """
    limit, plan = run.config.engine.attempts, run.plan
    alike = UniformFailures(run.config.engine.stop_after_uniform_failures)
    rounds, began_s = 0, time.monotonic()
    while missing := gaps(plan.total, found := run.release.parts()):
        if rounds:
            left = format_counted(sum(gap.count for gap in missing), "row")
            reporter.note(
                f"round {rounds} took {format_duration(time.monotonic() - began_s)}; {left} without a commit: another round"
            )
        rounds, began_s = rounds + 1, time.monotonic()
        attempts = count_attempts(run.ledger, run.invocation, limit)
        outcomes: Counter[str] = Counter()
        for spec in sorted(spec for spec in attempts.exhausted if spec.count == 1 and spec not in found):
            reporter.shard(given_up := commit_poison(run, spec))
            alike.add(given_up)
            outcomes["committed"] += 1
            found.append(spec)
        last_error, committed_s = "", time.monotonic()
        specs = pending(plan.total, plan.shard_rows, found, attempts.exhausted, plan.cuts)
        for result in dispatch(takewhile(lambda _: not (alike.reached or stops()), specs)):
            outcomes[result.outcome] += 1
            reporter.shard(result)
            committed_s = time.monotonic() if result.outcome == "committed" else committed_s
            if result.store_is_away and time.monotonic() - committed_s >= result.seconds:
                # Because no other shard was committed meanwhile, the store is away for all; rows must not fail for that.
                raise TransientStorageError(f"{result.error}; {RESUME}")
            last_error = _check_result(result) or last_error
            alike.add(result)
        if alike.reached:
            raise alike.stop(run.release)
        if (error := stops()) is not None and gaps(plan.total, run.release.parts()):
            raise error
        if not outcomes:
            return  # finalize names the missing rows
        if set(outcomes) == {"error"}:
            if count_attempts(run.ledger, run.invocation, limit).markers == attempts.markers:
                # Because attempts are counted by their markers, rounds that cannot write any would never end.
                raise TransientStorageError(f"no shard could be started: {last_error}; {RESUME}")
            time.sleep(_PAUSE_AFTER_ERRORS_S)


def describe_setback(result: ShardResult) -> str | None:
    """Return what a user reads about a shard that was not committed and will be tried again; None for others."""
    if result.outcome == "exhausted":
        consequence = "splitting it" if result.spec.count > 1 else "the row ends as failed(poison)"
        return f"shard {result.spec.name}: no attempts left, {consequence}"
    if result.outcome == "error" and result.retryable:
        return f"shard {result.spec.name} will be retried: {_message(result).splitlines()[-1]}"
    return None


def _check_result(result: ShardResult) -> str:
    """Return the last line of the error of a shard that was not committed, "" without one.

    Raises:
        RunStoppedError: the error is not retryable.
    """
    if result.outcome != "error":
        return ""
    if not result.retryable:
        raise RunStoppedError(
            f"stopped at shard {result.spec.name}: {_message(result)}; fix it, then rerun the same command to resume"
        )
    return _message(result).splitlines()[-1]


def _message(result: ShardResult) -> str:
    return (result.error or "").strip() or "unknown error"
