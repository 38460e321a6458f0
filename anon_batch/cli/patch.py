"""`anon-batch patch OUTPUT`: a new version of a release, in which only the rows are done again that a change touches."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anon_batch.cli.console import err, out, print_json
from anon_batch.cli.gates import gates_for_machines, show_gates
from anon_batch.cli.lineage import lineage
from anon_batch.cli.options import Json, Output, Set, needed_ledger, overrides
from anon_batch.cli.progress import ProgressBar
from anon_batch.config import JobConfig, load_job
from anon_batch.errors import ConfigError, ExitCode
from anon_batch.process import stoppable
from anon_batch.storage import Storage
from anon_batch.units import format_counted

if TYPE_CHECKING:
    from anon_batch.formats.ledger import Ledger
    from anon_batch.formats.release import Release
    from anon_batch.pipeline.patch.job import PatchJob
    from anon_batch.pipeline.patch.patch import PatchSummary

_WHYS = {
    "detections": "for other detections",
    "retry": "to retry",
    "settings": "for other settings",
    "verdict": "for boxes that people drew",
}


def patch(
    output: Output,
    job: Annotated[
        Path | None,
        typer.Option(help="Job file with the new settings; rows whose result they may change are done again."),
    ] = None,
    verdicts: Annotated[
        bool, typer.Option("--verdicts", help="Do images again in which reviewers drew something that was missed.")
    ] = False,
    retry: Annotated[
        list[str] | None,
        typer.Option(
            metavar="REASON",
            help="Do rows again that were withheld or failed for this reason; repeatable.",
            show_default=False,
        ),
    ] = None,
    settings: Set = [],  # noqa: B006  typer reads it as the default, nobody changes it
    ledger: Annotated[str | None, typer.Option(help="Ledger of the run; default OUTPUT-ledger.")] = None,
    address: Annotated[str | None, typer.Option(help="Key `engine.address`: the Ray cluster.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how many rows would be done again and why, and make no version.")
    ] = False,
    json: Json = False,
) -> None:
    """Make a new version of a finished release by doing again only the rows that a change touches.

    The same command again continues where the last one ended. Exit code 10 if the new version exceeds a gate.
    """
    from anon_batch.cluster.patching import patch_release
    from anon_batch.formats.release import Release
    from anon_batch.pipeline.patch.job import Ask, job_base

    given = overrides(settings, {"engine.address": address})
    ask = Ask(verdicts, tuple(sorted(set(retry or ()))))
    if job is None and not (settings or verdicts or retry):
        raise ConfigError(
            "say what to do again: --job FILE or --set KEY=VALUE (new settings), --verdicts, or --retry REASON"
        )
    operator = load_job(job, {**({} if job else {"manifest": "none"}), **given, "output": output})
    release = Release(Storage(operator.storage), output)
    place = needed_ledger(release, ledger or (operator.ledger_uri if operator.ledger else None))

    def job_of() -> JobConfig:
        return operator if job else load_job(None, {**job_base(release, place), **given})

    with (
        contextlib.nullcontext() if dry_run else lineage("patch", release),
        stoppable("; run the same command again to resume", operator.engine.termination_notice_s) as notice,
        contextlib.redirect_stdout(sys.stderr),  # because Ray prints about lost workers to standard output
        _Progress(quiet=json) as progress,
    ):
        done, summary = patch_release(
            release,
            place,
            job_of,
            ask,
            progress,
            reads_manifest=job is not None,
            dry_run=dry_run,
            stops=notice.stops,
        )
    if json:
        print_json(_for_machines(done, summary, dry_run=dry_run))
    else:
        _print(done, summary, release, place, dry_run=dry_run)
    if summary.finished is not None and not summary.finished.gates.passed:
        raise typer.Exit(int(ExitCode.GATE_EXCEEDED))


class _Progress:
    """A bar for each step of a patch."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar = ProgressBar("rows", quiet=quiet)
        self._rows = 0

    def __enter__(self) -> _Progress:
        self._bar.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.__exit__()

    def started(self, what: str, rows: int) -> None:
        self._bar.__exit__()
        self._bar, self._rows = ProgressBar("rows", quiet=self._quiet), 0
        self._bar.__enter__()
        self._bar.start(rows, 0)
        self._bar.note(f"{format_counted(rows, 'row')} to be {what}")

    def done(self, rows: int) -> None:
        self._rows += rows
        self._bar.update(self._rows)

    def note(self, text: str) -> None:
        self._bar.note(text)


def _print(job: PatchJob, summary: PatchSummary, release: Release, ledger: Ledger, *, dry_run: bool) -> None:
    for line in job.changes.lines:
        out.print(f"setting  {line}", markup=False)
    _notes(job, summary)
    rows, total = sum(summary.touched.values()), job.plan.total
    why = _listed(summary.touched, _WHYS)
    if dry_run:
        out.print(
            f"{rows:,} of {format_counted(total, 'row')} would be done again: {why}"
            if rows
            else f"nothing to change in {release.uri}",
            markup=False,
        )
        return
    if summary.version is None:
        same = f": {format_counted(rows, 'row')} done again ({why}) came out as before" if rows else ""
        out.print(f"nothing to change in {release.uri}{same}; no version was made", markup=False)
        return
    if rows:
        changed = summary.changed
        what = f"{format_counted(changed.count, 'row')} changed ({_listed(changed.statuses)})" if changed.count else ""
        same = f"{changed.same:,} came out as before" if changed.same else ""
        out.print(f"{format_counted(rows, 'row')} done again: {why}", markup=False)
        out.print("; ".join(text for text in (what, same) if text), markup=False)
    if summary.finished is not None:
        show_gates(summary.finished.gates)
    out.print(f"release  {release.uri}, version {summary.version}\nledger   {ledger.uri}  (private)", markup=False)
    out.print(
        f"next     anon-batch release {release.uri} --sign-key KEY  (its card and signature were of the version before)",
        markup=False,
    )


def _notes(job: PatchJob, summary: PatchSummary) -> None:
    if summary.unsearched:
        err.print(
            f"{format_counted(sum(summary.unsearched.values()), 'published row')} could not be searched "
            f"({_listed(summary.unsearched)}) and stay as they are; make their sources readable and run the command again",
            markup=False,
        )
    if job.ask.verdicts and not job.drawn:
        err.print(
            f"no box in any review below {job.ledger.uri}: `anon-batch review {job.release.uri} --import FILE` brings them there",
            markup=False,
        )
    if job.ask.verdicts and job.boxless:
        err.print(
            f"{format_counted(job.boxless, 'image')} marked as showing something missed, without a box: nothing says where it "
            "is, so nothing was done about it; draw a box and import the review again",
            markup=False,
        )


def _for_machines(job: PatchJob, summary: PatchSummary, *, dry_run: bool) -> dict[str, Any]:
    return {
        "output": job.release.uri,
        "dry_run": dry_run,
        "version": summary.version,
        "settings": list(job.changes.lines),
        "touched": dict(summary.touched),
        "unsearched": dict(summary.unsearched),
        "changed": summary.changed.count,
        "unchanged": summary.changed.same,
        "statuses": dict(summary.changed.statuses),
        **gates_for_machines(None if summary.finished is None else summary.finished.gates),
    }


def _listed(counts: Mapping[str, int], names: Mapping[str, str] | None = None) -> str:
    return ", ".join(f"{count:,} {(names or {}).get(name, name)}" for name, count in counts.items())
