"""`anon-batch report`."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from anon_batch.cli.console import err, out, print_json, statuses_line
from anon_batch.cli.options import Json, Output, StorageJob, ledger_of, storage_of
from anon_batch.cli.tables import show_time_shares
from anon_batch.cli.verify import print_faults, verdict_line
from anon_batch.errors import ExitCode


def report(
    output: Output,
    job: StorageJob = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Verify the release first, and put the verdict on the page.")
    ] = False,
    ledger: Annotated[str | None, typer.Option(help="With --verify: ledger of the run; default OUTPUT-ledger.")] = None,
    no_ledger: Annotated[bool, typer.Option("--no-ledger", help="With --verify: check the public part only.")] = False,
    json: Json = False,
) -> None:
    """Write OUTPUT/report/index.html, a public page about a finished release, and print where the time went."""
    from anon_batch.formats.release import Release
    from anon_batch.release.report.compute import compute_figures
    from anon_batch.release.report.finished import read_finished
    from anon_batch.release.report.page import write_report
    from anon_batch.release.verdict import Verdict, check_release, kept_verdict

    finished = read_finished(Release(storage_of(job), output))
    release, figures = finished.release, compute_figures(finished)
    faults: list[str] = []
    verdict: Verdict | None
    if verify:
        verdict, faults = check_release(release, ledger_of(release, ledger, no_ledger=no_ledger))
    else:
        verdict = kept_verdict(release, finished.run, finished.stats)
    uri = write_report(finished, figures, verdict)
    if json:
        print_json(
            {
                "report": uri,
                "run_id": finished.run.run_id,
                "images_per_s_per_worker": figures.images_per_s,
                "time": dataclasses.asdict(figures.time),
                "verdict": None if verdict is None else dataclasses.asdict(verdict),
            }
        )
    else:
        print_faults(faults, 0 if verdict is None or not verify else verdict.faults_count)
        out.print(f"{figures.rows:,} rows: {statuses_line({s: n for s, n, _ in figures.statuses})}", markup=False)
        show_time_shares(figures.time)
        if figures.images_per_s is not None:
            out.print(f"{figures.images_per_s:.1f} images/s of one worker", markup=False)
        out.print(f"report  {uri}", markup=False)
    if verify and verdict is not None and verdict.faults_count:
        err.print(verdict_line(verdict.faults_count), markup=False)
        raise typer.Exit(int(ExitCode.INTEGRITY))
