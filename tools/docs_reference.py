"""Reference pages, built from the code: `PAGES` maps the name of a page to the function that returns its Markdown.

`python -m tools.docs_reference NAME` prints one.
"""

from __future__ import annotations

import enum
import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import typer.main

Rows = Sequence[Sequence[str]]
INTRO = {
    "config": """# Job file

A job file is YAML. `anon-batch config job.yaml` checks one and prints it with all defaults; `--set engine.shard_rows=64` sets
any key on the command line and wins over the file. An unknown key or a wrong value stops the command before anything runs, with
the nearest key that exists.

Every key except the addresses, `run_key_file`, `gates`, `compliance`, `engine` (but for `engine.shard_rows`), `models` and
`storage` is part of the run's [fingerprint](../guides/resume.md): it cannot change between two runs into one output.""",
    "labels": """Every other key of `anonymize` is a label and has the keys of `default`, for example
`anonymize.licence_plate.method`.""",
    "options": """## Options of detectors, methods and checks

Plug-ins have options of their own; the plug-in describes them.""",
    "cli": """# Command line

`anon-batch COMMAND --help` prints the same. Results go to standard output, progress and messages to standard error. What the
exit codes mean: [Exit codes](exit-codes.md).""",
    "provenance": """# Files of a release

## Provenance (public)

`OUTPUT/provenance/*.parquet`, one row for each image of the manifest. All parts form one Parquet dataset:
`pandas.read_parquet("OUTPUT/provenance")`. The manifest's pass-through columns follow these.""",
    "audit": """## Audit (private)

`LEDGER/audit/*.parquet`, one row for each image. The audit leads back to the sources: never publish it.""",
    "reasons": """# Reason codes

The column `reason` of the provenance, counted in `stats.json`. The column `detail` of the audit has more. `failed`: the source
could not be read or decoded. `withheld`: no safe output could be made.""",
    "skipped": """## Skipped entries

Why `anon-batch manifest` left an entry of a source out; in `OUTPUT.skipped.jsonl` beside the manifest.""",
    "stats": """# Statistics, gates, run

## `stats.json`

The sum over all shards, written when a run finishes. `anon-batch report` shows it as a page.""",
    "gates": """## `gates.json`

`passed` is true if every gate passed. `gates` lists the limits of the job file with these fields:""",
    "destroyed": """## `destroyed.json`

Written by `anon-batch keys destroy`; missing if nothing is on record. `run_id` is of the run, `things` lists what was
destroyed with these fields:""",
    "version": """## `versions/<n>.json`

What made each version of a release ([guide](../guides/versions.md)). Missing if there is only what `run` made.""",
    "tombstone": """Each of the `tombstones` has""",
    "run": """## `run.json`

What made the release. It holds no address and no secret.""",
    "exit-codes": """# Exit codes

`anon-batch run --finished-exit-zero` returns 0 instead of 10, for schedulers that retry every other code, such as Ray jobs and
KubeRay. The verdict on the gates is in `gates.json` either way.""",
}


