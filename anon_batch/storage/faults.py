"""Map errors of fsspec, its drivers and the operating system to StorageError: what failed, and whether a retry may help."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from anon_batch.errors import (
    AccessDeniedError,
    CredentialsError,
    ObjectExistsError,
    ObjectNotFoundError,
    ShortBodyError,
    StorageError,
    StorageFullError,
    ThrottledError,
    TransientStorageError,
)
from anon_batch.storage.addresses import is_http, is_local
from anon_batch.storage.answers import Answer, answer_of, chain

_MOST_TEXT = 300  # characters of a driver's message
_QUOTA = "the quota is used up; raise it or choose another place, then run again"
_FULL_ERRNO = {
    errno.ENOSPC: "no space left; free some or choose another place, then run again",
    errno.EDQUOT: _QUOTA,
    errno.EROFS: "the file system is read-only; choose another place",
}
_PERMANENT_ERRNO = {
    errno.EINVAL: "the store refuses the request",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOSYS: "the store cannot do this",
    errno.ELOOP: "too many links",
    errno.ENOTDIR: "a file stands where a folder is needed",
    errno.EISDIR: "a folder stands where a file is needed",
    errno.EFBIG: "the file is too large for the file system",
    errno.EMSGSIZE: "the object is too large for the store",
    errno.ENXIO: "not a regular file",
    errno.ENODEV: "not a regular file",
}
# Error codes of S3 and what speaks its protocol, of Google Cloud Storage and of Azure.
EXPIRED_CODES = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})
_CREDENTIAL_CODES = EXPIRED_CODES | {
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "RequestTimeTooSkewed", "InvalidSecurity"),
    *("AuthenticationFailed", "InvalidAuthenticationInfo", "NoAuthenticationInformation"),
    *("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "CredentialRetrievalError"),
    *("SSOTokenLoadError", "UnauthorizedSSOTokenError", "TokenRetrievalError"),
    *("DefaultCredentialsError", "RefreshError", "ClientAuthenticationError", "CredentialUnavailableError"),
}
_FULL_CODES = frozenset({"QuotaExceeded", "XMinioStorageFull"})  # of Ceph and MinIO
_MISSING = {
    **dict.fromkeys(("NoSuchKey", "NoSuchVersion", "NoSuchUpload", "BlobNotFound", "ResourceNotFound"), "not found"),
    **dict.fromkeys(("NoSuchBucket", "ContainerNotFound", "FilesystemNotFound"), "no such bucket or container"),
    **dict.fromkeys(("ContainerBeingDeleted", "AccountNotFound"), "no such bucket or container"),
}
_DENIED_CODES = frozenset({"AccessDenied", "AllAccessDisabled", "AccountProblem", "AccountIsDisabled", "InvalidPayer"})
_OTHER = {
    **dict.fromkeys(("InvalidObjectState", "BlobArchived"), "the object is archived; restore it first"),
    **dict.fromkeys(
        ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"),
        "the bucket is in another region; set its region or endpoint",
    ),
}
_THROTTLING_CODES = frozenset(
    {
        *(
            "SlowDown",
            "ServiceUnavailable",
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "RequestThrottled",
        ),
        *("TooManyRequests", "TooManyRequestsException", "RequestLimitExceeded", "BandwidthLimitExceeded"),
        *("KMS.ThrottlingException", "ServerBusy", "503", "429"),
    }
)
_TRANSIENT_CODES = frozenset(
    {
        *("InternalError", "OperationAborted", "ConditionalRequestConflict", "RequestTimeout", "TemporaryRedirect"),
        *("BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", "Md5Mismatch"),  # damaged in transit
        *("OperationTimedOut", "OperationTimeout", "AccountBeingCreated", "500", "409"),
    }
)
_TRANSIENT_STATUS = frozenset({408, 425})
_PERMANENT_STATUS = frozenset({501, 505, 506, 508, 510})  # of 5xx


def translate(exc: Exception, uri: str) -> StorageError:
    """Return the storage error for another error. Because an unknown error may be transient, it is retried."""
    answer = answer_of(exc)
    if isinstance(exc, FileNotFoundError) and isinstance(exc.__cause__, Exception) and answer.status not in (None, 404):
        exc = exc.__cause__  # because fsspec hides every error of `info` this way
    if isinstance(exc, FileExistsError) or answer.code in ("PreconditionFailed", "412", "BlobAlreadyExists"):
        return ObjectExistsError("already there", uri)
    return (
        _from_code(exc, answer, uri)
        or _from_status(exc, answer, uri)
        or _from_connection(exc, uri)
        or _from_type(exc, uri)
        or TransientStorageError(describe(exc), uri)
    )


def describe(exc: BaseException) -> str:
    """Return what a store or a driver said in one line: the error's name and its text."""
    text = " ".join(str(getattr(exc, "strerror", None) or exc).split())
    code = answer_of(exc).code
    name = code if code and not code.isdecimal() else type(exc).__name__
    return f"{name}: {text[:_MOST_TEXT]}" if text else name


