"""`anon-batch keys list`, `check`, `rotate` and `ticket`: who can open what is kept encrypted, seals and the index of faces."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anon_batch.cli.console import err, out
from anon_batch.cli.keys import read_key_file
from anon_batch.cli.options import Output, StorageJob, storage_of
from anon_batch.cli.reveal import (
    By,
    Case,
    Image,
    Key,
    PrivateLedger,
    Reason,
    Region,
    check_keys,
    open_place,
    read_private_keys,
    wanted_of,
    who_asks,
)
from anon_batch.errors import ConfigError
from anon_batch.units import format_counted

if TYPE_CHECKING:
    from anon_batch.formats.layout import Kind
    from anon_batch.formats.ledger import Ledger
    from anon_batch.formats.release import Release
    from anon_batch.release.reveal.sealed_release import SealedRelease
    from anon_batch.sealing.key_files import PrivateKey
    from anon_batch.storage import Storage

_WHAT = {
    "region": "regions by themselves where they can be",
    "file": "the sources' files",
    "templates": "templates of faces, one record an image",
}


def list_keys(output: Output, ledger: PrivateLedger = None, job: StorageJob = None) -> None:
    """List whose keys open sealed originals and the index of faces, what there is of both, and who opened it."""
    from anon_batch.formats.access_log import AccessLog
    from anon_batch.formats.seal_store import read_kept

    release, private = _open_release(storage_of(job), output, ledger)
    gone = _destroyed(release, private)
    for kind, destroyed in gone.items():
        out.print(
            f"destroyed  {'what was sealed' if kind == 'seal' else 'the index of faces'} ({destroyed})", markup=False
        )
    # Because who opened something is a question after it was destroyed, too.
    places = [] if gone and not read_kept(private) else _kept_places(release, private)
    for place in places:
        for own in place.seals.recipients:
            name = "recipient" if place.kind == "seal" else "finds by"
            out.print(f"{name:<10} {own.key_id}  {own.suite}", markup=False)
        if len(place.seals.recipients) > 1:
            need = "any of them" if place.seals.need == "any" else "all of them together"
            out.print(f"opened by  {need}", markup=False)
        records, images = place.count()
        name = "sealed" if place.kind == "seal" else "indexed"
        counted = f"{format_counted(records, 'record')} of {format_counted(images, 'image')}"
        out.print(f"{name:<10} {counted} ({_WHAT[place.seals.what]})", markup=False)
    for number, entry in enumerate(AccessLog(private).read()):
        rows = f", {format_counted(len(entry.rows), 'region')}" if entry.rows else ""
        about = f"outcome of {entry.of}: {entry.outcome}" if entry.of is not None else f"{entry.reason}{rows}"
        case = f" ({entry.case})" if entry.case else ""
        out.print(
            f"access {number:<4} {entry.at}  {entry.verb}, key {_short(entry.key_id)}, by {entry.by}{case}: {about}",
            markup=False,
        )


def _short(key_ids: str) -> str:
    return " and ".join(own[:16] for own in key_ids.split("+"))


def _names(paths: list[Path]) -> str:
    return " and ".join(str(path) for path in paths)


def check(output: Output, key: Key, ledger: PrivateLedger = None, job: StorageJob = None) -> None:
    """Check that private keys open what is sealed, or the index of faces, without opening anything."""
    keys = read_private_keys(key)
    place = _place_of(_open_places(storage_of(job), output, ledger), keys[0], str(key[0]))
    for path, own in zip(key, keys, strict=True):
        place.check_key(own, str(path))
    what = f"{'what is sealed' if place.kind == 'seal' else 'the index of faces'} of {place.release.uri}"
    if place.seals.need == "all" and len(keys) < len(place.seals.recipients):
        count = f"{len(keys)} of the {len(place.seals.recipients)} keys that are needed together"
        out.print(f"{_names(key)}: {count} to open {what}", markup=False)
        return
    out.print(f"{_names(key)} {'opens' if len(key) == 1 else 'open'} {what}", markup=False)


def rotate(
    output: Output,
    key: Key,
    to: Annotated[list[Path], typer.Option("--to", help="Public key of a recipient from now on; repeatable.")],
    need: Annotated[
        str, typer.Option(help="`any` of the recipients can open it from now on, or only `all` of them together.")
    ] = "any",
    by: By = None,
    reason: Reason = None,
    case: Case = "",
    ledger: PrivateLedger = None,
    job: StorageJob = None,
) -> None:
    """Change the recipients of what --key opens, seals or the index of faces: wrap every key again, for --to and nobody else.

    Copies of the ledger that were made before open with the old private keys alone. Destroy these keys, and what was erased
    since stays closed in the copies too. The same command again goes on where it was interrupted.
    """
    from anon_batch.release.reveal.rotate import rotate as wrap_again
    from anon_batch.sealing.envelope import check_need
    from anon_batch.sealing.key_files import read_public_key

    own = read_private_keys(key)
    try:
        asked_need = check_need(need)
    except ValueError:
        raise ConfigError(f"--need {need}: expected any or all") from None
    recipients = [read_public_key(read_key_file(path), str(path)) for path in to]
    places = _open_places(storage_of(job), output, ledger)
    place = _place_of(places, own[0], str(key[0]))
    check_keys(place, key, own)
    others = {known for other in places if other is not place for known in other.seals.key_ids}
    if any(new.key_id in others for new in recipients):
        raise ConfigError("--to: names a recipient of what another key opens; make a new one, to destroy each alone")
    before = set(place.seals.key_ids)
    count = sum(wrap_again(place, own, recipients, who_asks(by, reason, case), asked_need))
    out.print(
        f"{format_counted(count, 'record')} {'sealed' if place.kind == 'seal' else 'open'} to "
        f"{format_counted(len(recipients), 'recipient')}",
        markup=False,
    )
    kept = before & {new.key_id for new in recipients}
    gone = f"Destroy {'these' if len(before - kept) > 1 else 'the'} old private key" if before - kept else ""
    if gone:
        err.print(
            f"{gone}{'s' if len(before - kept) > 1 else ''}: copies of the ledger still open with it.", markup=False
        )
    if kept:
        err.print(
            "A recipient stays, whose key also opens copies that were made before, with what was erased since.",
            markup=False,
        )


def ticket(
    output: Output,
    key: Key,
    to: Annotated[Path, typer.Option("--for", help="Public key of the one who may open it.")],
    file: Annotated[Path, typer.Option("-o", help="File of the tickets.")],
    image: Image = None,
    region: Region = None,
    by: By = None,
    reason: Reason = None,
    case: Case = "",
    ledger: PrivateLedger = None,
    job: StorageJob = None,
) -> None:
    """Let somebody else open single regions with a key of their own: `anon-batch reveal OUTPUT --ticket FILE --key THEIRS`."""
    from anon_batch.formats.ticket import write_tickets
    from anon_batch.release.reveal.reveal import issue_tickets
    from anon_batch.sealing.key_files import read_public_key

    own = read_private_keys(key)
    holder = read_public_key(read_key_file(to), str(to))
    place = open_place(storage_of(job), output, ledger)
    check_keys(place, key, own)
    asked = who_asks(by, reason, case)
    if file.exists():
        raise ConfigError(f"{file} exists; name another file")
    tickets = issue_tickets(place, own, wanted_of(place, image, region), asked, holder)
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
            target.write(write_tickets(tickets))
    except OSError as exc:
        raise ConfigError(f"{file} cannot be written: {exc.strerror}") from None
    out.print(f"{file}  {format_counted(len(tickets), 'ticket')} for key {holder.key_id[:16]}", markup=False)


def _open_release(storage: Storage, output: str, ledger: str | None) -> tuple[Release, Ledger]:
    from anon_batch.formats.ledger import Ledger
    from anon_batch.formats.release import Release

    release = Release(storage, output)
    return release, Ledger(storage, ledger or f"{release.uri}-ledger")


def _open_places(storage: Storage, output: str, ledger: str | None) -> list[SealedRelease]:
    """Return a release with each thing that it keeps encrypted.

    Raises:
        ConfigError: nothing is.
    """
    return _kept_places(*_open_release(storage, output, ledger))


def _kept_places(release: Release, ledger: Ledger) -> list[SealedRelease]:
    from anon_batch.formats.seal_store import read_kept
    from anon_batch.release.reveal.sealed_release import SealedRelease

    # Where nothing is kept, the error of what was destroyed, or else of seals, says what is missing.
    kinds: list[Kind] = list(read_kept(ledger)) or list(_destroyed(release, ledger))[:1] or ["seal"]
    return [SealedRelease(release, ledger, kind) for kind in kinds]


def _destroyed(release: Release, ledger: Ledger) -> dict[Kind, str]:
    """Return what was destroyed of what a finished release kept encrypted -> when.

    Raises:
        ConfigError, ResumeRefusedError, IntegrityError: it is not finished, or it has another ledger.
    """
    from anon_batch.pipeline.versions.begin import check_finished
    from anon_batch.release.reveal.sealed_release import NAMES

    record = release.read_destroyed(check_finished(release, ledger).run_id)
    found = {kind: record.find(name) for kind, name in NAMES.items()}
    return {kind: own.destroyed_at for kind, own in found.items() if own is not None}


def _place_of(places: Sequence[SealedRelease], key: PrivateKey, name: str) -> SealedRelease:
    """Return what a private key opens.

    Raises:
        ConfigError: it opens nothing.
    """
    for place in places:
        if place.seals.opens(key, place.run_id):
            return place
    known = ", ".join(own[:16] for place in places for own in place.seals.key_ids)
    raise ConfigError(f"{name}: key {key.public.key_id[:16]} opens nothing here; the recipients' keys are {known}")