def table(header: Sequence[str], rows: Rows) -> str:
    """Return a Markdown table."""
    lines = [
        header,
        ["---"] * len(header),
        *([cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def config_page() -> str:
    """Return the page with every key of the job file, a table for each section."""
    from anon_batch.config import describe

    sections: dict[str, list[list[str]]] = {}
    for key, kind, default, text in describe():
        shown = default if default == "required" else f"`{default}`"
        sections.setdefault(key.partition(".")[0] if "." in key else "", []).append([f"`{key}`", kind, shown, text])
    parts = [INTRO["config"]]
    for section, rows in sections.items():
        parts += [f"## `{section}`" if section else "## Top level", table(["Key", "Type", "Default", "Meaning"], rows)]
        if section == "anonymize":
            parts.append(INTRO["labels"])
    parts += [INTRO["options"], table(["Key", "Type", "Default", "Meaning"], list(_options()))]
    return "\n\n".join(parts) + "\n"


def _options() -> Iterator[list[str]]:
    from anon_batch import plugins
    from anon_batch.config import describe

    keys = {"detectors": "detect.detectors.{}.options.", "methods": "anonymize.options.{}.", "checks": "checks.{}."}
    for kind, prefix in keys.items():
        for name in plugins.built_in(kind):
            options = getattr(plugins.find(kind, name), "Options", plugins.PluginOptions)
            for key, type_, default, text in describe(options, prefix.format(name)):
                yield [f"`{key}`", type_, f"`{default}`", text]


def cli_page() -> str:
    """Return the page with every command, its arguments and options."""
    from anon_batch.cli.app import app

    root = typer.main.get_command(app)
    parts = [INTRO["cli"]]
    for name, command in commands(root):
        parts += [f"## `anon-batch {name}`", _paragraphs(command.help)]
        hints = typing.get_type_hints(command.callback)
        arguments = [
            [f"`{p.metavar or p.name.upper()}`", _help(p)] for p in command.params if p.param_type_name == "argument"
        ]
        options = [
            [_spelling(p, hints), _help(p)] for p in command.params if p.param_type_name == "option" and not p.hidden
        ]
        if arguments:
            parts.append(table(["Argument", "Meaning"], arguments))
        if options:
            parts.append(table(["Option", "Meaning"], options))
    return "\n\n".join(parts) + "\n"


def commands(command: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (command as typed, its click command) of every command below `command`."""
    for name, inner in command.commands.items():
        if hasattr(inner, "commands"):
            yield from commands(inner, f"{prefix}{name} ")
        elif not inner.hidden:
            yield f"{prefix}{name}", inner


def _paragraphs(text: str | None) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in (text or "").split("\n\n"))


def _spelling(option: Any, hints: dict[str, Any]) -> str:
    kinds = [
        kind for kind in (hints.get(option.name), *typing.get_args(hints.get(option.name))) if isinstance(kind, type)
    ]
    value = "" if option.is_flag else f" {option.metavar or _value_name(kinds)}"
    return ", ".join(f"`{name}{value}`" for name in (*option.opts, *option.secondary_opts))


def _value_name(kinds: Sequence[type]) -> str:
    for kind in kinds:
        if issubclass(kind, enum.Enum):
            return "|".join(str(member.value) for member in kind)
    names = {int: "N", float: "NUMBER", Path: "FILE"}
    return next((names[kind] for kind in kinds if kind in names), "TEXT")


def _help(parameter: Any) -> str:
    text, default = " ".join((parameter.help or "").split()), parameter.default
    default = default.value if isinstance(default, enum.Enum) else default
    plain = isinstance(default, str | int | float) and not isinstance(default, bool)
    return f"{text} Default: `{default}`." if plain and parameter.show_default else text


def provenance_page() -> str:
    """Return the page with the columns of provenance and audit, from the descriptions in their Arrow schemas."""
    from anon_batch.formats.audit import AUDIT_SCHEMA, OUTLINES
    from anon_batch.formats.provenance import PROVENANCE_SCHEMA

    parts = [INTRO["provenance"], columns(PROVENANCE_SCHEMA), INTRO["audit"], columns(AUDIT_SCHEMA.append(OUTLINES))]
    return "\n\n".join(parts) + "\n"


def columns(schema: pa.Schema) -> str:
    """Return the table of a schema's columns; a struct's fields follow as `column.field`."""
    return table(["Column", "Type", "Meaning"], list(_columns(schema, "")))


def _columns(fields: Any, prefix: str) -> Iterator[list[str]]:
    for field in fields:
        meaning = (field.metadata or {}).get(b"description", b"").decode()
        inner = getattr(field.type, "value_type", field.type)
        struct = pa.types.is_struct(inner)
        kind = ("list of struct" if inner is not field.type else "struct") if struct else str(field.type)
        yield [f"`{prefix}{field.name}`", kind, meaning]
        if struct:
            yield from _columns([inner.field(i) for i in range(inner.num_fields)], f"{prefix}{field.name}.")


def reasons_page() -> str:
    """Return the page with every reason code."""
    from anon_batch.manifest.skip_reasons import SKIP_REASONS
    from anon_batch.reasons import REASONS

    rows = [[f"`{r.code}`", r.status, r.meaning, r.fix] for r in REASONS.values()]
    skipped = [[f"`{r.code}`", "yes" if r.is_loss else "no", r.meaning, r.fix] for r in SKIP_REASONS.values()]
    parts = [INTRO["reasons"], table(["Code", "Status", "What happened", "Fix"], rows)]
    parts += [INTRO["skipped"], table(["Code", "`--strict` refuses", "What it is", "Fix"], skipped)]
    return "\n\n".join(parts) + "\n"


def exit_codes_page() -> str:
    """Return the page with every exit code of the command line."""
    from anon_batch.errors import ExitCode

    rows = [[f"{int(code)}", code.meaning, code.action] for code in ExitCode]
    return INTRO["exit-codes"] + "\n\n" + table(["Code", "Meaning", "What to do"], rows) + "\n"


def stats_page() -> str:
    """Return the page with the keys of the JSON files of a release, from the docstrings of what writes them."""
    from anon_batch.formats.destroyed_json import Destruction
    from anon_batch.formats.gates_json import GateResult
    from anon_batch.formats.run_json import RunJson
    from anon_batch.formats.version_json import Tombstone, Version
    from anon_batch.stats.summary import KEYS

    parts = [INTRO["stats"], table(["Key", "Meaning"], [[f"`{key}`", meaning] for key, meaning in KEYS.items()])]
    parts += [INTRO["gates"], table(["Key", "Meaning"], docstring_items(GateResult))]
    parts += [INTRO["destroyed"], table(["Key", "Meaning"], docstring_items(Destruction))]
    parts += [INTRO["version"], table(["Key", "Meaning"], docstring_items(Version))]
    parts += [INTRO["tombstone"], table(["Key", "Meaning"], docstring_items(Tombstone))]
    parts += [INTRO["run"], table(["Key", "Meaning"], docstring_items(RunJson))]
    return "\n\n".join(parts) + "\n"


def docstring_items(documented: object) -> list[list[str]]:
    """Return [name, meaning] of each argument in the section `Args` of a class's docstring."""
    lines = (inspect.getdoc(documented) or "").partition("Args:\n")[2].splitlines()
    items: list[str] = []
    for line in lines:
        if re.match(r"    \w+: ", line):
            items.append(line.strip())
        elif items:
            items[-1] += f" {line.strip()}"
    return [[f"`{name}`", meaning.strip()] for name, _, meaning in (item.partition(": ") for item in items)]


PAGES: dict[str, Callable[[], str]] = {
    "config": config_page,
    "cli": cli_page,
    "provenance": provenance_page,
    "reasons": reasons_page,
    "exit-codes": exit_codes_page,
    "stats": stats_page,
}

if __name__ == "__main__":
    print(PAGES[sys.argv[1]]())
