"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anon_batch.config import StorageConfig, load_job, parse_override
from anon_batch.errors import AccessDeniedError, ConfigError
from anon_batch.storage import Storage

if TYPE_CHECKING:
    from anon_batch.formats.ledger import Ledger
    from anon_batch.formats.release import Release

JobFile = Annotated[
    Path | None, typer.Argument(help="Job file (YAML); flags and --set override it.", show_default=False)
]
Set = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Set any key, e.g. engine.shard_rows=64.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Output = Annotated[str, typer.Argument(help="OUTPUT of the run.")]
StorageJob = Annotated[
    Path | None, typer.Option("--job", help="Job file whose `storage` section gives access to OUTPUT and ledger.")
]


def overrides(settings: list[str], flags: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the keys that flags and `--set` give; a flag that is None was not given, and `--set` wins."""
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    return {**given, **dict(parse_override(text) for text in settings)}


def storage_of(job: Path | None) -> Storage:
    """Return the storage that the job file's `storage` section configures, or one with the defaults."""
    return Storage(StorageConfig() if job is None else load_job(job, {}).storage)


def ledger_of(release: Release, ledger: str | None, *, no_ledger: bool) -> Ledger | None:
    """Return the ledger of a release; None with `no_ledger`.

    Args:
        release: opened with the storage that also reaches the ledger.
        ledger: address; None means beside the release.
        no_ledger: whether to leave the ledger out.

    Raises:
        ConfigError: there is no release, or no ledger.
        AccessDeniedError: the ledger is not for this reader.
        IntegrityError: run.json is damaged.
    """
    return None if no_ledger else needed_ledger(release, ledger, ", or use --no-ledger to check the public part only")


def needed_ledger(release: Release, ledger: str | None, otherwise: str = "") -> Ledger:
    """Return the ledger of a release, for a command that may not do without; see `ledger_of`.

    Args:
        release: opened with the storage that also reaches the ledger.
        ledger: address; None means beside the release.
        otherwise: what else a user may do, for the message.
    """
    from anon_batch.formats.destroyed_json import LEDGER
    from anon_batch.formats.ledger import Ledger

    record = release.read_run_json()  # because a wrong address of the release is the likelier mistake
    found = Ledger(release.storage, ledger or f"{release.uri}-ledger")
    try:
        is_there = found.exists()
    except AccessDeniedError as exc:
        hint = ". Readers without the ledger use --no-ledger, which checks the public part only" if otherwise else ""
        raise AccessDeniedError(f"{exc.message}{hint}", exc.uri) from None
    if not is_there:
        gone = release.read_destroyed(record.run_id).find(LEDGER)
        why = "" if gone is None else f" (it was destroyed, {gone.destroyed_at})"
        raise ConfigError(f"no ledger at {found.uri}{why}: name it with --ledger{otherwise}")
    return found