def _from_code(exc: Exception, answer: Answer, uri: str) -> StorageError | None:
    code = answer.code
    names = {code, *(type(link).__name__ for link in chain(exc))}
    if names & _CREDENTIAL_CODES and not getattr(exc, "retryable", False):
        return CredentialsError(f"no valid credentials ({describe(exc)}); renew them, then run again", uri)
    if code in _THROTTLING_CODES:
        return throttled(exc, answer, uri)
    if code in _TRANSIENT_CODES:
        return TransientStorageError(describe(exc), uri)
    if code in _FULL_CODES:
        return StorageFullError(_QUOTA, uri)
    if code in _MISSING:
        return ObjectNotFoundError(_MISSING[code], uri)
    if code in _OTHER:
        return StorageError(f"{_OTHER[code]} ({describe(exc)})", uri)
    if code in _DENIED_CODES or code.startswith(("KMS.", "KeyVault", "Authorization")):
        return _denied(exc, uri)
    return None


def _from_status(exc: Exception, answer: Answer, uri: str) -> StorageError | None:
    status = answer.status
    if status is None:
        return None
    if status == 429 or (status == 503 and (answer.wait_s is not None or not is_http(uri))):
        return throttled(exc, answer, uri)
    if status in (404, 410):
        return ObjectNotFoundError("not found" if status == 404 else "gone for good", uri)
    if status == 401 and not is_http(uri):
        return CredentialsError(f"no valid credentials ({describe(exc)}); renew them, then run again", uri)
    if status in (401, 403, 407, 451, 511):
        return _denied(exc, uri)
    if status == 507:
        return StorageFullError(_FULL_ERRNO[errno.ENOSPC], uri)
    if status in _TRANSIENT_STATUS or (500 <= status < 600 and status not in _PERMANENT_STATUS):
        return TransientStorageError(describe(exc), uri)
    if isinstance(exc, OSError) and exc.errno in _PERMANENT_ERRNO:
        return None  # its text says more
    return StorageError(f"the server refuses the request ({describe(exc)})", uri)


def _from_connection(exc: Exception, uri: str) -> StorageError | None:
    """Tell errors of names, certificates, redirects and encodings, which stay, from those that pass."""
    for link in chain(exc):
        names = {kind.__name__ for kind in type(link).__mro__}
        if isinstance(link, ssl.SSLCertVerificationError) or "ClientConnectorCertificateError" in names:
            return StorageError(f"the server's certificate is not valid ({describe(link)})", uri)
        if isinstance(link, ssl.SSLError) and getattr(link, "reason", "") in (
            "WRONG_VERSION_NUMBER",
            "UNSUPPORTED_PROTOCOL",
        ):
            return StorageError(f"the server does not speak TLS as this client does ({describe(link)})", uri)
        if isinstance(link, socket.gaierror) and link.errno in (socket.EAI_NONAME, _NO_DATA):
            return StorageError(f"no such host ({describe(link)}); correct the address", uri)
        if names & {"TooManyRedirects", "TooManyRedirectsError"}:
            return StorageError(f"the server redirects in a circle ({describe(link)})", uri)
        if "NonHttpUrlClientError" in names:
            return StorageError("the server redirects to an address that is not HTTP", uri)
        if "ContentEncodingError" in names or "Can not decode content-encoding" in str(link):
            return StorageError(f"the body is not encoded as announced ({describe(link)})", uri)
        is_reset = "ConnectionResetError" in str(link)  # aiohttp keeps it as text only
        if names & {"ClientPayloadError", "IncompleteReadError", "IncompleteRead"} and not is_reset:
            return ShortBodyError(f"the body ended early ({describe(link)})", uri)
    return None


_NO_DATA = getattr(socket, "EAI_NODATA", socket.EAI_NONAME)


def _from_type(exc: Exception, uri: str) -> StorageError | None:
    if isinstance(exc, FileNotFoundError):
        behind = exc.__cause__
        if isinstance(behind, (OSError, asyncio.TimeoutError)) and not isinstance(behind, FileNotFoundError):
            return TransientStorageError(describe(behind), uri)  # no answer at all, hidden in the same way
        return ObjectNotFoundError("not found", uri)
    if isinstance(exc, PermissionError) or (type(exc) is OSError and str(exc).startswith("Forbidden: ")):  # gcsfs
        return _denied(exc, uri)
    if isinstance(exc, OSError) and exc.errno in _FULL_ERRNO:
        return StorageFullError(_FULL_ERRNO[exc.errno], uri)
    if isinstance(exc, OSError) and exc.errno in _PERMANENT_ERRNO:
        detail = f": {exc}" if exc.errno == errno.EINVAL else ""
        return StorageError(_PERMANENT_ERRNO[exc.errno] + detail, uri)
    if isinstance(exc, ValueError) or type(exc).__name__ == "ParamValidationError":
        return StorageError(f"not an address: {describe(exc)}", uri)
    if isinstance(exc, (TypeError, NotImplementedError)):
        return StorageError(f"the driver of this address cannot do this: {exc}", uri)
    return None


def throttled(exc: BaseException, answer: Answer, uri: str) -> ThrottledError:
    """Return the error of a store that asks for fewer requests."""
    error = ThrottledError(f"throttled ({describe(exc)})", uri)
    error.wait_s = answer.wait_s
    return error


def _denied(exc: Exception, uri: str) -> AccessDeniedError:
    what = "the folder's permissions" if is_local(uri) else "the credentials and rights"
    return AccessDeniedError(f"access denied ({describe(exc)}); check {what}", uri)


@contextmanager
def writing(what: str, option: str) -> Iterator[None]:
    """Add to a storage error in the block what could not be written, and the option that names another place."""
    try:
        yield
    except StorageError as exc:
        elsewhere = "" if exc.retryable else f"; or choose another place with {option}"
        message = f"{what} cannot be written: {exc.message}{elsewhere}"
        raise type(exc)(message, exc.uri) from exc
