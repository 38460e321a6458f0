"""`anon-batch run` and `anon-batch config`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from anon_batch.cli.console import count, duration, err, out, print_json, statuses_line
from anon_batch.cli.progress import RunProgress
from anon_batch.config import JobConfig, describe, load_job, parse_override
from anon_batch.process import stoppable

JobFile = Annotated[
    Path | None, typer.Argument(help="Job file, YAML; flags and --set win over it.", show_default=False)
]
Set = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Sets any key, e.g. engine.shard_rows=64.")]
Json = Annotated[bool, typer.Option("--json", help="Print for machines.")]


def run(
    job: JobFile = None,
    manifest: Annotated[str | None, typer.Option(help="Key `manifest`.")] = None,
    output: Annotated[str | None, typer.Option(help="Key `output`.")] = None,
    ledger: Annotated[str | None, typer.Option(help="Key `ledger`.")] = None,
    detector: Annotated[list[str] | None, typer.Option(help="Key `detect.detectors`; repeat for an ensemble.")] = None,
    method: Annotated[str | None, typer.Option(help="Key `anonymize.method`.")] = None,
    layout: Annotated[str | None, typer.Option(help="Key `write.layout`.")] = None,
    workers: Annotated[int | None, typer.Option(help="Key `engine.workers`.")] = None,
    address: Annotated[str | None, typer.Option(help="Key `engine.address`: the Ray cluster.")] = None,
    limit: Annotated[
        int | None, typer.Option(help="Key `sample.limit`: a seeded sample of N rows, a release of its own.")
    ] = None,
    settings: Set = [],  # noqa: B006  typer reads it as the default, nobody changes it
    json: Json = False,
) -> None:
    """Runs a job, or resumes it: the same command again takes up where the last one ended."""
    flags: dict[str, Any] = {
        "manifest": manifest,
        "output": output,
        "ledger": ledger,
        "detect.detectors": detector or None,
        "anonymize.method": method,
        "write.layout": layout,
        "engine.workers": workers,
        "engine.address": address,
        "sample.limit": limit,
    }
    overrides = {key: value for key, value in flags.items() if value is not None}
    overrides.update(parse_override(text) for text in settings)
    job_config = load_job(job, overrides)
    from anon_batch.cluster.driver import run_job

    with (
        stoppable("; run the same command again to resume"),
        contextlib.redirect_stdout(sys.stderr),  # because Ray prints about lost workers to standard output
        RunProgress(quiet=json) as progress,
    ):
        outcome = run_job(job_config, progress)
    if json:
        print_json(
            {
                "run_id": outcome.run.plan.run_id,
                "output": outcome.run.output,
                "ledger": outcome.run.ledger,
                "seconds": round(outcome.seconds, 3),
                "exit_code": int(outcome.exit_code),
                **outcome.figures,
            }
        )
    else:
        total = sum(outcome.statuses.values())
        out.print(
            f"{count(total)} rows in {duration(outcome.seconds)}: {statuses_line(outcome.statuses)}", markup=False
        )
        out.print(f"release  {outcome.run.output}\nledger   {outcome.run.ledger}  (private)", markup=False)
        if outcome.exit_code:
            err.print(
                "Some rows have no output; the column `reason` of the provenance says why, the ledger's audit what "
                "happened.",
                markup=False,
            )
    raise typer.Exit(int(outcome.exit_code))


def config(
    job: JobFile = None,
    settings: Set = [],  # noqa: B006  as above
    keys: Annotated[bool, typer.Option("--keys", help="List every key with its default and what it does.")] = False,
) -> None:
    """Checks a job file and prints it with all defaults, or lists every key."""
    if keys:
        for key, kind, default, text in describe():
            out.print(f"{key}  ({kind}; default {default})\n    {text}", markup=False)
        return
    job_config: JobConfig = load_job(job, dict(parse_override(text) for text in settings))
    shown = job_config.model_dump(mode="json")
    options = shown["storage"]["options"]  # they hold secrets, and what is printed gets pasted
    shown["storage"]["options"] = {prefix: dict.fromkeys(given, "(not shown)") for prefix, given in options.items()}
    out.print(yaml.safe_dump(shown, sort_keys=False).rstrip(), markup=False)
