"""`anon-batch run`."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anon_batch.cli.console import err, out, print_json, statuses_line
from anon_batch.cli.gates import gates_for_machines, show_gates
from anon_batch.cli.job_options import (
    Deadline,
    Detector,
    Limit,
    Manifest,
    MaxCost,
    Method,
    OutputKey,
    PriceGpuHour,
    PriceWorkerHour,
    job_flags,
    job_of,
)
from anon_batch.cli.options import JobFile, Json, Set
from anon_batch.cli.progress import RunProgress
from anon_batch.errors import ExitCode
from anon_batch.process import stoppable
from anon_batch.reasons import REASONS
from anon_batch.units import format_duration

if TYPE_CHECKING:
    from anon_batch.cluster.driver import RunSummary


def run(
    job: JobFile = None,
    manifest: Manifest = None,
    output: OutputKey = None,
    method: Method = None,
    detector: Detector = None,
    limit: Limit = None,
    address: Annotated[str | None, typer.Option(help="Key `engine.address`: the Ray cluster.")] = None,
    deadline: Deadline = None,
    max_cost: MaxCost = None,
    price_worker_hour: PriceWorkerHour = None,
    price_gpu_hour: PriceGpuHour = None,
    finished_exit_zero: Annotated[
        bool,
        typer.Option(
            "--finished-exit-zero",
            help="Return 0 instead of 10 when the run finished but a gate was exceeded, for schedulers that know only zero.",
        ),
    ] = False,
    settings: Set = [],  # noqa: B006  typer reads it as the default, nobody changes it
    json: Json = False,
) -> None:
    """Run a job, or resume it: the same command again continues where the last one ended."""
    flags = {**job_flags(manifest, output, method, detector, limit), "engine.address": address}
    config = job_of("run", job, settings, flags)
    from anon_batch.cluster.driver import run_job
    from anon_batch.pipeline.budget import Budget, Limits

    budget = Budget(Limits.of(config.engine, deadline, max_cost, price_worker_hour, price_gpu_hour))
    with (
        stoppable("; run the same command again to resume", config.engine.termination_notice_s) as notice,
        contextlib.redirect_stdout(sys.stderr),  # because Ray prints about lost workers to standard output
        RunProgress(quiet=json) as progress,
    ):
        summary = run_job(config, progress, notice.stops, budget)
    if json:
        print_json(_for_machines(summary))
    else:
        _print(summary)
    finished = finished_exit_zero and summary.exit_code == ExitCode.GATE_EXCEEDED
    raise typer.Exit(int(ExitCode.FINISHED if finished else summary.exit_code))


def _for_machines(summary: RunSummary) -> dict[str, Any]:
    return {
        "run_id": summary.run.plan.run_id,
        "output": summary.run.release.uri,
        "ledger": summary.run.ledger.uri,
        "seconds": round(summary.spent.seconds, 3),
        "worker_hours": round(summary.spent.worker_hours, 6),
        "cost": summary.spent.cost,
        "exit_code": int(summary.exit_code),
        **gates_for_machines(summary.gates),
        **summary.stats.summary,
    }


def _print(summary: RunSummary) -> None:
    stats = summary.stats
    out.print(
        f"{stats.rows:,} rows in {format_duration(summary.spent.seconds)}: {statuses_line(stats.statuses)}",
        markup=False,
    )
    if summary.spent.cost is not None:
        out.print(
            f"cost     {summary.spent.cost:,.2f} for {summary.spent.worker_hours:,.2f} worker-hours in this start",
            markup=False,
        )
    show_gates(summary.gates)
    out.print(f"release  {summary.run.release.uri}\nledger   {summary.run.ledger.uri}  (private)", markup=False)
    if (failure := summary.common_failure) is not None:
        status, reason = failure
        err.print(
            f"No row was published: all {stats.rows:,} rows ended as {status}({reason}): {REASONS[reason].meaning}. "
            f"To fix it: {REASONS[reason].fix}; then delete OUTPUT and ledger, or name another output, and run again.",
            markup=False,
        )
    elif stats.statuses.get("withheld", 0) + stats.statuses.get("failed", 0):
        err.print(
            "Rows without an output: see column `reason` of the provenance, and the details in the ledger's audit.",
            markup=False,
        )
