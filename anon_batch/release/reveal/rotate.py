"""Change who can open seals or the index of faces: every data key is wrapped again, for the new recipients alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from anon_batch.errors import ConfigError, IntegrityError, ResumeRefusedError
from anon_batch.formats.access_log import Access, AccessLog
from anon_batch.formats.rotation_json import Rotation
from anon_batch.formats.sealed import SealedShard
from anon_batch.formats.seals_json import Seals
from anon_batch.release.reveal.reveal import Asked
from anon_batch.release.reveal.sealed_release import SealedRelease, name_keys, open_keks
from anon_batch.sealing.envelope import Kek, Need, Sealed
from anon_batch.sealing.key_files import PrivateKey, PublicKey, WrongKeyError
from anon_batch.shards import effective


def rotate(
    place: SealedRelease, keys: Sequence[PrivateKey], to: Sequence[PublicKey], asked: Asked, need: Need = "any"
) -> Iterator[int]:
    """Wrap all keys again; yield the number of records of each shard when it is done.

    Keys that were copied before do not open with the new private keys, and with none once the old ones are destroyed. So what was
    erased from the ledger stays closed in copies of it. The same command again goes on where it was interrupted.

    Args:
        place: the release.
        keys: private keys of recipients of today, as many as are needed.
        to: the recipients from now on.
        asked: for the log.
        need: how many of them are needed from now on.

    Raises:
        ConfigError: they are the recipients already, or one is named twice.
        ResumeRefusedError: another change of the recipients, or a new version, has begun and did not end.
        IntegrityError: release, ledger or log is damaged, or something was changed.
        StorageError: something cannot be read or written.
    """
    wanted = Rotation(tuple(sorted(own.key_id for own in to)), need)
    if len(set(wanted.key_ids)) < len(wanted.key_ids):
        raise ConfigError("the new recipients: a key is named twice")
    if wanted.leads_to(place.seals):
        raise ConfigError(
            f"these are the recipients already; make a new key with `anon-batch keys new --{place.kind} FILE`"
        )
    _claim(place, wanted)
    log = AccessLog(place.ledger)
    entry = Access("rotate", asked.by, asked.reason, asked.case, name_keys(keys), ())
    number, count = log.append(entry), 0
    for spec in effective(place.release.parts()):
        attempt = place.release.read_part(spec).meta.attempt
        sealed = place.store.read(spec, attempt, place.run_id)
        if not all((sorted(own.wrapped), own.need) == (list(wanted.key_ids), need) for own in sealed.keks):
            place.store.put_keys(spec, attempt, _wrap_again(sealed, place.run_id, keys, to, need))
        count += len(sealed.records)
        yield len(sealed.records)
    # The list of recipients comes last: until then the old key is known, and the same command can be repeated with it.
    seals = Seals.new(place.seals.what, tuple(to), place.run_id, need, place.seals.about)
    place.store.end_rotation(seals)
    outcome = f"{count} for keys {', '.join(wanted.key_ids)}"
    log.append(dataclasses.replace(entry, outcome=outcome, of=number))


def _claim(place: SealedRelease, wanted: Rotation) -> None:
    """Claim the change for these recipients.

    A new version publishes its plan first and looks for a change of recipients then; this does it the other way round. So at
    least one of the two sees the other. A change whose keys may be wrapped began before any version that is planned now.
    """
    if place.ledger.version_in_the_making() is not None and place.store.rotation() is None:
        raise _version_first(place)
    begun = place.store.begin_rotation(wanted)
    if not begun.is_like(wanted):
        names = ", ".join(own[:16] for own in begun.key_ids)
        raise ResumeRefusedError(
            f"{place.ledger.uri}: a change of the recipients to {names} (need: {begun.need}) has begun and did not end. Run that "
            "command again to finish it, then this one"
        )
    if begun.wraps:
        return
    if place.ledger.version_in_the_making() is not None:
        place.store.give_up_rotation()
        raise _version_first(place)
    place.store.note_rotation(dataclasses.replace(wanted, wraps=True))


def _version_first(place: SealedRelease) -> ResumeRefusedError:
    return ResumeRefusedError(
        f"{place.ledger.uri}: a new version of the release has begun and did not end. Run the command that began it again, then "
        "this one"
    )


def _wrap_again(
    sealed: SealedShard, run_id: str, keys: Sequence[PrivateKey], to: Sequence[PublicKey], need: Need
) -> SealedShard:
    new, old = Kek.new(run_id), open_keks(sealed.keks, keys)
    try:
        records: tuple[Sealed, ...] = tuple(new.rewrap(own, old[own.kek_id]) for own in sealed.records)
    except (WrongKeyError, KeyError):
        raise IntegrityError("a wrapped key was changed; restore the ledger from a copy") from None
    return SealedShard(records, (new.wrap(to, need),))
