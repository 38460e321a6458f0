"""`anon-batch c2pa`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from anon_batch.cli.console import err, out
from anon_batch.cli.keys import read_key_file
from anon_batch.cli.options import Output, StorageJob, storage_of
from anon_batch.units import format_counted

_SHOW_EVERY_S = 5.0


def c2pa(
    output: Output,
    key: Annotated[Path, typer.Option(help="Private key (PEM; ECDSA or Ed25519, not encrypted).")],
    cert: Annotated[Path, typer.Option(help="Its certificates (PEM), that of the key first.")],
    ledger: Annotated[str | None, typer.Option(help="Ledger of the run; default OUTPUT-ledger.")] = None,
    job: StorageJob = None,
) -> None:
    """Sign images with generated faces: Content Credentials (C2PA) without thumbnail, ingredient, title or time.

    It makes a new version, because the images change; `anon-batch release` signs that as a whole afterwards. JPEG, PNG and WebP
    can hold Content Credentials. The same command resumes one that was killed, and signs what is new after a patch.
    """
    from anon_batch.formats.ledger import Ledger
    from anon_batch.formats.release import Release
    from anon_batch.release.c2pa.sign_release import sign_images
    from anon_batch.release.c2pa.signer import load_signer

    signer = load_signer(read_key_file(key), str(key), read_key_file(cert), str(cert))
    place = Release(storage_of(job), output)
    place.read_run_json()  # because a wrong address of the release is the likelier mistake
    private = Ledger(place.storage, ledger or f"{place.uri}-ledger")
    done = sign_images(place, private, signer, _Progress().show)
    if not done.images:
        out.print("nothing to sign: no JPEG, PNG or WebP with generated content is without a signature", markup=False)
        return
    out.print(f"signed   {format_counted(done.images, 'image')}: version {done.version}", markup=False)
    out.print("next     anon-batch release, which writes card and signature of the new version", markup=False)


class _Progress:
    """Print how many images are signed, once in a while."""

    def __init__(self) -> None:
        self._shown_at = time.monotonic()

    def show(self, count: int) -> None:
        if time.monotonic() - self._shown_at >= _SHOW_EVERY_S:
            self._shown_at = time.monotonic()
            err.print(f"{format_counted(count, 'image')} signed", markup=False)
