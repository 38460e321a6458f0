"""`anon-batch config`."""

from __future__ import annotations

from typing import Annotated

import typer
import yaml

from anon_batch.cli.console import out
from anon_batch.cli.options import JobFile, Set, overrides
from anon_batch.config import describe, load_job


def config(
    job: JobFile = None,
    settings: Set = [],  # noqa: B006  typer reads it as the default, nobody changes it
    keys: Annotated[bool, typer.Option("--keys", help="List every key with its default and description.")] = False,
) -> None:
    """Check a job file and print it with all defaults, or list every key."""
    if keys:
        for key, kind, default, text in describe():
            out.print(f"{key}  ({kind}; default {default})\n    {text}", markup=False)
        return
    config = load_job(job, overrides(settings))
    from anon_batch.pipeline.preflight import check_names

    check_names(config.image)
    shown = config.model_dump(mode="json")
    options = shown["storage"]["options"]  # hidden, because they hold secrets and the output gets pasted
    shown["storage"]["options"] = {prefix: dict.fromkeys(given, "(not shown)") for prefix, given in options.items()}
    out.print(yaml.safe_dump(shown, sort_keys=False).rstrip(), markup=False)
