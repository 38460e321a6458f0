"""`anon-batch release`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anon_batch.cli.console import err, out
from anon_batch.cli.gates import show_gates
from anon_batch.cli.keys import read_key_file
from anon_batch.cli.options import Output, StorageJob, ledger_of, storage_of
from anon_batch.cli.verify import print_faults, verdict_line
from anon_batch.errors import ExitCode


def release(
    output: Output,
    sign_key: Annotated[
        Path, typer.Option(help="Private key that signs the release; `anon-batch keys new --sign FILE` makes one.")
    ],
    job: StorageJob = None,
    ledger: Annotated[str | None, typer.Option(help="Ledger of the run; default OUTPUT-ledger.")] = None,
) -> None:
    """Write the card of a release that `verify` finds complete and whose gates passed, and sign it.

    Exit code 3 or 10 if it is not to be published.
    """
    from anon_batch.formats.release import Release
    from anon_batch.release.card.card import write_card
    from anon_batch.release.card.croissant import write_croissant
    from anon_batch.release.card.metadata import write_metadata
    from anon_batch.release.report.finished import read_finished
    from anon_batch.release.signature.attestation import write_attestation
    from anon_batch.release.signature.signing_key import read_private
    from anon_batch.release.verify import verify

    key = read_private(read_key_file(sign_key), str(sign_key))
    place = Release(storage_of(job), output)
    finished = read_finished(place)
    for step in verify(place, ledger_of(place, ledger, no_ledger=False)):
        found = step
    print_faults(found.faults, found.faults_count)
    show_gates(finished.gates)
    if found.faults_count:
        err.print(f"not signed: {verdict_line(found.faults_count)}", markup=False)
        raise typer.Exit(int(ExitCode.INTEGRITY))
    if not finished.gates.passed:
        err.print("not signed: a gate is exceeded", markup=False)
        raise typer.Exit(int(ExitCode.GATE_EXCEEDED))
    write_metadata(place)
    write_card(finished)
    write_croissant(finished)
    count = write_attestation(place, key)
    out.print(f"signed   {count:,} files and, by the provenance, {found.objects:,} images", markup=False)
