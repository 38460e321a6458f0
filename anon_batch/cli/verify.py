"""`anon-batch verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from anon_batch.cli.console import err, out, print_json, statuses_line
from anon_batch.cli.options import Json, Output, StorageJob, ledger_of, storage_of
from anon_batch.errors import ExitCode


def verify(
    output: Output,
    job: StorageJob = None,
    ledger: Annotated[str | None, typer.Option(help="Ledger of the run; default OUTPUT-ledger.")] = None,
    no_ledger: Annotated[
        bool, typer.Option("--no-ledger", help="Check the public part only, when the ledger is destroyed.")
    ] = False,
    json: Json = False,
) -> None:
    """Check that a release is complete: rows, objects, digests, images, metadata. Exit code 3 if not."""
    from anon_batch.formats.release import Release
    from anon_batch.release.verify import verify as check

    release = Release(storage_of(job), output)
    for step in check(release, ledger_of(release, ledger, no_ledger=no_ledger)):
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
            f"{result.accounted:,} of {result.rows:,} rows accounted for, {result.objects:,} images checked: "
            f"{statuses_line(dict(result.statuses))}",
            markup=False,
        )
        out.print(verdict_line(result.faults_count), markup=False)
    raise typer.Exit(int(ExitCode.INTEGRITY if result.faults_count else ExitCode.FINISHED))


def print_faults(faults: list[str], faults_count: int) -> None:
    """Print what is wrong to standard error."""
    for fault in faults:
        err.print(fault, markup=False)
    if faults_count > len(faults):
        err.print(f"... and {faults_count - len(faults):,} more", markup=False)


def verdict_line(faults_count: int) -> str:
    """Return `verified` or `VERIFICATION FAILED: 3 faults`."""
    return "verified" if not faults_count else f"VERIFICATION FAILED: {faults_count:,} faults"
