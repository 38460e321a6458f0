"""`anon-batch run`."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anon_batch.cli.console import err, out, print_json, statuses_line
from anon_batch.cli.gates import gates_for_machines, show_gates
from anon_batch.cli.options import JobFile, Json, Set, overrides
from anon_batch.cli.progress import RunProgress
from anon_batch.config import load_job
from anon_batch.errors import ConfigError, ExitCode
from anon_batch.process import stoppable
from anon_batch.reasons import REASONS
from anon_batch.units import format_duration

if TYPE_CHECKING:
    from anon_batch.cluster.driver import RunSummary


def run(
    job: JobFile = None,
    manifest: Annotated[str | None, typer.Option(help="Key `manifest`.")] = None,
    output: Annotated[str | None, typer.Option(help="Key `output`.")] = None,
    method: Annotated[str | None, typer.Option(help="Key `anonymize.face.method`.")] = None,
    detector: Annotated[list[str] | None, typer.Option(help="Key `detect.detectors`; repeat for an ensemble.")] = None,
    limit: Annotated[
        int | None, typer.Option(help="Key `sample.limit`: a random subset of N rows, as a release of its own.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="Key `engine.address`: the Ray cluster.")] = None,
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
    flags: dict[str, Any] = {
        "manifest": manifest,
        "output": output,
        "anonymize.face.method": method,
        "detect.detectors": detector or None,
        "sample.limit": limit,
        "engine.address": address,
    }
    given = overrides(settings, flags)
    if job is None and (missing := [f"--{key}" for key in ("manifest", "output") if key not in given]):
        raise ConfigError(
            f"run needs {' and '.join(missing)}, or a job file, e.g. `anon-batch run --manifest photos.parquet --output "
            "release`"
        )
    config = load_job(job, given)
    from anon_batch.cluster.driver import run_job

    with (
        stoppable("; run the same command again to resume", config.engine.termination_notice_s) as notice,
        contextlib.redirect_stdout(sys.stderr),  # because Ray prints about lost workers to standard output
        RunProgress(quiet=json) as progress,
    ):
        summary = run_job(config, progress, lambda: notice.given)
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
        "seconds": round(summary.seconds, 3),
        "exit_code": int(summary.exit_code),
        **gates_for_machines(summary.gates),
        **summary.stats.summary,
    }


def _print(summary: RunSummary) -> None:
    stats = summary.stats
    out.print(
        f"{stats.rows:,} rows in {format_duration(summary.seconds)}: {statuses_line(stats.statuses)}", markup=False
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
