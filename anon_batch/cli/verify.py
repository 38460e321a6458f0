"""`anon-batch verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anon_batch.cli.console import UNFINISHED, err, out, print_json, statuses_line
from anon_batch.cli.gates import gates_for_machines, show_gates
from anon_batch.cli.keys import read_key_file
from anon_batch.cli.options import Json, Output, StorageJob, ledger_of, storage_of
from anon_batch.errors import AnonBatchError, ExitCode
from anon_batch.units import format_counted

if TYPE_CHECKING:
    from anon_batch.formats.gates_json import Gates
    from anon_batch.formats.release import Release
    from anon_batch.release.verification import Verification


def verify(
    output: Output,
    job: StorageJob = None,
    ledger: Annotated[str | None, typer.Option(help="Ledger of the run; default OUTPUT-ledger.")] = None,
    no_ledger: Annotated[
        bool, typer.Option("--no-ledger", help="Check the public part only, when the ledger is destroyed.")
    ] = False,
    key: Annotated[
        Path | None, typer.Option(help="Public key of the one who signed the release; checks the signature too.")
    ] = None,
    json: Json = False,
) -> None:
    """Check that a release is complete: rows, objects, digests, images, metadata, signature. Exit code 3 if not."""
    from anon_batch.formats.release import Release
    from anon_batch.release.verify import verify as check

    release = Release(storage_of(job), output)
    if not release.read_run_json().is_finished:
        err.print(f"{release.uri}: {UNFINISHED}; this checks what is there so far", markup=False)
    for step in check(release, ledger_of(release, ledger, no_ledger=no_ledger)):
        result = step
    if key is not None:
        _check_signature(release, key, result)
    gates = _readable_gates(release)
    if json:
        print_json(
            {
                "rows": result.rows,
                "accounted": result.accounted,
                "objects": result.objects,
                "statuses": dict(result.statuses),
                "faults_count": result.faults_count,
                "faults": result.faults,
                **gates_for_machines(gates),
            }
        )
    else:
        print_faults(result.faults, result.faults_count)
        out.print(
            f"{result.accounted:,} of {result.rows:,} rows accounted for, {result.objects:,} images checked: "
            f"{statuses_line(dict(result.statuses))}",
            markup=False,
        )
        show_gates(gates)
        out.print(verdict_line(result.faults_count), markup=False)
    raise typer.Exit(int(ExitCode.INTEGRITY if result.faults_count else ExitCode.FINISHED))


def _check_signature(release: Release, key: Path, result: Verification) -> None:
    from anon_batch.release.signature.attestation import check_attestation
    from anon_batch.release.signature.signing_key import read_public

    for fault in check_attestation(release, read_public(read_key_file(key), str(key))):
        result.fault(fault)


def _readable_gates(release: Release) -> Gates | None:
    """Return the gates; None if gates.json is damaged, which is a fault of the verification already."""
    try:
        return release.read_gates()
    except AnonBatchError:
        return None


def print_faults(faults: list[str], faults_count: int) -> None:
    """Print what is wrong to standard error."""
    for fault in faults:
        err.print(fault, markup=False)
    if faults_count > len(faults):
        err.print(f"... and {faults_count - len(faults):,} more", markup=False)


def verdict_line(faults_count: int) -> str:
    """Return `verified` or `VERIFICATION FAILED: 3 faults`."""
    return "verified" if not faults_count else f"VERIFICATION FAILED: {format_counted(faults_count, 'fault')}"
