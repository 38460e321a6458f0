"""`anon-batch models`: list, fetch and verify model weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anon_batch.cli.console import out, print_json
from anon_batch.config import ModelsConfig, StorageConfig
from anon_batch.errors import ExitCode
from anon_batch.models.store import ModelStatus, ModelStore
from anon_batch.storage import Storage
from anon_batch.units import format_bytes

app = typer.Typer(no_args_is_help=True, help="List, fetch and verify model weights.")

Mirror = Annotated[str | None, typer.Option(help="Prefix with the files; also ANON_BATCH_MODEL_MIRROR.")]
Cache = Annotated[
    Path | None,
    typer.Option(help="Folder for downloaded weights; also ANON_BATCH_MODEL_CACHE; default ~/.cache/anon-batch."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_models(cache: Cache = None, json: Json = False) -> None:
    """List the registry: licence, training data, and which files are present."""
    _show(_store(None, cache).status(), json=json)


@app.command()
def fetch(
    names: Annotated[list[str] | None, typer.Argument(help="Models; default all.")] = None,
    mirror: Mirror = None,
    cache: Cache = None,
) -> None:
    """Download weights into the cache and check their digests."""
    store = _store(mirror, cache)
    for name, path in store.fetch(names or [row.entry.name for row in store.status()]).items():
        out.print(f"{name}  {path}", markup=False)


@app.command()
def verify(cache: Cache = None, json: Json = False) -> None:
    """Check the digest of every present file. Exit code 3 if one differs from the registry."""
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
            f"{row.entry.name:<12} {row.state:<13} {format_bytes(row.entry.size_bytes):>8}  {row.entry.licence:<12} "
            f"sha256 {row.entry.sha256[:16]}...",
            markup=False,
        )
        out.print(f"{'':<12} trained on {row.entry.trained_on}", markup=False)
        out.print(f"{'':<12} {row.path or row.entry.url}", markup=False)
