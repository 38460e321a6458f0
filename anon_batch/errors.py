"""Every error that this package raises on purpose.

    AnonBatchError
    ├── UsageError                 the user can mend it before a run starts; exit code 2
    │   ├── ConfigError            a key of the job file or a command-line flag
    │   ├── ManifestError          the list of images or its ground truth
    │   ├── UnknownNameError       no such detector, method, model, layout
    │   ├── ModelError             weights that are missing or not the pinned ones
    │   └── ResumeRefusedError     OUTPUT belongs to a different job
    ├── StorageError               bytes in or out
    │   ├── ObjectNotFoundError
    │   ├── AccessDeniedError      this object, with these rights
    │   ├── CredentialsError       no or expired credentials: nothing more will work
    │   ├── StorageFullError       no space, no quota, or read-only: nothing more can be written
    │   ├── ObjectExistsError      a put-if-absent lost its race
    │   └── TransientStorageError  still failing after all retries; the shard is tried again
    ├── RowError                   one row ends here, with a reason code that may be published
    │   ├── FailedError            the source could not be read or understood; status `failed`
    │   └── WithheldError          no safe output could be made; status `withheld`
    └── IntegrityError             a release is not whole; exit code 3

Each class can be pickled: every constructor argument goes to `super().__init__`, as exceptions cross process borders.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class AnonBatchError(Exception):
    """Root of the tree.

    Attributes:
        retryable: whether the same call may succeed later without anybody changing anything.
        exit_code: what the command line returns when the error ends it.
    """

    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1


class UsageError(AnonBatchError):
    exit_code = 2


class ConfigError(UsageError):
    pass


class ManifestError(UsageError):
    pass


class UnknownNameError(UsageError):
    pass


class ModelError(UsageError):
    pass


class ResumeRefusedError(UsageError):
    pass


class StorageError(AnonBatchError):
    """Storage refused or failed.

    Args:
        message: what failed and how to mend it.
        uri: the object's address.
    """

    exit_code = 2

    def __init__(self, message: str, uri: str = "") -> None:
        super().__init__(message, uri)
        self.message = message
        self.uri = uri

    def __str__(self) -> str:
        return f"{self.message} [{self.uri}]" if self.uri else self.message


class ObjectNotFoundError(StorageError):
    pass


class AccessDeniedError(StorageError):
    pass


class CredentialsError(StorageError):
    pass


class StorageFullError(StorageError):
    pass


class ObjectExistsError(StorageError):
    pass


class TransientStorageError(StorageError):
    retryable = True


class RowError(AnonBatchError):
    """One manifest row ends.

    Args:
        reason: a code in snake_case; it is published in the provenance, so it never holds a path or other private text.
        detail: what happened, for the private audit.
    """

    status: ClassVar[str]

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


class FailedError(RowError):
    status = "failed"


class WithheldError(RowError):
    status = "withheld"


class IntegrityError(AnonBatchError):
    exit_code = 3


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Return the error for a name that does not exist; it suggests the nearest name and lists all.

    Args:
        kind: what was looked up, e.g. "detector".
        name: what the user wrote.
        known: the valid names.
    """
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return UnknownNameError(f"unknown {kind} {name!r}.{hint} Known: {', '.join(names) or 'none'}.")
