"""Bytes in and out of any address that fsspec knows: one place for retries, atomic puts and the mapping of foreign errors.

An address is `s3://bucket/key`, `gs://...`, `memory://...`, `https://...` or a local path. Every object is put whole: nothing is
visible under its name before all of it is there.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar, cast

import fsspec
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from anon_batch.config import StorageConfig
from anon_batch.errors import (
    AccessDeniedError,
    CredentialsError,
    ObjectExistsError,
    ObjectNotFoundError,
    StorageError,
    StorageFullError,
    TransientStorageError,
)

PARTIAL_PREFIX = ".partial-"  # files that a killed process left half-written on a local disk
_SINGLE_PUT_BYTES = 2**31  # s3fs turns larger creates into multipart uploads, where some stores ignore If-None-Match
_PARALLEL_PARTS = 10  # of a multipart upload
_RETRY_CAP_S = 20.0
_READ_AHEAD_BYTES = 4 * 2**20  # of `open`: a footer in one request, and few requests for a long text
_T = TypeVar("_T")


class ObjectInfo(NamedTuple):
    """One listed object: its key relative to the listed prefix, "/"-separated, and its size."""

    key: str
    size_bytes: int


def join(base: str, key: str) -> str:
    """Address of `key` below `base`."""
    root = base if base.endswith("://") else base.rstrip("/") + "/"
    return root + key.lstrip("/")


def is_local(uri: str) -> bool:
    """Whether the address is a path on this machine's file system."""
    return ("://" not in uri and "::" not in uri) or uri.startswith(("file://", "local://"))


def absolute(uri: str) -> str:
    """The address with a local path made absolute; URLs stay as they are."""
    if not is_local(uri):
        return uri
    return os.path.abspath(os.path.expanduser(_local_path(uri)))


def _local_path(uri: str) -> str:
    for scheme in ("file://", "local://"):
        uri = uri.removeprefix(scheme)
    return uri


