"""Restore originals from their seals, or hand out tickets that open single ones. The access log hears of it first."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from anon_batch.errors import ConfigError, IntegrityError
from anon_batch.formats.access_log import Access, AccessLog
from anon_batch.formats.outputs import read_outputs
from anon_batch.formats.release import Release
from anon_batch.formats.ticket import Ticket
from anon_batch.imaging.header import read_image_header
from anon_batch.imaging.jpeg.changed_blocks import UnsealableError, restore_regions
from anon_batch.release.reveal.sealed_release import Found, SealedRelease, Wanted, name_keys, open_keks
from anon_batch.sealing.envelope import WHOLE_IMAGE, Sealed, open_sealed
from anon_batch.sealing.key_files import PrivateKey, PublicKey, WrongKeyError


class Asked(NamedTuple):
    """Who asks, and why; both stay in the access log.

    Args:
        by: who.
        reason: why.
        case: a file number; "" without one.
    """

    by: str
    reason: str
    case: str = ""


class Revealed(NamedTuple):
    """An image as it was, or with some regions as they were.

    Args:
        image_id: the release's id.
        data: the file.
        whole: whether it is the source's file, byte for byte, with its metadata.
        regions: how many were restored, of how many; 0 for a file.
    """

    image_id: str
    data: bytes
    whole: bool
    regions: int
    of: int


class _Place(NamedTuple):
    image_id: str
    key: str
    member: str | None
    sha256: str


def reveal(
    place: SealedRelease, keys: Sequence[PrivateKey], wanted: Sequence[Wanted], asked: Asked
) -> Generator[Revealed, None, None]:
    """Yield images as they were. The log has an entry before the first, and another after the last.

    Raises:
        ConfigError: something that is asked for is not sealed.
        IntegrityError: release, ledger or log is damaged, or something was changed; the log says so.
        StorageError: something cannot be read, or the log cannot be written: nothing is opened then.
    """
    found = list(place.find(wanted))
    log, entry = AccessLog(place.ledger), _entry("reveal", found, keys, asked)
    number, opened = log.append(entry), 0
    try:
        for own in found:
            keks = open_keks(own.keks, keys)
            opened += 1
            yield _restore(place.release, own.public, [(r, keks[r.kek_id].data_key(r)) for r in own.records])
    except (WrongKeyError, KeyError) as exc:
        log.append(dataclasses.replace(entry, outcome=f"failed at image {opened}", of=number))
        raise IntegrityError(f"{found[opened - 1].public['image_id']}: the sealed original was changed") from exc
    except BaseException:
        log.append(dataclasses.replace(entry, outcome=f"ended at image {opened} of {len(found)}", of=number))
        raise
    log.append(dataclasses.replace(entry, outcome=f"opened {opened}", of=number))


def issue_tickets(
    place: SealedRelease, keys: Sequence[PrivateKey], wanted: Sequence[Wanted], asked: Asked, to: PublicKey
) -> list[Ticket]:
    """Return tickets that let the holder of another key open some regions, and nothing else. No private key changes hands.

    Raises:
        ConfigError, IntegrityError, StorageError: as `reveal`.
    """
    found = list(place.find(wanted))
    log, entry = AccessLog(place.ledger), _entry("ticket", found, keys, asked)
    number = log.append(entry)
    tickets = []
    try:
        for own in found:
            keks = open_keks(own.keks, keys)
            tickets += [Ticket.issue(record, keks[record.kek_id].data_key(record), to) for record in own.records]
    except (WrongKeyError, KeyError) as exc:
        log.append(dataclasses.replace(entry, outcome="failed", of=number))
        raise IntegrityError("a sealed original was changed; no ticket was made") from exc
    log.append(dataclasses.replace(entry, outcome=f"{len(tickets)} for key {to.key_id}", of=number))
    return tickets


def reveal_tickets(
    release: Release, key: PrivateKey, tickets: Sequence[Ticket], rows: Any
) -> Generator[Revealed, None, None]:
    """Yield the images of some tickets, with the regions as they were that they open. It needs no ledger.

    Args:
        release: the public files.
        key: whom the tickets are for.
        tickets: of one or more images.
        rows: image id -> row of the provenance.

    Raises:
        ConfigError: a ticket is for another key, or of another release.
        IntegrityError: a ticket or the release was changed.
    """
    by_image: dict[str, list[tuple[Sealed, bytes]]] = {}
    for ticket in tickets:
        try:
            by_image.setdefault(ticket.sealed.place.image_id, []).append((ticket.sealed, ticket.data_key(key)))
        except WrongKeyError:
            raise ConfigError("the ticket is for another key, or it was changed") from None
    for image_id, records in by_image.items():
        if image_id not in rows:
            raise ConfigError(f"{image_id}: not in this release")
        try:
            yield _restore(release, rows[image_id], records)
        except WrongKeyError:
            raise IntegrityError(f"{image_id}: the ticket was changed") from None


def write_revealed(folder: Path, own: Revealed) -> Path:
    """Write an image below a local folder, for its owner alone; return its path.

    Raises:
        ConfigError: it is there already, or cannot be written.
    """
    path = folder / own.image_id
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(own.data)
    except FileExistsError:
        raise ConfigError(f"{path} exists; name an empty folder") from None
    except OSError as exc:
        raise ConfigError(f"{path} cannot be written: {exc.strerror}") from None
    return path


def _restore(release: Release, public: dict[str, Any], records: Sequence[tuple[Sealed, bytes]]) -> Revealed:
    image_id, of = public["image_id"], len(public["regions"])
    opened = [(record, open_sealed(record, key)) for record, key in records]
    if opened[0][0].place.region == WHOLE_IMAGE:
        return Revealed(image_id, opened[0][1], whole=True, regions=0, of=of)
    place = _Place(image_id, public["output"], public["member"], public["sha256"])
    [(_, data)] = read_outputs(release, [place])
    if isinstance(data, IntegrityError):
        raise data
    try:
        restored = restore_regions(data, [plain for _, plain in opened], read_image_header(data).orientation)
    except UnsealableError:
        raise IntegrityError(f"{image_id}: what is sealed does not belong to this output") from None
    return Revealed(image_id, restored, whole=False, regions=len(opened), of=of)


def _entry(verb: Any, found: Sequence[Found], keys: Sequence[PrivateKey], asked: Asked) -> Access:
    rows = tuple((own.row, record.place.region) for own in found for record in own.records)
    return Access(verb, asked.by, asked.reason, asked.case, name_keys(keys), rows)
