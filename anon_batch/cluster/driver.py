"""Drives a run: rounds of shards on Ray until every row has its commit."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from ray.exceptions import RayError

from anon_batch.cluster.pool import ShardPool
from anon_batch.cluster.ray_cluster import check_reachable, connected, worker_count
from anon_batch.config import JobConfig
from anon_batch.errors import AnonBatchError, ConfigError, TransientStorageError
from anon_batch.formats.parts import committed, read_metas
from anon_batch.pipeline.attempts import begun
from anon_batch.pipeline.finalize import finalize
from anon_batch.pipeline.preflight import preflight
from anon_batch.pipeline.run import Run, open_run
from anon_batch.pipeline.shard import commit_poison
from anon_batch.records import ShardResult, ShardSpec
from anon_batch.shards import effective, gaps, pending
from anon_batch.stats import ShardStats
from anon_batch.storage import Storage

_PAUSE_AFTER_ERRORS_S = 5.0

Dispatch = Callable[[Iterable[ShardSpec]], Iterator[ShardResult]]
"""Processes shards somewhere and yields what became of each, in any order: all that the rounds know of Ray."""


class RunStoppedError(AnonBatchError):
    """The run stopped before its end; what was committed stays, the same command resumes."""

    exit_code = 2


class Reporter(Protocol):
    """Hears how a run goes."""

    def started(self, run: Run, done: Counter[str], *, resumed: bool) -> None: ...
    def shard(self, result: ShardResult) -> None: ...
    def note(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    Args:
        run: the run.
        summary: what stats.json holds.
        statuses: status -> rows.
        seconds: wall time of this invocation.
    """

    run: Run
    summary: dict[str, Any]
    statuses: dict[str, int]
    seconds: float

    @property
    def exit_code(self) -> int:
        return 1 if self.statuses.get("withheld", 0) + self.statuses.get("failed", 0) else 0


def run_job(config: JobConfig, reporter: Reporter) -> Outcome:
    """Runs a job to its end, or resumes it.

    Raises:
        UsageError: before the first picture: wrong configuration, manifest, models, or a different job's output.
        RunStoppedError: a worker met something that no retry mends; the message says what.
        TransientStorageError: storage kept failing; run the same command again to resume.
    """
    begin = time.monotonic()
    check_reachable(config.engine.address)
    if any(uri.startswith("memory://") for uri in (config.manifest, config.output_uri, config.ledger_uri)):
        raise ConfigError("memory:// is seen by one process only; choose a folder or a bucket that the workers reach")
    models = preflight(config)
    run, resumed = open_run(config, models)
    storage = run.storage()
    specs = effective(committed(storage, run.output))
    done: Counter[str] = Counter()
    for _, meta in read_metas(storage, run.output, specs):
        done.update(ShardStats.from_json(meta.stats).statuses)
    reporter.started(run, done, resumed=resumed)
    if done.total() < run.plan.total:
        _run_on_ray(run, storage, reporter)
    summary = finalize(run)
    return Outcome(run, summary, dict(summary["statuses"]), time.monotonic() - begin)


def _run_on_ray(run: Run, storage: Storage, reporter: Reporter) -> None:
    engine = run.config.engine
    with connected(engine):
        pool = ShardPool(run, worker_count(engine), reporter.note)
        try:
            drive(run, storage, reporter, pool.map)
        except RayError as exc:
            raise RunStoppedError(
                f"{str(exc).strip().splitlines()[0]}; what is committed stays, run the same command again to resume"
            ) from exc


def drive(run: Run, storage: Storage, reporter: Reporter, dispatch: Dispatch) -> None:
    """Rounds until every row has its commit.

    Each round dispatches the shards that no commit covers; those without an attempt left are split, and a single row among
    them is given up as `failed(poison)`.

    Raises:
        RunStoppedError: a shard met something that no retry mends.
        TransientStorageError: a whole round in which not one attempt could begin.
    """
    limit, plan = run.config.engine.attempts, run.plan
    while gaps(plan.total, found := committed(storage, run.output)):
        attempts = begun(storage, run.ledger, run.invocation, limit)
        outcomes: Counter[str] = Counter()
        for spec in sorted(spec for spec in attempts.exhausted if spec.count == 1 and spec not in found):
            reporter.shard(commit_poison(storage, run, spec))
            outcomes["committed"] += 1
            found.append(spec)
        last_error = ""
        for result in dispatch(pending(plan.total, plan.shard_rows, found, attempts.exhausted)):
            outcomes[result.outcome] += 1
            last_error = _heed(result, reporter) or last_error
        if not outcomes:
            return  # finalize names the rows that are missing
        if set(outcomes) == {"error"}:
            if begun(storage, run.ledger, run.invocation, limit).markers == attempts.markers:
                # Nothing even began: trying for ever would not help.
                raise TransientStorageError(
                    f"nothing can be committed: {last_error}; run the same command again to resume"
                )
            time.sleep(_PAUSE_AFTER_ERRORS_S)


def _heed(result: ShardResult, reporter: Reporter) -> str:
    reporter.shard(result)
    if result.outcome != "error":
        if result.outcome == "exhausted":
            reporter.note(
                f"shard {result.spec.name}: no attempt left, "
                + ("it is split" if result.spec.count > 1 else "the row ends as failed(poison)")
            )
        return ""
    error = result.error or "unknown error"
    if not result.retryable:
        raise RunStoppedError(
            f"stopped at shard {result.spec.name}: {error.strip()}; mend it and run the same command again to resume"
        )
    reporter.note(f"shard {result.spec.name} will be tried again: {error.strip().splitlines()[-1]}")
    return error.strip().splitlines()[-1]
