"""Drives a run on Ray, from its job to a finished release."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ray.exceptions import RayError

from anon_batch.cluster.pool import shard_pool
from anon_batch.cluster.ray_cluster import check_reachable, connected
from anon_batch.cluster.room import worker_count
from anon_batch.config import JobConfig
from anon_batch.errors import ClusterError, ConfigError, ExitCode
from anon_batch.formats.gates_json import Gates
from anon_batch.formats.stats_json import StatsJson
from anon_batch.pipeline.budget import Budget, Spent
from anon_batch.pipeline.finalize import finalize
from anon_batch.pipeline.gates import common_failure
from anon_batch.pipeline.preflight import preflight
from anon_batch.pipeline.rounds import RESUME, Reporter, Stops, drive
from anon_batch.pipeline.run import Run, open_run
from anon_batch.records import ShardResult
from anon_batch.shards import effective
from anon_batch.stats import ShardStats


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A finished run.

    Args:
        run: the run.
        stats: content of stats.json.
        gates: content of gates.json.
        spent: what this start took.
    """

    run: Run
    stats: StatsJson
    gates: Gates
    spent: Spent

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


def run_job(
    config: JobConfig, reporter: Reporter, stops: Stops = lambda: None, budget: Budget | None = None
) -> RunSummary:
    """Run a job to its end, or resume it.

    Args:
        config: the job.
        reporter: receives the progress.
        stops: returns the error that ends the run, once no further shard should be started.
        budget: counts what this start takes, and ends it at its limits; by default it has none.

    Raises:
        UsageError: before the first image: wrong configuration, manifest, models, or the output of a different job.
        RunStoppedError: a worker met a non-retryable error; the message names it.
        TransientStorageError: storage kept failing; run the same command again to resume.
        ClusterError: Ray lost all workers; run the same command again to resume.
        StoppedError: a limit of `budget` is reached.
        AnonBatchError: what `stops` returned; the shards in flight ended before.
    """
    budget = budget or Budget()
    check_reachable(config.engine)
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
    budget.begin(run.plan.total, done.total())
    if done.total() < run.plan.total:
        process_shards(run, _Counted(reporter, budget), lambda: stops() or budget.stops(), budget)
    stats, gates = finalize(run)
    return RunSummary(run, stats, gates, budget.spent)


@dataclass(frozen=True, slots=True)
class _Counted:
    """Passes on the progress of a run, and counts its rows."""

    reporter: Reporter
    budget: Budget

    def started(self, run: Run, done: Counter[str], *, resumed: bool) -> None:
        self.reporter.started(run, done, resumed=resumed)

    def shard(self, result: ShardResult) -> None:
        if result.outcome == "committed":
            self.budget.commit(result.spec.count)
        self.reporter.shard(result)

    def note(self, text: str) -> None:
        self.reporter.note(text)


def process_shards(run: Run, reporter: Reporter, stops: Stops = lambda: None, budget: Budget | None = None) -> None:
    """Process the shards of a run that have no commit yet, on Ray; raise as `run_job`."""
    engine = run.config.engine
    with connected(engine, reporter.note) as address:
        workers = worker_count(engine, joined=address is not None, note=reporter.note)
        pool = shard_pool(run, workers, reporter.note, (budget or Budget()).hold)
        try:
            drive(run, reporter, pool.map, stops)
        except RayError as exc:
            raise ClusterError(f"{str(exc).strip().splitlines()[0]}; {RESUME}") from exc
