"""`anon-batch config`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
import yaml

from anon_batch.cli.console import out
from anon_batch.cli.options import JobFile, Set, overrides
from anon_batch.config import describe, keys_from_terraform, load_job
from anon_batch.errors import ConfigError


def config(
    job: JobFile = None,
    settings: Set = [],  # noqa: B006  typer reads it as the default, nobody changes it
    keys: Annotated[bool, typer.Option("--keys", help="List every key with its default and description.")] = False,
    from_terraform: Annotated[
        Path | None,
        typer.Option(
            allow_dash=True,
            metavar="FILE",
            help="What `terraform output -json` printed in infra/terraform, `-` for standard input: print the keys of a job file "
            "that lead to its buckets.",
        ),
    ] = None,
) -> None:
    """Check a job file and print it with all defaults, list every key, or print the keys that lead to Terraform's buckets."""
    if keys:
        for key, kind, default, text in describe():
            out.print(f"{key}  ({kind}; default {default})\n    {text}", markup=False)
        return
    if from_terraform is not None:
        if job is not None:
            raise ConfigError("--from-terraform takes no job file: paste the keys that it prints into yours")
        made = keys_from_terraform(_text_of(from_terraform), overrides(settings))
        out.print(yaml.safe_dump(made, sort_keys=False).rstrip(), markup=False)
        return
    config = load_job(job, overrides(settings))
    from anon_batch.pipeline.preflight import check_names

    check_names(config.image)
    shown = config.model_dump(mode="json")
    options = shown["storage"]["options"]  # hidden, because they hold secrets and the output gets pasted
    shown["storage"]["options"] = {prefix: dict.fromkeys(given, "(not shown)") for prefix, given in options.items()}
    out.print(yaml.safe_dump(shown, sort_keys=False).rstrip(), markup=False)


def _text_of(path: Path) -> str:
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except OSError as exc:
        raise ConfigError(f"--from-terraform {path}: {exc.strerror or exc}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"--from-terraform {path}: not text") from None
