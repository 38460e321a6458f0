"""Every error that this package raises on purpose, and the exit codes of the command line.

    AnonBatchError
    ├── UsageError                 the caller has to change something before a run can start; exit code 2
    │   ├── ConfigError            a key of the job file or a command-line flag
    │   ├── ManifestError          the list of images or its ground truth
    │   ├── UnknownNameError       no such detector, method, model, layout
    │   ├── ModelError             weights that are missing or differ from the pinned digest
    │   └── ResumeRefusedError     OUTPUT belongs to a different job
    ├── RunStoppedError            a non-retryable error stopped the run; exit code 2
    ├── StorageError               a storage read or write failed; exit code 2, 75 if transient
    │   ├── ObjectNotFoundError
    │   ├── AccessDeniedError      no permission for this object
    │   ├── SourceRefusedError     `sources.allow` does not cover an address that the manifest names
    │   ├── CredentialsError       no credentials, or expired ones: no further call can succeed
    │   ├── StorageFullError       no space, no quota, or read-only: no further write can succeed
    │   ├── ObjectExistsError      a put-if-absent found an object of another writer
    │   └── TransientStorageError  still failing after all retries; the shard is retried
    │       ├── ThrottledError     the store asks for fewer requests
    │       ├── ShortBodyError     a body ended before its announced length
    │       └── ObjectUnavailableError   this object keeps failing while its store answers others; its row ends
    │           └── TruncatedObjectError its body always ends early
    ├── ClusterError               Ray lost all workers; exit code 75
    ├── StoppedError               SIGINT, an explicit stop, a deadline or a budget; exit code 130
    ├── TerminatedError            SIGTERM from a machine that shuts down; exit code 75
    ├── RowError                   one row ends here, with a reason code that may be published
    │   ├── FailedError            the source could not be read or decoded; status `failed`
    │   └── WithheldError          no safe output could be made; status `withheld`
    └── IntegrityError             a release is not complete or not consistent; exit code 3

Each class can be pickled: every constructor argument goes to `super().__init__`, because exceptions cross process borders.
"""

from __future__ import annotations

import difflib
import re
import traceback
from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path
from typing import ClassVar, Literal

from anon_batch.memory import is_out_of_memory
from anon_batch.reasons import REASONS
from anon_batch.redaction import redact, redact_address

_SHOWN_FRAMES = 4


class ExitCode(IntEnum):
    """What the command line returns.

    Attributes:
        meaning: what happened.
        action: what the caller should do next.
    """

    meaning: str
    action: str

    def __new__(cls, value: int, meaning: str, action: str) -> ExitCode:
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        member.action = action
        return member

    FINISHED = (0, "finished, all gates passed", "nothing")
    UNEXPECTED = (1, "unexpected error, a bug in anon-batch", "report it with the traceback that the message names")
    USAGE = (
        2,
        "wrong usage or configuration, refused resume, a non-retryable error, or every row failed for one reason",
        "fix what the message names, then run the command again",
    )
    INTEGRITY = (
        3,
        "a release or a file of a run is damaged or incomplete",
        "restore the objects that the message names from a copy, or run the job again with another output",
    )
    GATE_EXCEEDED = (
        10,
        "finished, but a gate was exceeded",
        "look at gates.json and the reasons; fix the cause, or change the gate and run the command again",
    )
    TRY_AGAIN = (
        75,
        "storage or the cluster kept failing, or SIGTERM ended the command",
        "run the same command again; it resumes",
    )
    STOPPED = (
        130,
        "stopped on purpose (Ctrl-C, `submit --stop`, a deadline or a budget)",
        "run the same command again to resume",
    )


class AnonBatchError(Exception):
    """Root of the tree.

    Attributes:
        retryable: whether the same call may succeed later without any change by the caller.
        exit_code: what the command line returns when this error ends a command.
    """

    retryable: ClassVar[bool] = False
    exit_code: ClassVar[ExitCode] = ExitCode.UNEXPECTED


