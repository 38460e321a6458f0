"""Drives a run: rounds of shards on Ray until every row is committed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from ray.exceptions import RayError

from anon_batch.cluster.pool import ShardPool
from anon_batch.cluster.ray_cluster import check_reachable, connected, worker_count
from anon_batch.config import JobConfig
from anon_batch.errors import ClusterError, ConfigError, ExitCode, RunStoppedError, TransientStorageError
from anon_batch.formats.gates_json import Gates
from anon_batch.formats.stats_json import StatsJson
from anon_batch.pipeline.attempts import count_attempts
from anon_batch.pipeline.commit import commit_poison
from anon_batch.pipeline.finalize import finalize
from anon_batch.pipeline.gates import common_failure
from anon_batch.pipeline.preflight import preflight
from anon_batch.pipeline.run import Run, open_run
from anon_batch.records import ShardResult, ShardSpec
from anon_batch.shards import effective, gaps, pending
from anon_batch.stats import ShardStats

_PAUSE_AFTER_ERRORS_S = 5.0
_RESUME = "committed shards stay; run the same command again to resume"

Dispatch = Callable[[Iterable[ShardSpec]], Iterator[ShardResult]]
"""Processes shards and yields one result for each, in any order."""


class Reporter(Protocol):
    """Receives the progress of a run."""

    def started(self, run: Run, done: Counter[str], *, resumed: bool) -> None: ...
    def shard(self, result: ShardResult) -> None: ...
    def note(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A finished run.

    Args:
        run: the run.
        stats: content of stats.json.
        gates: content of gates.json.
        seconds: wall time of this invocation.
    """

    run: Run
    stats: StatsJson
    gates: Gates
    seconds: float

    @property
    def common_failure(self) -> tuple[str, str] | None:
        """(status, reason) if no row was published and all rows share one reason."""
        return common_failure(self.stats)

    @property
    def exit_code(self) -> ExitCode:
        """What the command line returns."""
        if self.common_failure is not None:  # because no other input than a changed one would give another result
            return ExitCode.USAGE
        return ExitCode.FINISHED if self.gates.passed else ExitCode.GATE_EXCEEDED


def run_job(config: JobConfig, reporter: Reporter) -> RunSummary:
    """Run a job to its end, or resume it.

    Raises:
        UsageError: before the first image: wrong configuration, manifest, models, or the output of a different job.
        RunStoppedError: a worker met a non-retryable error; the message names it.
        TransientStorageError: storage kept failing; run the same command again to resume.
        ClusterError: Ray lost all workers; run the same command again to resume.
    """
    begin = time.monotonic()
    check_reachable(config.engine.address)
    if any(uri.startswith("memory://") for uri in (config.manifest, config.output_uri, config.ledger_uri)):
        raise ConfigError(
            "memory:// is visible to one process only; use a folder or a bucket that all workers can reach"
        )
    models = preflight(config)
    run, resumed = open_run(config, models)
    done: Counter[str] = Counter()
    for _, meta in run.release.read_metas(effective(run.release.parts())):
        done.update(ShardStats.from_json(meta.stats).statuses)
    reporter.started(run, done, resumed=resumed)
    if done.total() < run.plan.total:
        _run_on_ray(run, reporter)
    stats, gates = finalize(run)
    return RunSummary(run, stats, gates, time.monotonic() - begin)


def _run_on_ray(run: Run, reporter: Reporter) -> None:
    engine = run.config.engine
    with connected(engine):
        pool = ShardPool(run, worker_count(engine), reporter.note)
        try:
            drive(run, reporter, pool.map)
        except RayError as exc:
            raise ClusterError(f"{str(exc).strip().splitlines()[0]}; {_RESUME}") from exc


def drive(run: Run, reporter: Reporter, dispatch: Dispatch) -> None:
    """Dispatch rounds of shards until every row is committed.

    Each round dispatches the shards without a commit. A shard without attempts left is split; a single row without attempts
    left is committed as `failed(poison)`.

    Raises:
        RunStoppedError: a shard met a non-retryable error.
        TransientStorageError: no shard of a whole round could begin an attempt.
    """
    limit, plan = run.config.engine.attempts, run.plan
    while gaps(plan.total, found := run.release.parts()):
        attempts = count_attempts(run.ledger, run.invocation, limit)
        outcomes: Counter[str] = Counter()
        for spec in sorted(spec for spec in attempts.exhausted if spec.count == 1 and spec not in found):
            reporter.shard(commit_poison(run, spec))
            outcomes["committed"] += 1
            found.append(spec)
        last_error = ""
        for result in dispatch(pending(plan.total, plan.shard_rows, found, attempts.exhausted)):
            outcomes[result.outcome] += 1
            reporter.shard(result)
            last_error = _check_result(result, reporter.note) or last_error
        if not outcomes:
            return  # finalize names the missing rows
        if set(outcomes) == {"error"}:
            if count_attempts(run.ledger, run.invocation, limit).markers == attempts.markers:
                # Because attempts are counted by their markers, rounds that cannot write any would never end.
                raise TransientStorageError(f"no shard could be started: {last_error}; {_RESUME}")
            time.sleep(_PAUSE_AFTER_ERRORS_S)


def _check_result(result: ShardResult, note: Callable[[str], None]) -> str:
    """Report a shard that was not committed; return the last line of its error, "" without one.

    Raises:
        RunStoppedError: the error is not retryable.
    """
    if result.outcome == "exhausted":
        consequence = "splitting it" if result.spec.count > 1 else "the row ends as failed(poison)"
        note(f"shard {result.spec.name}: no attempts left, {consequence}")
    if result.outcome != "error":
        return ""
    error = (result.error or "unknown error").strip()
    if not result.retryable:
        raise RunStoppedError(
            f"stopped at shard {result.spec.name}: {error}; fix it, then rerun the same command to resume"
        )
    last_line = error.splitlines()[-1]
    note(f"shard {result.spec.name} will be retried: {last_line}")
    return last_line
