"""`anon-batch release`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anon_batch.cli.console import err, out
from anon_batch.cli.gates import show_gates
from anon_batch.cli.keys import read_key_file
from anon_batch.cli.lineage import lineage
from anon_batch.cli.options import Output, ledger_of, storage_of
from anon_batch.cli.verify import print_faults, verdict_line
from anon_batch.config import load_job
from anon_batch.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from anon_batch.config import JobConfig
    from anon_batch.formats.release import Release
    from anon_batch.release.report.finished import FinishedRelease


def release(
    output: Output,
    sign_key: Annotated[
        Path, typer.Option(help="Private key that signs the release; `anon-batch keys new --sign FILE` makes one.")
    ],
    job: Annotated[
        Path | None,
        typer.Option(
            "--job",
            help="Job file whose `storage` section gives access to OUTPUT and ledger, and whose section `compliance`, if it says "
            "anything, replaces what the release says.",
        ),
    ] = None,
    ledger: Annotated[str | None, typer.Option(help="Ledger of the run; default OUTPUT-ledger.")] = None,
    no_ledger: Annotated[
        bool, typer.Option("--no-ledger", help="Check the public part only, when the ledger is destroyed or elsewhere.")
    ] = False,
) -> None:
    """Write the card of a release that `verify` finds complete and whose gates passed, and sign it.

    Exit code 3 or 10 if it is not to be published.
    """
    from anon_batch.formats.release import Release
    from anon_batch.release.signature.signing_key import read_private

    key = read_private(read_key_file(sign_key), str(sign_key))
    place = Release(storage_of(job), output)
    with lineage("release", place):
        _release(place, key, job, ledger, no_ledger=no_ledger)


def _release(place: Release, key: Ed25519PrivateKey, job: Path | None, ledger: str | None, *, no_ledger: bool) -> None:
    from anon_batch.release.describe import describe_release
    from anon_batch.release.report.finished import read_finished
    from anon_batch.release.verdict import keep_verdict, kept_verdict
    from anon_batch.release.verify import verify
    from anon_batch.release.words.statement import statement_of

    finished = read_finished(place)
    if job is not None:
        finished = _with_owner_words(finished, load_job(job, {}))
    for step in verify(place, ledger_of(place, ledger, no_ledger=no_ledger), described=False):
        found = step
    print_faults(found.faults, found.faults_count)
    show_gates(finished.gates)
    if found.faults_count:
        err.print(f"not signed: {verdict_line(found.faults_count)}", markup=False)
        raise typer.Exit(int(ExitCode.INTEGRITY))
    if not finished.gates.passed:
        err.print("not signed: a gate is exceeded", markup=False)
        raise typer.Exit(int(ExitCode.GATE_EXCEEDED))
    verdict = kept_verdict(place, finished.run, finished.stats)
    if verdict is None or verdict.faults_count or verdict.with_ledger == no_ledger:
        keep_verdict(place, found, with_ledger=not no_ledger)  # else kept, so that signing again changes no byte
    count = describe_release(finished, key)
    out.print(f"says     {statement_of(finished).headline}", markup=False)
    out.print(f"signed   {count:,} files and, by the provenance, {found.objects:,} images", markup=False)


def _with_owner_words(finished: FinishedRelease, job: JobConfig) -> FinishedRelease:
    """Return the release with what the owner says in a job, unless the job says nothing."""
    said, record = job.compliance.model_dump(mode="json"), finished.run
    if not any(said.values()):
        return finished
    if job.name != record.name:
        raise ConfigError(
            f"the job is called `{job.name}`, the release at {finished.release.uri} `{record.name}`; `--job` needs the "
            "release's own job"
        )
    run = dataclasses.replace(record, config={**record.config, "compliance": said})
    return dataclasses.replace(finished, run=run)
