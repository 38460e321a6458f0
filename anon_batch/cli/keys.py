"""`anon-batch keys`: make and show keys."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from anon_batch.cli.console import out
from anon_batch.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="Make and show keys that sign releases.")


@app.command()
def new(
    sign: Annotated[Path, typer.Option("--sign", help="File of the private key; FILE.pub gets the public one.")],
) -> None:
    """Make a key that signs releases (Ed25519): FILE for you alone, FILE.pub for everybody."""
    from anon_batch.release.signature.signing_key import key_id, new_signing_key, private_pem, public_pem

    key, public = new_signing_key(), Path(f"{sign}.pub")
    for path, pem, mode in ((sign, private_pem(key), 0o600), (public, public_pem(key.public_key()), 0o644)):
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(pem)
        except FileExistsError:
            raise ConfigError(f"{path} exists; name another file, because a lost key cannot sign again") from None
        except OSError as exc:
            raise ConfigError(f"{path} cannot be written: {exc.strerror}") from None
    out.print(f"private  {sign}  (keep it to yourself, and keep a copy)", markup=False)
    out.print(f"public   {public}  (publish it where readers of the release trust you)", markup=False)
    out.print(f"key id   {key_id(key.public_key())}", markup=False)


@app.command()
def show(public: Annotated[Path, typer.Argument(help="File of a public key.")]) -> None:
    """Print the id of a public key, which attestation.json names."""
    from anon_batch.release.signature.signing_key import key_id, read_public

    out.print(key_id(read_public(read_key_file(public), str(public))), markup=False)


def read_key_file(path: Path) -> bytes:
    """Return the content of a key's file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}") from None
