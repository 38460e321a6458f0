"""Prepare what a run keeps encrypted, sealed originals and the index of faces: read the keys, and note them in the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, get_args

from anon_batch.config import JobConfig, LinkConfig, SealConfig
from anon_batch.config.link import PINNED_EMBEDDERS
from anon_batch.errors import ConfigError, ResumeRefusedError, StorageError
from anon_batch.formats.layout import Kind
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.seal_store import SealStore
from anon_batch.formats.seals_json import Seals, What
from anon_batch.models.store import ModelStore
from anon_batch.recognition.embedder import load_embedder
from anon_batch.redaction import redact_address
from anon_batch.sealing.envelope import Need
from anon_batch.sealing.key_files import PublicKey, read_public_key
from anon_batch.storage import Storage, absolute, is_local

_NEEDED: Mapping[Kind, tuple[str, ...]] = {
    "seal": ("controller", "legal_basis", "dpia_reference", "retention"),
    "link": ("controller", "legal_basis", "dpia_reference", "retention", "art9_basis"),
}
_WHY: Mapping[Kind, str] = {
    "seal": "originals are personal data, and who keeps them has to say so",
    "link": "templates of faces are biometric data (Article 9 GDPR), and who keeps them has to say so",
}
_KEPT: Mapping[Kind, str] = {"seal": "the sealed originals", "link": "the index of faces"}


class Wanted(NamedTuple):
    """What a job asks to be kept encrypted.

    Args:
        what, need, about: see `Seals`.
        recipients: their public keys.
    """

    what: What
    recipients: tuple[PublicKey, ...]
    need: Need
    about: Mapping[str, Any]


def read_wanted(config: JobConfig, storage: Storage) -> dict[Kind, Wanted]:
    """Return what a job asks to be kept encrypted, by kind. Nothing is written.

    Raises:
        ConfigError: `compliance` does not say who keeps it and why, readers of the release could read the ledger, a key or the
            recogniser cannot be read, or one key is for two things.
        ModelError: the recogniser cannot be used.
    """
    asked = [kind for kind in get_args(Kind) if _section(config, kind).recipients]
    for kind in asked:
        _check(config, kind)
    keys = {kind: _read_keys(storage, config, kind) for kind in asked}
    ids = [own.key_id for recipients in keys.values() for own in recipients]
    if len(set(ids)) < len(ids):
        raise ConfigError(
            "link.recipients: names a key of seal.recipients; make one with `anon-batch keys new --link`, so that each can be "
            "destroyed alone"
        )
    return {kind: _wanted(config, storage, kind, own) for kind, own in keys.items()}


def prepare_kept(wanted: Mapping[Kind, Wanted], ledger: Ledger, run_id: str) -> dict[Kind, Seals]:
    """Return what a run keeps encrypted, and to whom, by kind; write it to the ledger of a run that begins.

    Raises:
        ResumeRefusedError: the run began with something else, or what it kept was destroyed.
    """
    kept: dict[Kind, Seals] = {}
    for kind in get_args(Kind):
        store, own = SealStore(ledger, kind), wanted.get(kind)
        known = store.recipients()
        asked = None if own is None else Seals.new(own.what, own.recipients, run_id, own.need, own.about)
        if known is None and asked is not None and not ledger.has_commits:
            known = store.publish_recipients(asked)
        if _compared(known) != _compared(asked):
            raise ResumeRefusedError(
                f"{ledger.uri}: the run began with {_name(kind, known)}, the job asks for {_name(kind, asked)}. Run the original "
                "job again; `anon-batch keys rotate` changes the recipients of a finished run"
            )
        if known is not None:
            kept[kind] = known
    return kept


def _section(config: JobConfig, kind: Kind) -> SealConfig | LinkConfig:
    return config.seal if kind == "seal" else config.link


def _check(config: JobConfig, kind: Kind) -> None:
    stated = config.compliance.model_dump()
    stated["retention"] = stated["retention"] or stated["retention_until"]
    if missing := [name for name in _NEEDED[kind] if not stated[name]]:
        raise ConfigError(f"{kind}: {_WHY[kind]}; state {', '.join(f'compliance.{name}' for name in missing)}")
    output, ledger = absolute(config.output_uri), absolute(config.ledger_uri)
    if not is_local(output) and _bucket(output) == _bucket(ledger) and not _section(config, kind).one_bucket:
        raise ConfigError(
            f"{kind}: output and ledger lie in one bucket ({_bucket(output)}), where one wrong policy gives readers of the "
            f"release {_KEPT[kind]}; name a ledger in another bucket, or set `{kind}.one_bucket: true`"
        )


def _read_keys(storage: Storage, config: JobConfig, kind: Kind) -> tuple[PublicKey, ...]:
    """Return the recipients' keys.

    Raises:
        ConfigError: one cannot be read, or is named twice.
    """
    found = []
    for address in _section(config, kind).recipients:
        try:
            pem = storage.read(absolute(address))
        except StorageError as exc:
            raise ConfigError(f"{kind}.recipients: {exc}") from None
        found.append(read_public_key(pem, f"{kind}.recipients: {address}"))
    if len({own.key_id for own in found}) < len(found):
        raise ConfigError(f"{kind}.recipients: names a key twice")
    return tuple(found)


def _wanted(config: JobConfig, storage: Storage, kind: Kind, recipients: tuple[PublicKey, ...]) -> Wanted:
    """Return what is kept, and how.

    Raises:
        ConfigError, ModelError: the recogniser cannot be read or used.
    """
    if kind == "seal":
        return Wanted(config.seal.what, recipients, config.seal.need, {})
    link = config.link
    address = link.embedder if link.embedder in PINNED_EMBEDDERS else absolute(link.embedder)
    if redact_address(address) != address:
        raise ConfigError(
            "link.embedder: an address with a password or a signature would stay in the ledger; copy the file to another one"
        )
    try:
        embedder = load_embedder(ModelStore(storage, config.models), address, 1)
    except StorageError as exc:
        raise ConfigError(f"link.embedder: {exc}") from None
    about = {
        "embedder": address,
        "features": embedder.facts(),
        "min_face_px": link.min_face_px,
        "max_false_hits": link.max_false_hits,
    }
    return Wanted("templates", recipients, link.need, about)


def _compared(seals: Seals | None) -> Any:
    """Return what a resume may not change."""
    about = {} if seals is None else seals.about
    return seals and (seals.what, seals.need, seals.key_ids, about.get("features"), about.get("min_face_px"))


def _bucket(uri: str) -> str:
    scheme, _, rest = uri.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


def _name(kind: Kind, seals: Seals | None) -> str:
    name = "seals" if kind == "seal" else "an index of faces (`link`)"
    if seals is None:
        return f"no {name.removeprefix('an ')}"
    said = [f"what: {seals.what}", f"need: {seals.need}"]
    if kind == "link":
        said += [f"recogniser {seals.about['features']['sha256'][:16]}", f"min_face_px: {seals.about['min_face_px']}"]
    return f"{name} ({', '.join(said)}) for {', '.join(key[:16] for key in seals.key_ids)}"
