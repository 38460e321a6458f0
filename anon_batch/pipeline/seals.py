"""Prepare the seals of a run: read the recipients' keys, and keep them in the ledger, where later commands find them."""

from __future__ import annotations

from typing import NamedTuple

from anon_batch.config import JobConfig
from anon_batch.errors import ConfigError, ResumeRefusedError, StorageError
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.seal_store import SealStore
from anon_batch.formats.seals_json import Seals
from anon_batch.sealing.key_files import PublicKey, read_public_key
from anon_batch.storage import Storage, absolute, is_local


class _Asked(NamedTuple):
    what: str
    need: str
    keys: list[str]


_NEEDED = ("controller", "legal_basis", "dpia_reference", "retention")


def check_seals(config: JobConfig) -> None:
    """Check, before anything is written, that a job may keep its originals.

    Raises:
        ConfigError: `compliance` does not say who keeps them and why, or readers of the release could read the ledger.
    """
    if not config.seal.recipients:
        return
    stated = config.compliance.model_dump()
    stated["retention"] = stated["retention"] or stated["retention_until"]
    if missing := [name for name in _NEEDED if not stated[name]]:
        raise ConfigError(
            "seal: originals are personal data, and who keeps them has to say so; state "
            f"{', '.join(f'compliance.{name}' for name in missing)}"
        )
    output, ledger = absolute(config.output_uri), absolute(config.ledger_uri)
    if not is_local(output) and _bucket(output) == _bucket(ledger) and not config.seal.one_bucket:
        raise ConfigError(
            f"seal: output and ledger lie in one bucket ({_bucket(output)}), where one wrong policy gives readers of the release "
            "the sealed originals; name a ledger in another bucket, or set `seal.one_bucket: true`"
        )


def prepare_seals(config: JobConfig, ledger: Ledger, run_id: str) -> Seals | None:
    """Return the seals of a run; None if it keeps no originals.

    Raises:
        ConfigError: a key cannot be read.
        ResumeRefusedError: the run was started with other recipients, or its seal was destroyed.
    """
    wanted = tuple(_read_key(ledger.storage, address) for address in config.seal.recipients)
    if len({own.key_id for own in wanted}) < len(wanted):
        raise ConfigError("seal.recipients: names a key twice")
    store = SealStore(ledger)
    known = store.recipients()
    if known is None and wanted and not ledger.has_commits:
        known = store.publish_recipients(Seals.new(config.seal.what, wanted, run_id, config.seal.need))
    before = None if known is None else _Asked(known.what, known.need, known.key_ids)
    asked = _Asked(config.seal.what, config.seal.need, sorted(own.key_id for own in wanted)) if wanted else None
    if before != asked:
        raise ResumeRefusedError(
            f"{ledger.uri}: the run began with {_name(before)}, the job asks for {_name(asked)}. Run the original job again; "
            "`anon-batch keys rotate` changes the recipients of a finished run"
        )
    return known


def _read_key(storage: Storage, address: str) -> PublicKey:
    try:
        pem = storage.read(absolute(address))
    except StorageError as exc:
        raise ConfigError(f"seal.recipients: {exc}") from None
    return read_public_key(pem, f"seal.recipients: {address}")


def _bucket(uri: str) -> str:
    scheme, _, rest = uri.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


def _name(seals: _Asked | None) -> str:
    if seals is None:
        return "no seals"
    return f"seals (what: {seals.what}, need: {seals.need}) for {', '.join(key[:16] for key in seals.keys)}"