class UsageError(AnonBatchError):
    exit_code = ExitCode.USAGE


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
    """A storage call failed. Neither text nor address hold credentials, because they are taken out here.

    Args:
        message: what failed and how to fix it.
        uri: address of the object.
    """

    exit_code = ExitCode.USAGE

    def __init__(self, message: str, uri: str = "") -> None:
        address = redact_address(uri)
        self.message = redact(message.replace(uri, address) if uri else message)
        self.uri = address
        super().__init__(self.message, self.uri)

    def __str__(self) -> str:
        return f"{self.message} [{self.uri}]" if self.uri else self.message


class ObjectNotFoundError(StorageError):
    pass


class AccessDeniedError(StorageError):
    pass


class SourceRefusedError(StorageError):
    pass


class CredentialsError(StorageError):
    pass


class StorageFullError(StorageError):
    pass


class ObjectExistsError(StorageError):
    pass


class TransientStorageError(StorageError):
    retryable = True
    exit_code = ExitCode.TRY_AGAIN


class ThrottledError(TransientStorageError):
    """The store asks for fewer requests.

    Attributes:
        wait_s: pause that it asks for, in seconds; None if it names none.
    """

    wait_s: float | None = None


class ShortBodyError(TransientStorageError):
    pass


class ServiceUnavailableError(TransientStorageError):
    """A detector that is a service answers nobody; the shard is tried again, as where a store is away."""


class ObjectUnavailableError(TransientStorageError):
    pass


class TruncatedObjectError(ObjectUnavailableError):
    pass


class RunStoppedError(AnonBatchError):
    """A non-retryable error stopped a run; committed shards stay, the same command resumes."""

    exit_code = ExitCode.USAGE


class ClusterError(AnonBatchError):
    """The Ray cluster lost all workers or the connection; committed shards stay, the same command resumes."""

    retryable = True
    exit_code = ExitCode.TRY_AGAIN


class StoppedError(AnonBatchError):
    """The user stopped a command: SIGINT, `submit --stop`, a deadline or a budget."""

    exit_code = ExitCode.STOPPED


class TerminatedError(AnonBatchError):
    """SIGTERM ended a command, e.g. because its machine shuts down."""

    retryable = True
    exit_code = ExitCode.TRY_AGAIN


class RowError(AnonBatchError):
    """One manifest row ends without an output.

    Args:
        reason: a code of `anon_batch.reasons`; it is published in the provenance, so it never holds a path or other private text.
        detail: what happened, for the private audit.

    Raises:
        ValueError: the code is unknown, or belongs to the other status.
    """

    status: ClassVar[Literal["failed", "withheld"]]

    def __init__(self, reason: str, detail: str = "") -> None:
        if reason not in REASONS or REASONS[reason].status != self.status:
            raise ValueError(f"{reason!r} is not a reason code of status {self.status}; see anon_batch.reasons")
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


class FailedError(RowError):
    status = "failed"


class WithheldError(RowError):
    status = "withheld"


def row_error(exc: Exception, kind: type[RowError], reason: str, detail: str = "") -> RowError:
    """Return the error that ends a row, for an exception that is being handled.

    Args:
        exc: a RowError stands for itself; a lack of memory, also as its cause, is `out_of_memory`, whatever else it says.
        kind: class for any other exception.
        reason: its code.
        detail: what failed; the traceback follows.
    """
    if isinstance(exc, RowError) and not (exc.__cause__ and is_out_of_memory(exc.__cause__)):
        return exc
    text = f"{detail}{traceback.format_exc()}"
    return WithheldError("out_of_memory", text) if is_out_of_memory(exc) else kind(reason, text)


class IntegrityError(AnonBatchError):
    exit_code = ExitCode.INTEGRITY


def error_code(exc: BaseException) -> str:
    """Return a word for an error that names nothing of the user's, e.g. `throttled`; `unexpected` for foreign classes."""
    if isinstance(exc, AnonBatchError):
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(exc).__name__.removesuffix("Error")).lower()
    return "out_of_memory" if is_out_of_memory(exc) else "unexpected"


def trace_without_text(exc: BaseException) -> str:
    """Return class and places of an error, innermost first, without its text, which may name an image or a source."""
    places = [
        f"{frame.name} ({'/'.join(Path(frame.filename).parts[-2:])}:{frame.lineno})"
        for frame in reversed(traceback.extract_tb(exc.__traceback__)[-_SHOWN_FRAMES:])
    ]
    return " < ".join((type(exc).__name__, *places))


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
