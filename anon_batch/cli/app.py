"""Commands and their options."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from anon_batch import __version__
from anon_batch.cli import estimate as planning
from anon_batch.cli import evaluate as evaluating
from anon_batch.cli import inspect_release as inspecting
from anon_batch.cli import manifest as manifests
from anon_batch.cli import models as weights
from anon_batch.cli import report as reporting
from anon_batch.cli import run as running
from anon_batch.cli import train as training
from anon_batch.errors import ExitCode
from anon_batch.process import stoppable


class Commands(TyperGroup):
    """All commands. SIGINT and SIGTERM end each of them with a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with stoppable("; run the same command again"):
            return super().invoke(ctx)


app = typer.Typer(
    name="anon-batch",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    cls=Commands,
    help="Anonymize image datasets on Ray: a manifest of images in, a release and its evidence out.",
    epilog="Exit codes: " + "; ".join(f"{int(code)} {code.meaning}" for code in ExitCode) + ".",
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
