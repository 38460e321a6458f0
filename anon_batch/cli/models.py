"""`anon-batch models`: what weights there are, fetch them, check them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anon_batch.cli.console import out, print_json
from anon_batch.config import ModelsConfig, StorageConfig
from anon_batch.errors import ExitCode
from anon_batch.models.store import ModelStatus, ModelStore
from anon_batch.storage import Storage

app = typer.Typer(no_args_is_help=True, help="Lists, fetches and verifies model weights.")

Mirror = Annotated[str | None, typer.Option(help="Prefix that holds the files; also ANON_BATCH_MODEL_MIRROR.")]
Cache = Annotated[Path | None, typer.Option(help="Folder for fetched weights; default ~/.cache/anon-batch.")]
Json = Annotated[bool, typer.Option("--json", help="Print for machines.")]


@app.command("list")
def list_models(cache: Cache = None, json: Json = False) -> None:
    """Lists the registry: licence, training data, and what is already here."""
    _show(_store(None, cache).status(), json=json)


@app.command()
def fetch(
    names: Annotated[list[str] | None, typer.Argument(help="Models; none named: all.")] = None,
    mirror: Mirror = None,
    cache: Cache = None,
) -> None:
    """Fetches weights into the cache and checks their digests."""
    store = _store(mirror, cache)
    for name, path in store.fetch(names or [row.entry.name for row in store.status()]).items():
        out.print(f"{name}  {path}", markup=False)


@app.command()
def verify(cache: Cache = None, json: Json = False) -> None:
    """Checks the digest of every model that is here; exit code 3 if one is not what the registry pins."""
    rows = [row for row in _store(None, cache).status() if row.state != "absent"]
    _show(rows, json=json)
    raise typer.Exit(int(ExitCode.INTEGRITY if any(row.state == "wrong_digest" for row in rows) else ExitCode.FINISHED))


def _store(mirror: str | None, cache: Path | None) -> ModelStore:
    return ModelStore(Storage(StorageConfig()), ModelsConfig(mirror=mirror, cache=str(cache) if cache else None))


def _show(rows: list[ModelStatus], *, json: bool) -> None:
    if json:
        print_json(
            [
                {
                    "name": row.entry.name,
                    "state": row.state,
                    "path": str(row.path) if row.path else None,
                    "sha256": row.entry.sha256,
                    "size_bytes": row.entry.size_bytes,
                    "licence": row.entry.licence,
                    "trained_on": row.entry.trained_on,
                    "url": row.entry.url,
                }
                for row in rows
            ]
        )
        return
    for row in rows:
        out.print(
            f"{row.entry.name:<12} {row.state:<13} {row.entry.size_bytes / 1e6:5.1f} MB  {row.entry.licence:<12} "
            f"sha256 {row.entry.sha256[:16]}...",
            markup=False,
        )
        out.print(f"{'':<12} trained on {row.entry.trained_on}", markup=False)
        out.print(f"{'':<12} {row.path or row.entry.url}", markup=False)