class Storage:
    """Reads, lists and puts objects. Cheap to pickle: file systems are opened where they are used.

    Args:
        config: options by prefix, encryption, retries.

    All methods raise errors of the StorageError branch only. A call that failed for a passing reason is repeated
    `config.retries` times before it raises TransientStorageError.
    """

    def __init__(self, config: StorageConfig | None = None) -> None:
        self._config = config or StorageConfig()

    def filesystem(self, uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
        """The fsspec file system of an address, and the path inside it."""
        try:
            fs, path = fsspec.core.url_to_fs(uri, **self._options(uri))
        except ImportError as exc:
            raise StorageError(f"no driver for this address: {exc}; install the package it names", uri) from None
        except (ValueError, TypeError) as exc:
            raise StorageError(f"not an address: {exc}", uri) from None
        if _is_s3(uri):
            fs.retries = 1  # one layer of retries, ours: s3fs times botocore would ask 25 times
            fs.max_concurrency = 1  # else each `read` asks for the size first: two requests for every small picture
        return fs, cast(str, path)

    def read(self, uri: str, offset: int | None = None, length: int | None = None) -> bytes:
        """The object's bytes, or `length` of them from `offset` (fewer where it ends before)."""
        return self._retry(uri, lambda: self._read(uri, offset, length))

    def size(self, uri: str) -> int:
        """The object's size in bytes."""
        fs, path = self.filesystem(uri)
        size = self._retry(uri, lambda: self._with_reason(uri, lambda: fs.size(path)))
        if size is None:
            raise StorageError("the server does not tell the size; copy it to a store that does", uri)
        return int(size)

    def exists(self, uri: str) -> bool:
        """Whether an object (or folder) is there."""
        if is_local(uri):
            return os.path.exists(_local_path(uri))
        fs, path = self.filesystem(uri)
        return bool(self._retry(uri, lambda: self._with_reason(uri, lambda: fs.exists(path))))

    def list(self, uri: str) -> Iterator[ObjectInfo]:
        """All objects below a prefix, folder by folder in a fixed order; nothing if nothing is there."""
        if is_local(uri):
            yield from _walk_local(Path(_local_path(uri)))
            return
        fs, path = self.filesystem(uri)
        root = path.rstrip("/")
        yield from self._walk(fs, uri, root, root)

    def put(self, uri: str, data: bytes) -> None:
        """Writes the whole object, replacing what is there."""
        self._retry(uri, lambda: self._put(uri, data))

    def put_if_absent(self, uri: str, data: bytes) -> None:
        """Writes the object if nobody has.

        A put whose answer was lost is repeated and then finds itself: an existing object of the very same bytes counts as
        ours, so callers that must tell two writers apart put something unique into `data`.

        Raises:
            ObjectExistsError: there is an object with other bytes.
        """
        try:
            self._retry(uri, lambda: self._create(uri, data))
        except ObjectExistsError:
            if self.read(uri) != data:
                raise

    def delete(self, uri: str) -> None:
        """Removes the object; one that is not there is fine."""
        with contextlib.suppress(ObjectNotFoundError):
            if is_local(uri):
                self._retry(uri, lambda: os.unlink(_local_path(uri)))
                return
            fs, path = self.filesystem(uri)
            self._retry(uri, lambda: fs.rm_file(path))

    def open(self, uri: str) -> BinaryIO:
        """A seekable reader, for libraries that want a file; the caller closes it.

        Its reads are `read`'s of ranges: retried as those are, with the same errors.
        """
        if is_local(uri):
            fs, path = self.filesystem(uri)
            return cast(BinaryIO, self._retry(uri, lambda: fs.open(path, "rb")))
        return cast(BinaryIO, io.BufferedReader(_Ranges(self, uri, self.size(uri)), _READ_AHEAD_BYTES))

    def make_private(self, uri: str) -> None:
        """Makes a local folder that only its owner can enter; elsewhere the bucket's policy decides."""
        if not is_local(uri):
            return

        def make() -> None:
            os.makedirs(_local_path(uri), exist_ok=True)
            os.chmod(_local_path(uri), 0o700)

        self._retry(uri, make)

    def sweep_partials(self, uri: str) -> int:
        """Removes what killed processes left half-written below a local folder; returns how many. No-op elsewhere."""
        if not is_local(uri):
            return 0
        swept = 0
        for folder, _, names in os.walk(_local_path(uri)):
            for name in names:
                if name.startswith(PARTIAL_PREFIX):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(os.path.join(folder, name))
                        swept += 1
        return swept

    def _options(self, uri: str) -> dict[str, Any]:
        matching = [prefix for prefix in self._config.options if uri.startswith(prefix)]
        options = dict(self._config.options[max(matching, key=len)]) if matching else {}
        if _is_s3(uri):
            options.setdefault("use_listings_cache", False)
            options["config_kwargs"] = {
                "retries": {"max_attempts": 0},
                "max_pool_connections": 64,
                **options.get("config_kwargs", {}),
            }
            options["s3_additional_kwargs"] = {**_encryption(self._config), **options.get("s3_additional_kwargs", {})}
        return options

    def _read(self, uri: str, offset: int | None, length: int | None) -> bytes:
        if is_local(uri):
            with open(_local_path(uri), "rb") as file:
                if offset:
                    file.seek(offset)
                return file.read() if length is None else file.read(length)
        fs, path = self.filesystem(uri)
        if offset is None and length is None:
            return cast(bytes, fs.cat_file(path))
        start = offset or 0
        try:
            return cast(bytes, fs.cat_file(path, start=start, end=None if length is None else start + length))
        except OSError as exc:
            if _s3_code(exc) in ("InvalidRange", "416"):  # the object ends before `offset`, or is empty
                return b""
            raise

    def _with_reason(self, uri: str, head: Callable[[], _T]) -> _T:
        """Calls what asks by HEAD. S3 says no more than 400 or 403 then, also to an expired token; GET's refusal has the code."""
        try:
            return head()
        except OSError as exc:
            if _s3_code(exc) in ("400", "403"):
                self._read(uri, 0, 1)
            raise

    def _put(self, uri: str, data: bytes) -> None:
        if is_local(uri):
            _put_local(Path(_local_path(uri)), data, create=False)
            return
        fs, path = self.filesystem(uri)
        fs.pipe_file(path, data, **({"max_concurrency": _PARALLEL_PARTS} if _is_s3(uri) else {}))

    def _create(self, uri: str, data: bytes) -> None:
        if is_local(uri):
            _put_local(Path(_local_path(uri)), data, create=True)
            return
        fs, path = self.filesystem(uri)
        options = {"chunksize": _SINGLE_PUT_BYTES} if _is_s3(uri) else {}
        fs.pipe_file(path, data, mode="create", **options)

    def _walk(self, fs: fsspec.AbstractFileSystem, uri: str, folder: str, root: str) -> Iterator[ObjectInfo]:
        try:
            entries = self._retry(uri, lambda: fs.ls(folder, detail=True))
        except ObjectNotFoundError:
            return
        for entry in sorted(entries, key=lambda e: str(e["name"])):
            name = str(entry["name"]).rstrip("/")
            if entry["type"] == "directory":
                if name != folder.rstrip("/"):
                    yield from self._walk(fs, uri, name, root)
            elif name != root:  # object stores may list a zero-byte object that marks the folder itself
                yield ObjectInfo(name[len(root) :].lstrip("/"), int(entry["size"] or 0))

    def _retry(self, uri: str, call: Callable[[], _T]) -> _T:
        def translated() -> _T:
            try:
                return call()
            except StorageError:
                raise
            except Exception as exc:
                raise _translate(exc, uri) from exc

        return Retrying(
            retry=retry_if_exception_type(TransientStorageError),
            stop=stop_after_attempt(1 + self._config.retries),
            wait=wait_random_exponential(multiplier=self._config.retry_wait_s, max=_RETRY_CAP_S),
            reraise=True,
        )(translated)


class _Ranges(io.RawIOBase):
    """An object as a file: each read is a request for a range, through the storage's retries."""

    def __init__(self, storage: Storage, uri: str, size_bytes: int) -> None:
        self._storage, self._uri, self._size, self._at = storage, uri, size_bytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = self._take(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return self._take(self._size - self._at)

    def _take(self, length: int) -> bytes:
        length = min(length, self._size - self._at)
        data = self._storage.read(self._uri, self._at, length) if length > 0 else b""
        if len(data) < length:  # an end before the end would pass as a shorter, whole file
            raise StorageError("the object became shorter while it was read", self._uri)
        self._at += len(data)
        return data


def _is_s3(uri: str) -> bool:
    return uri.startswith(("s3://", "s3a://"))


def _encryption(config: StorageConfig) -> Mapping[str, str]:
    kwargs = {}
    if config.sse:
        kwargs["ServerSideEncryption"] = config.sse
    if config.sse_kms_key_id:
        kwargs["SSEKMSKeyId"] = config.sse_kms_key_id
    return kwargs


def _walk_local(root: Path) -> Iterator[ObjectInfo]:
    """Follows links to folders, each folder once; a folder that may not be read is an error, never a silent gap."""
    seen: set[tuple[int, int]] = set()
    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=_refuse_unreadable):
        identity = os.stat(folder)
        if (identity.st_dev, identity.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((identity.st_dev, identity.st_ino))
        subfolders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            with contextlib.suppress(FileNotFoundError):  # removed while we walk
                yield ObjectInfo(os.path.relpath(path, root).replace(os.sep, "/"), os.stat(path).st_size)


def _refuse_unreadable(exc: OSError) -> None:
    if not isinstance(exc, (FileNotFoundError, NotADirectoryError)):
        raise _translate(exc, str(exc.filename)) from exc


def _put_local(path: Path, data: bytes, *, create: bool) -> None:
    """Writes beside the target, then moves (or, to create, links) it into place: both are atomic."""
    partial = path.with_name(f"{PARTIAL_PREFIX}{uuid.uuid4().hex}")
    moved = False
    try:
        with _new_file(partial) as file:
            file.write(data)
            if create:  # a commit: it must not outlive, in a power cut, what it promises
                file.flush()
                os.fsync(file.fileno())
        if create:
            os.link(partial, path)
        else:
            os.replace(partial, path)
            moved = True
    finally:
        if not moved:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(partial)


def _new_file(path: Path) -> BinaryIO:
    try:
        return open(path, "xb")
    except FileNotFoundError:  # mostly the folder is there
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(path, "xb")


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
_FULL_CODES = frozenset({"QuotaExceeded", "XMinioStorageFull"})  # Ceph's and MinIO's words
_DAMAGED_CODES = frozenset({"BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch"})  # on its way to the store
_PERMANENT_ERRNO = {
    errno.EINVAL: "the store refuses the request",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOSYS: "the store cannot do this",
    errno.ELOOP: "too many links",
    errno.ENOTDIR: "a file stands where a folder is needed",
    errno.EISDIR: "a folder stands where a file is needed",
}


def _translate(exc: Exception, uri: str) -> StorageError:
    """The one mapping of foreign errors; what is not known to be final may pass, so it is tried again."""
    code = _s3_code(exc)
    if isinstance(exc, FileExistsError) or code in ("PreconditionFailed", "412"):
        return ObjectExistsError("already there", uri)
    if isinstance(exc, FileNotFoundError):
        return ObjectNotFoundError("not found", uri)
    if {code, type(exc).__name__} & _CREDENTIAL_FAULTS:
        return CredentialsError(f"no valid credentials ({exc}); renew them, then run again", uri)
    if isinstance(exc, PermissionError):
        return AccessDeniedError(f"access denied ({exc}); check the credentials and rights", uri)
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


def _s3_code(exc: BaseException) -> str:
    """The S3 error code behind an exception. s3fs maps some codes to errnos only, so the cause is asked."""
    for link in (exc, exc.__cause__):
        response = getattr(link, "response", None)
        if isinstance(response, Mapping):
            return str(response.get("Error", {}).get("Code", ""))
    return ""
