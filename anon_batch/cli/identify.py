"""`anon-batch identify`."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anon_batch.cli.console import err, out, print_json
from anon_batch.cli.job_options import Detector, Limit, Manifest, Method, OutputKey, job_flags, job_of
from anon_batch.cli.options import JobFile, Json, Set
from anon_batch.cli.progress import ProgressBar
from anon_batch.process import stoppable
from anon_batch.units import format_counted

if TYPE_CHECKING:
    from anon_batch.cluster.identifying import Identified
    from anon_batch.config import JobConfig


def identify(
    job: JobFile = None,
    manifest: Manifest = None,
    output: OutputKey = None,
    method: Method = None,
    detector: Detector = None,
    limit: Limit = None,
    address: Annotated[str | None, typer.Option(help="Key `engine.address`: the Ray cluster.")] = None,
    discard: Annotated[
        bool,
        typer.Option(
            "--discard", help="Delete the faces and features that an unfinished or kept pass left in the ledger."
        ),
    ] = False,
    settings: Set = [],  # noqa: B006  typer reads it as the default, nobody changes it
    json: Json = False,
) -> None:
    """Compare the faces of a job with `identity.source: cluster`, once and before `run`: which of them show one person.

    The same command again continues where the last one ended. Persons are written into the ledger; features of faces, which are
    biometric data, lie there encrypted while they are needed, and are deleted then. Exit code 2 if more false pairs are expected
    than `identity.max_false_pairs` allows.
    """
    flags = {**job_flags(manifest, output, method, detector, limit), "engine.address": address}
    config = job_of("identify", job, settings, flags)
    from anon_batch.cluster.identifying import discard_faces, identify_job

    if discard:
        parts = discard_faces(config)
        if json:
            print_json({"ledger": config.ledger_uri, "deleted_parts": parts})
        else:
            out.print(
                f"deleted  {format_counted(parts, 'part')} with faces, and the key of their features", markup=False
            )
        return
    with (
        stoppable("; run the same command again to resume", config.engine.termination_notice_s) as notice,
        contextlib.redirect_stdout(sys.stderr),  # because Ray prints about lost workers to standard output
        _Progress(quiet=json) as progress,
    ):
        found = identify_job(config, progress, notice.stops)
    if json:
        print_json(_for_machines(found, config))
    else:
        _print(found, config)


class _Progress:
    """A bar of the rows that are searched. Use it as a context manager."""

    def __init__(self, *, quiet: bool) -> None:
        self._bar, self._rows = ProgressBar("images", quiet=quiet), 0

    def __enter__(self) -> _Progress:
        self._bar.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.__exit__()

    def started(self, rows: int, done: int) -> None:
        self._rows = done
        self._bar.start(rows, done)

    def done(self, rows: int) -> None:
        self._rows += rows
        self._bar.update(self._rows)

    def note(self, text: str) -> None:
        self._bar.note(text)


def _for_machines(found: Identified, config: JobConfig) -> dict[str, Any]:
    summary = dataclasses.asdict(found.summary)
    del summary["fingerprint"], summary["identity_key"]
    return {"ledger": config.ledger_uri, "new": found.is_new, "keeps_features": found.keeps_features, **summary}


def _print(found: Identified, config: JobConfig) -> None:
    from anon_batch.release.words.found_persons import say_expected

    own = found.summary
    origin = "from faces of one image" if own.calibrated else "as the job says"
    several = format_counted(own.persons, "person")
    out.print(
        f"faces    {own.faces:,} in {format_counted(own.rows, 'row')}: {own.compared:,} compared, "
        f"{own.faces - own.compared:,} too small, turned or unsure\n"
        f"persons  {several} with several faces ({own.linked:,} in all, at most {own.largest:,}); others stay alone\n"
        f"at       cosine {own.threshold:g}, {origin} ({format_counted(own.other_people['pairs'], 'pair')} of two people in "
        f"{format_counted(own.other_people['images'], 'image')})\n"
        f"errors   {say_expected(own.expected)} among {own.pairs:,} pairs",
        markup=False,
    )
    if own.divided:
        out.print(
            f"divided  {own.divided:,} faces in groups too large to compare as a whole: persons in them may be split",
            markup=False,
        )
    if own.unread:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in own.unread.items())
        err.print(f"Rows that could not be searched, whose faces stay by themselves: {reasons}", markup=False)
    features = "kept, encrypted" if found.keeps_features else "deleted"
    out.print(f"ledger   {config.ledger_uri}  (private; features of faces {features})", markup=False)
    if not found.is_new:
        err.print("Persons were found before, with the same settings.", markup=False)
