"""Drives a run on Ray, from its job to a finished release."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from ray.exceptions import RayError

from anon_batch.cluster.pool import shard_pool
from anon_batch.cluster.ray_cluster import check_reachable, connected
from anon_batch.cluster.room import describe_cluster, worker_count
from anon_batch.cluster.run_metrics import RunMetrics
from anon_batch.config import JobConfig
from anon_batch.errors import ClusterError, ConfigError, ExitCode, TerminatedError
from anon_batch.formats.gates_json import Gates
from anon_batch.formats.stats_json import StatsJson
from anon_batch.pipeline.budget import Budget, Spent
from anon_batch.pipeline.driver_log import DriverLog
from anon_batch.pipeline.finalize import finalize
from anon_batch.pipeline.gates import common_failure
from anon_batch.pipeline.observers import Observed, Observer
from anon_batch.pipeline.preflight import preflight
from anon_batch.pipeline.rounds import RESUME, Reporter, Stops, drive
from anon_batch.pipeline.run import Run, open_run
from anon_batch.pipeline.run_lineage import lineage_of
from anon_batch.pipeline.totals import Totals
from anon_batch.records import ShardResult
from anon_batch.units import format_counted


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
    totals = Totals.read(run.release)
    done = Counter(totals.statuses)
    observers: list[Observer] = [DriverLog(run, reporter.note), *lineage_of(run, reporter.note)]
    with Observed(_Counted(reporter, budget), observers, lambda: isinstance(stops(), TerminatedError)) as observed:
        observed.started(run, done, resumed=resumed)
        budget.begin(run.plan.total, done.total())
        if done.total() == run.plan.total:
            return _finish(run, observed, budget)
        with _processed(run, observed, lambda: stops() or budget.stops(), budget, totals):
            return _finish(run, observed, budget)


def _finish(run: Run, observed: Observed, budget: Budget) -> RunSummary:
    stats, gates = finalize(run)
    summary = RunSummary(run, stats, gates, budget.spent)
    observed.finished(summary.exit_code, stats, gates)
    return summary


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


def process_shards(run: Run, reporter: Reporter, stops: Stops = lambda: None) -> None:
    """Process the shards of a run that have no commit yet, on Ray; raise as `run_job`."""
    with _processed(run, Observed(reporter, []), stops, Budget(), Totals.read(run.release)):
        pass


@contextmanager
def _processed(run: Run, observed: Observed, stops: Stops, budget: Budget, totals: Totals) -> Iterator[None]:
    """Process the shards of a run that have no commit yet; the block runs while Ray is still there to show the metrics.

    Because Ray may end the driver soon after SIGTERM, the observers hear how the run ended before Ray is left.
    """
    engine = run.config.engine

    def hold(actors: int, before_s: float) -> None:
        observed.workers(actors)
        budget.hold(actors, before_s)

    with connected(engine, observed.note) as address, observed, ExitStack() as stack:
        workers = worker_count(engine, joined=address is not None, note=observed.note)
        observed.record(f"{describe_cluster()}; up to {format_counted(workers, 'worker')} at a time")
        observed.join(lambda: stack.enter_context(RunMetrics(run, totals)))
        try:
            drive(run, observed, shard_pool(run, workers, observed.note, hold).map, stops)
        except RayError as exc:
            raise ClusterError(f"{str(exc).strip().splitlines()[0]}; {RESUME}") from exc
        yield
