"""`anon-batch status` and `anon-batch verify`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from anon_batch.cli.console import count, duration, err, out, print_json, statuses_line
from anon_batch.config import StorageConfig, load_job
from anon_batch.errors import ConfigError, ExitCode
from anon_batch.storage import Storage, absolute, join

Output = Annotated[str, typer.Argument(help="OUTPUT of the run.")]
Job = Annotated[Path | None, typer.Option("--job", help="Job file whose `storage` section reaches OUTPUT and ledger.")]
Json = Annotated[bool, typer.Option("--json", help="Print for machines.")]


def status(output: Output, job: Job = None, json: Json = False) -> None:
    """Says how far a run is, from storage alone; works while it runs and after."""
    from anon_batch.release.status import read_status

    state = read_status(storage_of(job), output)
    if json:
        print_json(dataclasses.asdict(state))
        return
    rate = f"{state.images_per_s:.1f} images/s" if state.images_per_s else "rate unknown"
    left = f", left {duration(state.left_s)}" if state.state != "finished" and state.left_s is not None else ""
    out.print(f"{state.name}  run {state.run_id}  {state.state}", markup=False)
    out.print(
        f"{count(state.done)} of {count(state.total)} rows in {count(state.shards_count)} shards, {rate}{left}",
        markup=False,
    )
    out.print(statuses_line(state.statuses), markup=False)
    out.print(f"started {state.created_at}, last commit {state.last_commit_at or 'none yet'}", markup=False)


def verify(
    output: Output,
    job: Job = None,
    ledger: Annotated[str | None, typer.Option(help="The run's ledger; default OUTPUT-ledger.")] = None,
    no_ledger: Annotated[
        bool, typer.Option("--no-ledger", help="Check the public part alone, when the ledger is destroyed.")
    ] = False,
    json: Json = False,
) -> None:
    """Checks that a release is whole: rows, objects, digests, pictures, metadata. Exit code 3 names what is wrong."""
    from anon_batch.release.verify import verify as check

    storage = storage_of(job)
    place = ledger_place(storage, output, ledger, no_ledger=no_ledger)
    for step in check(storage, output, place):
        result = step
    if json:
        print_json(
            {
                "rows": result.rows,
                "accounted": result.accounted,
                "objects": result.objects,
                "statuses": dict(result.statuses),
                "faults_count": result.faults_count,
                "faults": result.faults,
            }
        )
    else:
        print_faults(result.faults, result.faults_count)
        out.print(
            f"{count(result.accounted)} of {count(result.rows)} rows accounted for, {count(result.objects)} pictures checked: "
            f"{statuses_line(_plain(result.statuses))}",
            markup=False,
        )
        out.print(
            "whole" if not result.faults_count else f"NOT WHOLE: {count(result.faults_count)} faults", markup=False
        )
    raise typer.Exit(int(ExitCode.INTEGRITY if result.faults_count else ExitCode.FINISHED))


def print_faults(faults: list[str], faults_count: int) -> None:
    """Names what is wrong, on standard error."""
    for fault in faults:
        err.print(fault, markup=False)
    if faults_count > len(faults):
        err.print(f"... and {count(faults_count - len(faults))} more", markup=False)


def _plain(statuses: Mapping[str, int]) -> dict[str, int]:
    return dict(statuses)


def ledger_place(storage: Storage, output: str, ledger: str | None, *, no_ledger: bool) -> str | None:
    """Address of a release's ledger, None if it is to be left aside.

    Raises:
        ConfigError: there is none.
    """
    place = None if no_ledger else absolute(ledger or f"{output.rstrip('/')}-ledger")
    if place is not None and not storage.exists(join(place, "plan.json")):
        raise ConfigError(
            f"no ledger at {place}: name it with --ledger, or say --no-ledger to check the public part alone"
        )
    return place


def storage_of(job: Path | None) -> Storage:
    """Storage as the job file's `storage` section says, or with defaults."""
    if job is None:
        return Storage(StorageConfig())
    return Storage(load_job(job, {}).storage)
