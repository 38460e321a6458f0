"""Commands and their options."""

from __future__ import annotations

from typing import Annotated

import typer

from anon_batch import __version__
from anon_batch.cli import estimate as planning
from anon_batch.cli import evaluate as evaluating
from anon_batch.cli import inspect_release as inspecting
from anon_batch.cli import manifest as manifests
from anon_batch.cli import models as weights
from anon_batch.cli import report as reporting
from anon_batch.cli import run as running
from anon_batch.cli import train as training

app = typer.Typer(
    name="anon-batch",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Anonymizes image datasets on Ray: a manifest of images in, a release and its evidence out.",
    epilog="Exit codes: 0 every row anonymized or clean; 1 finished with withheld or failed rows; 2 usage, configuration or "
    "refused resume; 3 integrity; 130 interrupted, resumable.",
)
app.command("manifest")(manifests.build)
app.command("run")(running.run)
app.command("plan")(planning.plan)
app.command("status")(inspecting.status)
app.command("verify")(inspecting.verify)
app.command("report")(reporting.report)
app.command("evaluate")(evaluating.evaluate)
app.command("train")(training.train)
app.command("config")(running.config)
app.add_typer(weights.app, name="models")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"anon-batch {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of every command."""
