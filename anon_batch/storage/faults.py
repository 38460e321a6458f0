"""Map errors of fsspec, its drivers and the operating system to StorageError."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from anon_batch.errors import (
    AccessDeniedError,
    CredentialsError,
    ObjectExistsError,
    ObjectNotFoundError,
    StorageError,
    StorageFullError,
    TransientStorageError,
)
from anon_batch.storage.addresses import is_local

_FULL_ERRNO = {
    errno.ENOSPC: "no space left; free some or choose another place, then run again",
    errno.EDQUOT: "the quota is used up; raise it or choose another place, then run again",
    errno.EROFS: "the file system is read-only; choose another place",
}
_CREDENTIAL_FAULTS = frozenset(
    {
        "ExpiredToken",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "ExpiredTokenException",
        "RequestExpired",
        "TokenRefreshRequired",
        "NoCredentialsError",
        "PartialCredentialsError",
        "ProfileNotFound",
        "SSOTokenLoadError",
        "UnauthorizedSSOTokenError",
    }
)
_FULL_CODES = frozenset({"QuotaExceeded", "XMinioStorageFull"})  # of Ceph and MinIO
_DAMAGED_CODES = frozenset({"BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch"})  # in transit
_PERMANENT_ERRNO = {
    errno.EINVAL: "the store refuses the request",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOSYS: "the store cannot do this",
    errno.ELOOP: "too many links",
    errno.ENOTDIR: "a file stands where a folder is needed",
    errno.EISDIR: "a folder stands where a file is needed",
}


def translate(exc: Exception, uri: str) -> StorageError:
    """Return the storage error for another error. Because an unknown error may be transient, it is retried."""
    code = s3_code(exc)
    if isinstance(exc, FileExistsError) or code in ("PreconditionFailed", "412"):
        return ObjectExistsError("already there", uri)
    if isinstance(exc, FileNotFoundError):
        return ObjectNotFoundError("not found", uri)
    if {code, type(exc).__name__} & _CREDENTIAL_FAULTS:
        return CredentialsError(f"no valid credentials ({exc}); renew them, then run again", uri)
    if isinstance(exc, PermissionError):
        what = "the folder's permissions" if is_local(uri) else "the credentials and rights"
        return AccessDeniedError(f"access denied ({exc}); check {what}", uri)
    if isinstance(exc, OSError) and exc.errno in _FULL_ERRNO:
        return StorageFullError(_FULL_ERRNO[exc.errno], uri)
    if code in _FULL_CODES:
        return StorageFullError(_FULL_ERRNO[errno.EDQUOT], uri)
    if isinstance(exc, OSError) and exc.errno in _PERMANENT_ERRNO and code not in _DAMAGED_CODES:
        detail = f": {exc}" if exc.errno == errno.EINVAL else ""
        return StorageError(_PERMANENT_ERRNO[exc.errno] + detail, uri)
    if isinstance(exc, ValueError):
        return StorageError(f"not an address: {exc}", uri)
    if isinstance(exc, (TypeError, NotImplementedError)):
        return StorageError(f"the driver of this address cannot do this: {exc}", uri)
    return TransientStorageError(f"{type(exc).__name__}: {exc}", uri)


def s3_code(exc: BaseException) -> str:
    """Return the S3 error code of an exception, or "". Because s3fs maps some codes to errnos, look at its cause too."""
    for link in (exc, exc.__cause__):
        response = getattr(link, "response", None)
        if isinstance(response, Mapping):
            return str(response.get("Error", {}).get("Code", ""))
    return ""


@contextmanager
def writing(what: str, option: str) -> Iterator[None]:
    """Add to a storage error in the block what could not be written, and the option that names another place."""
    try:
        yield
    except StorageError as exc:
        message = f"{what} cannot be written: {exc.message}; or choose another place with {option}"
        raise type(exc)(message, exc.uri) from exc
