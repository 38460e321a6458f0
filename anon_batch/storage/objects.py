"""Read, list, write and delete objects, with retries and atomic writes."""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Self, TypeVar, cast

import fsspec

from anon_batch.config import StorageConfig
from anon_batch.errors import (
    AccessDeniedError,
    CredentialsError,
    ObjectExistsError,
    ObjectNotFoundError,
    StorageError,
)
from anon_batch.storage import clients, local, s3, web
from anon_batch.storage.addresses import is_http, is_local, is_s3, join, local_path
from anon_batch.storage.answers import answer_of
from anon_batch.storage.faults import EXPIRED_CODES
from anon_batch.storage.listing import ObjectInfo, walk
from anon_batch.storage.ranges import Ranges
from anon_batch.storage.retry import Call, Purpose, Repetitions, Successes

_SINGLE_PUT_BYTES = 2**31  # because s3fs would use multipart uploads, for which some stores ignore If-None-Match
READ_AHEAD_BYTES = 4 * 2**20  # of `open`, so that a footer takes one request
_DELETERS = 8  # requests at a time
_T = TypeVar("_T")


class Storage:
    """Read, list, write and delete objects. Cheap to pickle, because file systems are opened where they are used.

    Args:
        config: options by prefix, encryption, retries.

    All methods raise StorageError and its subclasses only. Faults that may pass are retried as `retry` describes.
    """

    def __init__(self, config: StorageConfig | None = None) -> None:
        self._config = config or StorageConfig()
        self._http_client: Callable[..., Any] | None = None
        self._successes = Successes()
        self._repetitions = Repetitions()
        self._private: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_successes": None, "_repetitions": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _successes=Successes(), _repetitions=Repetitions())

    def take_repetitions(self) -> dict[str, int]:
        """Return code of what failed -> calls that were repeated since this was asked last, see `errors.error_code`."""
        return self._repetitions.take()

    def with_http_client(self, http_client: Callable[..., Any]) -> Self:
        """Return the same storage whose http(s) requests go through sessions that a function opens, fsspec's `get_client`."""
        copied = copy.copy(self)
        copied._http_client = http_client  # noqa: SLF001  because it is this class's own
        copied._repetitions = self._repetitions  # noqa: SLF001
        return copied

    def filesystem(self, uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
        """Return the fsspec file system of an address, and the path inside it."""
        try:
            fs, path = fsspec.core.url_to_fs(uri, **self._options(uri))
        except ImportError as exc:
            raise StorageError(f"no driver for this address: {exc}; install the package it names", uri) from None
        except (ValueError, TypeError) as exc:
            raise StorageError(f"not an address: {exc}", uri) from None
        clients.tune(uri, fs)
        return fs, cast(str, path)

    def read(self, uri: str, offset: int | None = None, length: int | None = None) -> bytes:
        """Return the object's bytes, or `length` of them from `offset` (fewer if it ends before)."""
        with self._missing_reported(uri):
            return self._retry(uri, lambda: self._read(uri, offset, length), "read a row")

    def size(self, uri: str) -> int:
        """Return the object's size in bytes."""
        fs, path = self.filesystem(uri)
        with self._missing_reported(uri):
            size = self._retry(uri, lambda: self._with_reason(uri, lambda: fs.size(path)), "read a row")
        if size is None:
            raise StorageError("the server does not send the size; copy the object to a store that does", uri)
        return int(size)

    def exists(self, uri: str) -> bool:
        """Return whether an object (or folder) exists."""
        if is_local(uri):
            return os.path.exists(local_path(uri))
        fs, path = self.filesystem(uri)
        strict = {"strict": True} if is_http(uri) else {}  # because otherwise an unreachable server counts as "no"
        try:
            with self._missing_reported(uri):
                return bool(self._retry(uri, lambda: self._with_reason(uri, lambda: fs.exists(path, **strict))))
        except ObjectNotFoundError:
            return False

    def list(self, uri: str, *, markers: bool = False) -> Iterator[ObjectInfo]:
        """Yield all objects below a prefix in a fixed order; yield nothing if it does not exist.

        On S3 they are sorted by key, and one LIST request returns 1,000; elsewhere each folder is sorted.

        Args:
            uri: of the prefix.
            markers: whether to yield empty objects that mark a folder too, as keys with a slash at their end.
        """
        if is_local(uri):
            yield from local.walk(Path(local_path(uri)))
            return
        fs, path = self.filesystem(uri)
        if is_s3(uri):
            bucket, key, _ = fs.split_path(path)

            def call(**parameters: str) -> Mapping[str, Any]:
                request = functools.partial(fs.call_s3, "list_objects_v2", **parameters)
                return cast(Mapping[str, Any], self._retry(uri, request))

            yield from s3.list_below(call, bucket, key.rstrip("/"), uri, markers=markers)
        else:
            ls = functools.partial(self._ls, fs, uri)
            yield from walk(ls, path.rstrip("/"), markers=markers)

    def put(self, uri: str, data: bytes) -> None:
        """Write the whole object; replace an existing one."""
        if is_s3(uri) and len(data) >= s3.MULTIPART_BYTES:
            self._put_parts(uri, data)
            return
        self._retry(uri, lambda: self._put(uri, data), "write a row")

    def put_if_absent(self, uri: str, data: bytes) -> None:
        """Write the object unless it exists.

        Because a put whose answer was lost is retried and then finds its own object, an existing object with the same bytes
        counts as written. Callers that must tell two writers apart put something unique into `data`.

        Raises:
            ObjectExistsError: an object with other bytes exists.
        """
        try:
            self._retry(uri, lambda: self._create(uri, data))
        except ObjectExistsError:
            if self.read(uri) != data:
                raise

    def delete(self, uri: str) -> None:
        """Delete the object; one that does not exist is fine."""
        with contextlib.suppress(ObjectNotFoundError):
            if is_local(uri):
                self._retry(uri, lambda: os.unlink(local_path(uri)))
                return
            fs, path = self.filesystem(uri)
            self._retry(uri, lambda: fs.rm_file(path))

    def delete_many(self, base: str, keys: Iterable[str]) -> None:
        """Delete the objects of these keys below `base`; those that do not exist are fine.

        On S3, one request deletes a thousand keys; several requests are sent at a time. `keys` is read as needed, so it may be
        a listing of the same objects.
        """
        if is_local(base):
            for key in keys:
                self.delete(join(base, key))
            return
        fs, root = self.filesystem(base)
        size = s3.DELETE_KEYS if is_s3(base) else 1

        def remove(some: Sequence[str]) -> None:
            if is_s3(base):
                bucket, prefix, _ = fs.split_path(root.rstrip("/") + "/")
                names = [prefix + key for key in some]
                if self._retry(join(base, some[0]), lambda: s3.delete_keys(fs, bucket, names)):
                    return
            for key in some:
                self.delete(join(base, key))

        with ThreadPoolExecutor(_DELETERS) as pool:
            for many in _batches(keys, size * _DELETERS):
                for _ in pool.map(remove, _batches(many, size)):
                    pass

    def versions(
        self, uri: str, keep: Callable[[s3.ObjectVersion], bool] = lambda _: True
    ) -> Sequence[s3.ObjectVersion] | None:
        """Return every version that a bucket holds of an object, or of all objects below a prefix; None if nobody can say.

        Only S3 is asked. A store may refuse to say, and copies and snapshots are never known.

        Args:
            uri: of the object or prefix.
            keep: chooses what is returned, so that a large bucket takes no memory for the rest.
        """
        if not is_s3(uri):
            return None
        fs, path = self.filesystem(uri)
        bucket, key, _ = fs.split_path(path)

        def call(**parameters: str) -> Mapping[str, Any]:
            request = functools.partial(fs.call_s3, "list_object_versions", **parameters)
            return cast(Mapping[str, Any], self._retry(uri, request))

        try:
            return tuple(own for own in s3.versions_below(call, bucket, key.rstrip("/"), uri) if keep(own))
        except ObjectNotFoundError:
            return ()
        except StorageError as exc:
            if exc.retryable or isinstance(exc, CredentialsError):
                raise
            return None

    def delete_versions(self, uri: str, versions: Sequence[s3.ObjectVersion]) -> Sequence[s3.RefusedVersion]:
        """Delete versions that `versions(uri)` returned, for good; return those that the store refused to delete.

        Because a version would be what every reader finds if the mark of its deletion went before it, marks go last, and those of
        a key with a refused version stay.

        Raises:
            StorageError: the store refuses all; some may be deleted.
        """
        fs, path = self.filesystem(uri)
        bucket, key, _ = fs.split_path(path.rstrip("/"))
        refused: list[s3.RefusedVersion] = []
        for markers in (False, True):
            held = {own.version.key for own in refused}
            some = [own for own in versions if own.is_marker == markers and own.key not in held]
            for batch in _batches(some, s3.DELETE_KEYS):
                names = [("/".join(filter(None, (key, own.key))), own.version_id) for own in batch]
                answer = self._retry(uri, functools.partial(s3.delete_versions, fs, bucket, names))
                if answer is None:
                    raise StorageError("the store cannot delete versions", uri)
                named = zip(names, batch, strict=True)
                refused += [s3.RefusedVersion(own, answer[name]) for name, own in named if name in answer]
        return refused

    def open(self, uri: str) -> BinaryIO:
        """Return a seekable reader, for libraries that need a file; the caller closes it.

        Its reads are retried and raise errors as `read` does.
        """
        if is_local(uri):
            fs, path = self.filesystem(uri)
            return cast(BinaryIO, self._retry(uri, lambda: fs.open(path, "rb")))
        return cast(BinaryIO, io.BufferedReader(Ranges(self.read, uri, self.size(uri)), READ_AHEAD_BYTES))

    def keep_private(self, uri: str) -> None:
        """Write local files below this folder with mode 0600, and new folders with 0700."""
        if is_local(uri):
            self._private.add(local_path(uri))

    def make_private(self, uri: str) -> None:
        """Create a local folder that only its owner may enter, or tighten it; elsewhere the bucket's policy decides."""
        if is_local(uri):
            self._retry(uri, lambda: local.make_private(Path(local_path(uri))))

    def sweep_partials(self, uri: str) -> int:
        """Delete half-written files of killed processes below a local folder; return their number. No-op elsewhere."""
        if not is_local(uri):
            return 0
        return local.sweep_partials(Path(local_path(uri)))

    def prune(self, uri: str) -> None:
        """Delete a local folder and its subfolders if no file is in any of them. No-op elsewhere."""
        if is_local(uri):
            local.prune(Path(local_path(uri)))

    def _ls(self, fs: fsspec.AbstractFileSystem, uri: str, folder: str) -> Sequence[Mapping[str, Any]]:
        return cast(Sequence[Mapping[str, Any]], self._retry(uri, lambda: fs.ls(folder, detail=True)))

    def _options(self, uri: str) -> dict[str, Any]:
        matching = [prefix for prefix in self._config.options if uri.startswith(prefix)]
        options = dict(self._config.options[max(matching, key=len)]) if matching else {}
        options = clients.with_defaults(uri, options, self._config)
        if self._http_client is not None and is_http(uri):
            options["get_client"] = self._http_client
        return options

    def _read(self, uri: str, offset: int | None, length: int | None) -> bytes:
        if is_local(uri):
            return local.read(local_path(uri), offset or 0, length)
        fs, path = self.filesystem(uri)
        if offset is None and length is None:
            return cast(bytes, fs.cat_file(path))
        start = offset or 0
        try:
            if length is not None and is_http(uri):
                return web.read(fs, path, start, length)
            return cast(bytes, fs.cat_file(path, start=start, end=None if length is None else start + length))
        except Exception as exc:
            answer = answer_of(exc)
            if answer.status == 416 or answer.code == "InvalidRange":  # because the object ends before `offset`
                return b""
            raise

    def _with_reason(self, uri: str, head: Callable[[], _T]) -> _T:
        """Call a function that sends HEAD requests. Because S3 gives them no error code, repeat a refused one as GET."""
        try:
            return head()
        except OSError as exc:
            if answer_of(exc).code in ("400", "403"):
                self._read(uri, 0, 1)
            raise

    @contextlib.contextmanager
    def _missing_reported(self, uri: str) -> Iterator[None]:
        """Say "not found" where S3 says "denied" for an object that is not there, as it does to who may list one prefix only.

        Because such a request names no prefix, a policy with a condition on `s3:prefix` does not cover it. A listing tells.
        """
        try:
            yield
        except AccessDeniedError as exc:
            if not is_s3(uri):
                raise
            try:
                fs, path = self.filesystem(uri)
                bucket, key, _ = fs.split_path(path)
                request = functools.partial(fs.call_s3, "list_objects_v2", Bucket=bucket, Prefix=key, MaxKeys=1)
                first = self._retry(uri, request).get("Contents", [])  # the key itself comes before all longer ones
            except StorageError:
                raise exc from None
            if key and [entry["Key"] for entry in first] != [key]:
                raise ObjectNotFoundError("not found", uri) from exc
            raise

    def _put(self, uri: str, data: bytes) -> None:
        if is_local(uri):
            local.put(Path(local_path(uri)), data, create=False, private=self._is_private(uri))
            return
        fs, path = self.filesystem(uri)
        fs.pipe_file(path, data, **({"chunksize": _SINGLE_PUT_BYTES} if is_s3(uri) else {}))

    def _is_private(self, uri: str) -> bool:
        return any(local_path(uri).startswith(f"{folder}/") for folder in self._private)

    def _put_parts(self, uri: str, data: bytes) -> None:
        fs, path = self.filesystem(uri)
        bucket, key, _ = fs.split_path(path)

        def call(method: str, **parameters: Any) -> Mapping[str, Any]:
            request = functools.partial(fs.call_s3, method, **parameters)
            return cast(Mapping[str, Any], self._retry(uri, request, "write a row"))

        try:
            s3.put_parts(call, bucket, key, data)
        except ObjectNotFoundError:  # because the end may have been reached, and only its answer lost
            s3.put_parts(call, bucket, key, data)

    def _create(self, uri: str, data: bytes) -> None:
        if is_local(uri):
            local.put(Path(local_path(uri)), data, create=True, private=self._is_private(uri))
            return
        fs, path = self.filesystem(uri)
        options = {"chunksize": _SINGLE_PUT_BYTES} if is_s3(uri) else {}
        fs.pipe_file(path, data, mode="create", **options)

    def _retry(self, uri: str, call: Callable[[], _T], purpose: Purpose = "other") -> _T:
        def attempt() -> _T:
            try:
                return call()
            except Exception as exc:
                if not (is_s3(uri) and answer_of(exc).code in EXPIRED_CODES and s3.renew(self.filesystem(uri)[0])):
                    raise
            return call()

        def probe(other: str) -> bytes:
            return self._read(other, 0, 1)

        return Call(self._config, self._successes, probe, uri, purpose, self._repetitions).run(attempt)


def _batches(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
