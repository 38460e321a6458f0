"""Read the secrets of a run from the files that its job names, or make them in its ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from anon_batch.config import JobConfig
from anon_batch.errors import ConfigError, ResumeRefusedError, StorageError
from anon_batch.formats import layout
from anon_batch.formats.ledger import RUN_KEY_BYTES, Ledger
from anon_batch.storage import Storage, absolute
from anon_batch.storage.faults import writing


def read_run_key(config: JobConfig, ledger: Ledger, *, create: bool = False) -> bytes:
    """Return the secret that seeds derive from; with `create`, make one unless the job names a file.

    Raises:
        ConfigError: the job's file cannot be used.
        ResumeRefusedError: the key of the ledger does not exist any more.
    """
    if config.run_key_file is not None:
        return _read_key_file(ledger.storage, config.run_key_file, "run_key_file")
    if create:
        ledger.create_key(layout.LEDGER_RUN_KEY)
    key = ledger.run_key()
    if key is None:
        raise ResumeRefusedError(
            f"{ledger.address(layout.LEDGER_RUN_KEY)} does not exist: the run key was destroyed, so the run cannot be "
            "resumed with the same seeds. The release stays as it is"
        )
    return key


def identity_key_of(config: JobConfig, ledger: Ledger, *, create: bool = False) -> Callable[[], bytes] | None:
    """Return what reads the secret that persons' faces derive from; None if no person keeps a face.

    With `create`, it makes one unless the job names a file. What it returns raises as `_read_identity_key`.
    """
    return None if config.identity.scope == "none" else lambda: _read_identity_key(config, ledger, create=create)


def run_key_check(key: bytes) -> str:
    """Return what tells a run key from another one, and nothing else of it."""
    return hashlib.sha256(b"anon-batch run key check" + key).hexdigest()[:16]


def identity_key_check(key: bytes) -> str:
    """Return what tells an identity key from another one, and nothing else of it."""
    return hashlib.sha256(b"anon-batch identity key check" + key).hexdigest()[:16]


def _read_identity_key(config: JobConfig, ledger: Ledger, *, create: bool) -> bytes:
    """Return the identity key.

    Raises:
        ConfigError: the job's file cannot be used.
        ResumeRefusedError: the key of the ledger does not exist any more.
    """
    if config.identity.key_file is not None:
        return _read_key_file(ledger.storage, config.identity.key_file, "identity.key_file")
    if create:
        with writing("the ledger", "`ledger` or --output"):
            ledger.make_private()
            ledger.create_key(layout.LEDGER_IDENTITY_KEY)
    if (key := ledger.key(layout.LEDGER_IDENTITY_KEY)) is None:
        raise ResumeRefusedError(
            f"{ledger.address(layout.LEDGER_IDENTITY_KEY)} does not exist: the run began without `identity`, or its key was "
            "destroyed. The release stays as it is"
        )
    return key


def _read_key_file(storage: Storage, address: str, name: str) -> bytes:
    try:
        key = storage.read(absolute(address))
    except StorageError as exc:
        raise ConfigError(f"{name}: {exc}") from None
    if len(key) < RUN_KEY_BYTES:
        raise ConfigError(f"{name} {address}: {len(key)} bytes, needs at least {RUN_KEY_BYTES}")
    return key
