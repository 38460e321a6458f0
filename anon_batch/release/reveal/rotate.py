"""Change who can open what is sealed: every data key is wrapped again, by a new key, for the new recipients alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from anon_batch.errors import ConfigError, IntegrityError
from anon_batch.formats.access_log import Access, AccessLog
from anon_batch.formats.sealed import SealedShard
from anon_batch.formats.seals_json import Seals
from anon_batch.release.reveal.reveal import Asked
from anon_batch.release.reveal.sealed_release import SealedRelease, open_keks
from anon_batch.sealing.envelope import Kek, Sealed
from anon_batch.sealing.key_files import PrivateKey, PublicKey, WrongKeyError
from anon_batch.shards import effective


def rotate(place: SealedRelease, key: PrivateKey, to: Sequence[PublicKey], asked: Asked) -> Iterator[int]:
    """Wrap all keys again; yield the number of sealed regions of each shard when it is done.

    Keys that were copied before do not open with the new private keys, and with none once the old ones are destroyed. So what was
    erased from the ledger stays closed in copies of it. The same command again goes on where it was interrupted.

    Args:
        place: the release.
        key: private key of a recipient of today.
        to: the recipients from now on.
        asked: for the log.

    Raises:
        ConfigError: they are the recipients already, or one is named twice.
        IntegrityError: release, ledger or log is damaged, or something was changed.
        StorageError: something cannot be read or written.
    """
    wanted = sorted(own.key_id for own in to)
    if len(set(wanted)) < len(wanted):
        raise ConfigError("the new recipients: a key is named twice")
    if wanted == place.seals.key_ids:
        raise ConfigError("these are the recipients already; make a new key with `anon-batch keys new --seal FILE`")
    log = AccessLog(place.ledger)
    entry = Access("rotate", asked.by, asked.reason, asked.case, key.public.key_id, ())
    number, count = log.append(entry), 0
    for spec in effective(place.release.parts()):
        attempt = place.release.read_part(spec).meta.attempt
        sealed = place.store.read(spec, attempt, place.run_id)
        if not all(sorted(own.wrapped) == wanted for own in sealed.keks):
            place.store.put_keys(spec, attempt, _wrap_again(sealed, place.run_id, key, to))
        count += len(sealed.records)
        yield len(sealed.records)
    # The list of recipients comes last: until then the old key is known, and the same command can be repeated with it.
    place.store.replace_recipients(Seals.new(place.seals.what, tuple(to), place.run_id))
    outcome = f"{count} for keys {', '.join(wanted)}"
    log.append(dataclasses.replace(entry, outcome=outcome, of=number))


def _wrap_again(sealed: SealedShard, run_id: str, key: PrivateKey, to: Sequence[PublicKey]) -> SealedShard:
    new, old = Kek.new(run_id), open_keks(sealed.keks, key)
    try:
        records: tuple[Sealed, ...] = tuple(new.rewrap(own, old[own.kek_id]) for own in sealed.records)
    except (WrongKeyError, KeyError):
        raise IntegrityError("a wrapped key was changed; restore the ledger from a copy") from None
    return SealedShard(records, (new.wrap(to),))
