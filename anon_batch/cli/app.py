"""All commands."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from anon_batch import __version__
from anon_batch.cli import (
    apply_tombstones,
    c2pa,
    config,
    diff,
    erase,
    estimate,
    evaluate,
    identify,
    keys,
    link,
    manifest,
    models,
    patch,
    release,
    report,
    reveal,
    review,
    run,
    seal_keys,
    status,
    submit,
    train,
    verify,
)
from anon_batch.errors import ExitCode
from anon_batch.process import stoppable


class Commands(TyperGroup):
    """The command group. SIGINT and SIGTERM end each command with a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with stoppable("; run the same command again"):
            return super().invoke(ctx)


app = typer.Typer(
    name="anon-batch",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Anonymize image datasets on Ray: a manifest of images in, a release and its evidence out.",
    epilog="Exit codes: " + "; ".join(f"{int(code)} {code.meaning}" for code in ExitCode) + ".",
)
app.command("manifest")(manifest.build)
app.command("identify")(identify.identify)
app.command("run")(run.run)
app.command("submit")(submit.submit)
app.command("estimate")(estimate.estimate)
app.command("status")(status.status)
app.command("verify")(verify.verify)
app.command("release")(release.release)
app.command("c2pa")(c2pa.c2pa)
app.command("diff")(diff.diff)
app.command("patch")(patch.patch)
app.command("erase")(erase.erase)
app.command("apply-tombstones")(apply_tombstones.apply_tombstones)
app.command("reveal")(reveal.reveal)
app.command("link")(link.link)
app.command("report")(report.report)
app.command("review")(review.review)
app.command("evaluate")(evaluate.evaluate)
app.command("train")(train.train)
app.command("config")(config.config)
keys.app.command("list")(seal_keys.list_keys)
keys.app.command("check")(seal_keys.check)
keys.app.command("rotate")(seal_keys.rotate)
keys.app.command("ticket")(seal_keys.ticket)
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")


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
    """Options of all commands."""
