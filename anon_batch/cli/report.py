"""`anon-batch report`."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from anon_batch.cli.console import err, out, print_json, statuses_line
from anon_batch.cli.options import Json, Output, StorageJob, ledger_of, storage_of
from anon_batch.cli.signed import warn_if_signed
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
    """Write OUTPUT/report/index.html and report.json, a public report on a finished release, and print its verdict.

    The page says whether the limits of the job were kept, what was measured about missed faces, recognition and use for
    training, and what was not. It loads nothing and runs no script.
    """
    from anon_batch.formats.release import Release
    from anon_batch.release.report.compute import compute_report
    from anon_batch.release.report.finished import read_finished
    from anon_batch.release.report.page import write_report
    from anon_batch.release.verdict import Verdict, check_release, kept_verdict
    from anon_batch.stats import time_shares

    finished = read_finished(Release(storage_of(job), output))
    release, faults = finished.release, list[str]()
    verdict: Verdict | None
    if verify:
        compute_report(finished, None)  # because damaged statistics are to be refused before all images are read
        verdict, faults = check_release(release, ledger_of(release, ledger, no_ledger=no_ledger))
    else:
        verdict = kept_verdict(release, finished.run, finished.stats)
    computed = compute_report(finished, verdict)
    uri = write_report(release, computed)
    warn_if_signed(release, "report")
    time, rows = time_shares(finished.stats.summary), finished.stats.rows
    rate = time.images_per_s(rows)
    if json:
        print_json(
            {
                "report": uri,
                "run_id": finished.run.run_id,
                "verdict_of_gates": computed.headline.text,
                "questions": {answer.id: answer.sentences for answer in computed.answers},
                "images_per_s_per_worker": rate,
                "time": dataclasses.asdict(time),
                "verdict": None if verdict is None else dataclasses.asdict(verdict),
            }
        )
    else:
        print_faults(faults, 0 if verdict is None or not verify else verdict.faults_count)
        out.print(f"{rows:,} rows: {statuses_line(finished.stats.statuses)}", markup=False)
        show_time_shares(time)
        if rate is not None:
            out.print(f"{rate:.1f} images/s of one worker", markup=False)
        out.print(computed.headline.text, markup=False)
        out.print(f"report  {uri}", markup=False)
    if verify and verdict is not None and verdict.faults_count:
        err.print(verdict_line(verdict.faults_count), markup=False)
        raise typer.Exit(int(ExitCode.INTEGRITY))
