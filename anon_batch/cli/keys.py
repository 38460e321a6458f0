"""`anon-batch keys`: make, show and destroy keys."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anon_batch.cli.console import err, out
from anon_batch.cli.options import Output, StorageJob, storage_of
from anon_batch.errors import ConfigError
from anon_batch.units import format_counted

if TYPE_CHECKING:
    from anon_batch.formats.destroyed_json import Destruction
    from anon_batch.formats.ledger import Ledger

app = typer.Typer(
    no_args_is_help=True,
    help="Make keys that sign releases, restore originals or find faces, and destroy what leads back from a release.",
)


class What(StrEnum):
    """What can be destroyed; the values are words of the command line."""

    RUN_KEY = "run-key"
    IDENTITY_KEY = "identity-key"
    LEDGER = "ledger"
    SEAL = "seal"
    LINK = "link"


class Suite(StrEnum):
    """Kinds of keys for seals."""

    HYBRID = "mlkem768x25519"
    CLASSICAL = "x25519"


@app.command()
def new(
    sign: Annotated[
        Path | None,
        typer.Option("--sign", help="File of a private key that signs releases (Ed25519).", show_default=False),
    ] = None,
    seal: Annotated[
        Path | None,
        typer.Option("--seal", help="File of a private key that opens sealed originals.", show_default=False),
    ] = None,
    link: Annotated[
        Path | None,
        typer.Option("--link", help="File of a private key that finds faces by a photograph.", show_default=False),
    ] = None,
    suite: Annotated[
        Suite,
        typer.Option(help="Kind of a key for --seal and --link; the first one also withstands quantum computers."),
    ] = Suite.HYBRID,
) -> None:
    """Make a key: FILE for you alone, FILE.pub for everybody.

    `--sign` signs releases, `--seal` opens sealed originals, `--link` finds faces by a photograph.
    """
    if sum(own is not None for own in (sign, seal, link)) != 1:
        raise ConfigError("keys new: name one file, by --sign, --seal or --link")
    if sign is not None:
        from anon_batch.release.signature.signing_key import key_id, new_signing_key, private_pem, public_pem

        key = new_signing_key()
        _write_pair(sign, private_pem(key), public_pem(key.public_key()), key_id(key.public_key()))
    if (encrypts := seal or link) is not None:
        from anon_batch.sealing.key_files import new_key

        own = new_key(suite.value)
        _write_pair(encrypts, own.pem(), own.public.pem, own.public.key_id)
        err.print(
            "Keep it off the cluster, and keep a copy in another place: without it, "
            f"{'what is sealed is lost' if seal else 'the index of faces stays closed'}.",
            markup=False,
        )


def _write_pair(own: Path, private: bytes, public_pem: bytes, key_id: str) -> None:
    public = Path(f"{own}.pub")
    for path, pem, mode in ((own, private, 0o600), (public, public_pem, 0o644)):
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(pem)
        except FileExistsError:
            raise ConfigError(f"{path} exists; name another file, because a lost key cannot be made again") from None
        except OSError as exc:
            raise ConfigError(f"{path} cannot be written: {exc.strerror}") from None
    out.print(f"private  {own}  (keep it to yourself, and keep a copy)", markup=False)
    out.print(f"public   {public}  (give it to others)", markup=False)
    out.print(f"key id   {key_id}", markup=False)


@app.command()
def show(public: Annotated[Path, typer.Argument(help="File of a public key.")]) -> None:
    """Print the id of a public key, which attestation.json or the ledger names."""
    from anon_batch.release.signature.signing_key import key_id, read_public
    from anon_batch.sealing.key_files import read_public_key

    pem, name = read_key_file(public), str(public)
    try:
        shown = read_public_key(pem, name).key_id
    except ConfigError:
        shown = key_id(read_public(pem, name))
    out.print(shown, markup=False)


@app.command()
def destroy(
    what: Annotated[
        What,
        typer.Argument(
            help="`run-key`, `identity-key`: the key alone; `seal`: the sealed originals and their keys; `link`: the index of "
            "faces and its keys; `ledger`: all of it."
        ),
    ],
    output: Output,
    by: Annotated[
        str, typer.Option("--by", help="Who says that no copy and no backup is left: name and role. It is published.")
    ],
    ledger: Annotated[str | None, typer.Option(help="Ledger of the run; default OUTPUT-ledger.")] = None,
    already_destroyed: Annotated[
        bool,
        typer.Option("--already-destroyed", help="Delete nothing: record that it was destroyed by other means."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    job: StorageJob = None,
) -> None:
    """Delete a key, the seal, the index of faces or the ledger of a finished release for good. OUTPUT/destroyed.json records it.

    Without the run key nobody can repeat the choice of a new face, and the run cannot be resumed. Without the identity key
    nobody can tell which new face a known person has; equal faces stay equal. Without the seal nobody can restore an original,
    without the index of faces (`link`) nobody can find a person by a photograph. Without the ledger nothing leads from an output
    to its source, and the release can get no new version. In a bucket their earlier versions are deleted too. Card and report say
    the state of all; `anon-batch release` writes them again.
    """
    from anon_batch.config.compliance import check_public_text
    from anon_batch.formats.destroyed_json import LEDGER, RUN_KEY
    from anon_batch.formats.ledger import Ledger
    from anon_batch.formats.release import Release
    from anon_batch.release.destroy import Destroyer

    try:
        said_by = check_public_text(by)
    except ValueError as exc:
        raise ConfigError(f"--by: {exc}") from None
    if not said_by:
        raise ConfigError("--by: name the one who says so")
    place = Release(storage_of(job), output)
    place.read_run_json()  # because a wrong address of the release is the likelier mistake
    private = Ledger(place.storage, ledger or f"{place.uri}-ledger")
    destroyer, thing = (
        Destroyer(place, private, said_by),
        what.value.replace("-", " "),
    )
    if already_destroyed:
        record = destroyer.record(thing)
    else:
        _ask(private, thing, destroyer.count(thing), yes=yes)
        record = destroyer.destroy(thing)
    for own in record.things:
        out.print(_explain(own), markup=False)
    if record.find(RUN_KEY) is None and what is What.LEDGER:
        err.print(
            "The run key was not in this ledger, because the job named its own `run_key_file`. Destroy it too, then run "
            "`anon-batch keys destroy run-key OUTPUT --already-destroyed`.",
            markup=False,
        )
    no_ledger = " --no-ledger" if record.find(LEDGER) is not None else ""
    err.print(
        f"Card, report and signature are of the state before: `anon-batch release OUTPUT{no_ledger} --sign-key KEY` renews them.",
        markup=False,
    )


def _ask(ledger: Ledger, what: str, count: int, *, yes: bool) -> None:
    if not yes:
        out.print(
            f"This deletes the {what} at {ledger.uri} ({format_counted(count, 'object')}) for good.", markup=False
        )
        if not typer.confirm("Delete it?", default=False):
            raise ConfigError("nothing was deleted; --yes deletes without asking")


def _explain(own: Destruction) -> str:
    """Return what was destroyed and what may survive."""
    done = (
        f"{own.what}: deleted {format_counted(own.deleted_count, 'object')}"
        if own.deleted_count
        else f"{own.what}: on record"
    )
    if own.versions_left:
        return (
            f"{done}, but its bucket holds {format_counted(own.versions_left, 'earlier version')} of it that may not be deleted. "
            "It counts as existing until they are gone: delete them, or let a lifecycle rule do so, then run this again"
        )
    unknown = (
        " Its store does not say whether it holds earlier versions or snapshots." if own.versions_left is None else ""
    )
    return f"{done}.{unknown} Copies and backups cannot be seen from here: “{own.said_by}” answers for them."


def read_key_file(path: Path) -> bytes:
    """Return the content of a key's file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}") from None
