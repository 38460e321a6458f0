"""Use S3 requests that fsspec does not offer: flat listings and bulk deletes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import fsspec

from anon_batch.errors import CredentialsError, ObjectNotFoundError, StorageError
from anon_batch.storage.answers import answer_of
from anon_batch.storage.faults import translate
from anon_batch.storage.listing import ObjectInfo

DELETE_KEYS = 1000  # of one DeleteObjects request
MULTIPART_BYTES = 100 * 2**20  # from here on an object is put in parts
_PART_BYTES = 50 * 2**20
_PARALLEL_PARTS = 10
# The store has no bulk deletes, or XML cannot hold a key.
_NO_BULK_CODES = frozenset({"NotImplemented", "MethodNotAllowed", "MalformedXML"})
_GONE_CODES = frozenset({"NoSuchKey", "NoSuchVersion"})


class ObjectVersion(NamedTuple):
    """One version that a bucket holds.

    Args:
        key: relative to the listed prefix.
        version_id: the bucket's.
        is_marker: whether it only marks a deletion.
        is_latest: whether it is what a reader without a version id finds.
    """

    key: str
    version_id: str
    is_marker: bool
    is_latest: bool = False

    @property
    def is_current(self) -> bool:
        """Whether it is an object that every reader finds, and not an earlier one."""
        return self.is_latest and not self.is_marker


class RefusedVersion(NamedTuple):
    """A version that the store did not delete, and what it said."""

    version: ObjectVersion
    why: str


def renew(fs: fsspec.AbstractFileSystem) -> bool:
    """Load expired credentials again, because somebody else may have renewed their file; return whether that may help."""
    if fs.key is not None:  # given in the job file
        return False
    fs.connect(refresh=True)
    return True


def list_below(
    call: Callable[..., Mapping[str, Any]], bucket: str, root: str, uri: str, *, markers: bool = False
) -> Iterator[ObjectInfo]:
    """Yield all objects below a prefix, with one LIST request for each page of (mostly 1,000) keys.

    fsspec needs more requests: `ls` lists one level at a time, and both `ls` and `find` send more if nothing is found.

    Args:
        call: sends one `list_objects_v2` request with these parameters, with retries.
        bucket: its name.
        root: the prefix without a trailing slash; "" for the whole bucket.
        uri: address, for messages.
        markers: whether to yield zero-byte objects that mark a folder.

    Yields:
        Objects in the order of the store, on S3 by the keys' UTF-8 bytes.

    Raises:
        StorageError: the address has no bucket, or the listing is cut off.
    """
    if not bucket:
        raise StorageError("no bucket in this address; write s3://BUCKET/PREFIX", uri)
    prefix = f"{root}/" if root else ""
    parameters = {"Bucket": bucket, "Prefix": prefix}
    while True:
        try:
            page = call(**parameters)
        except ObjectNotFoundError:
            if "ContinuationToken" in parameters:
                raise
            return  # because there is no such bucket
        for entry in page.get("Contents", ()):
            key, size = str(entry["Key"])[len(prefix) :], int(entry["Size"])
            if key and (markers or not (key.endswith("/") and size == 0)):
                yield ObjectInfo(key, size)
        if not page.get("IsTruncated"):
            return
        token = page.get("NextContinuationToken")
        if not token or token == parameters.get("ContinuationToken"):
            raise StorageError("the store does not say where its listing continues; it cannot be used", uri)
        parameters["ContinuationToken"] = token


def versions_below(call: Callable[..., Mapping[str, Any]], bucket: str, root: str, uri: str) -> Iterator[ObjectVersion]:
    """Yield every version of all objects below a prefix, or of one object, the marks of deletions included.

    A bucket without versions has one of each object.

    Args:
        call: sends one `list_object_versions` request with these parameters, with retries.
        bucket: its name.
        root: the prefix without a trailing slash, or the key of the object.
        uri: address, for messages.

    Raises:
        StorageError: the store refuses, or the listing is cut off.
    """
    parameters = {"Bucket": bucket, "Prefix": root}
    while True:
        page = call(**parameters)
        for kind in ("Versions", "DeleteMarkers"):
            for entry in page.get(kind, ()):
                below = str(entry["Key"]).removeprefix(root)
                if below == "" or below.startswith("/") or not root:  # because a prefix ends inside other names too
                    is_latest = bool(entry.get("IsLatest"))
                    yield ObjectVersion(below.lstrip("/"), str(entry["VersionId"]), kind == "DeleteMarkers", is_latest)
        if not page.get("IsTruncated"):
            return
        following = {"KeyMarker": page.get("NextKeyMarker"), "VersionIdMarker": page.get("NextVersionIdMarker")}
        if not following["KeyMarker"] or following.items() <= parameters.items():
            raise StorageError("the store does not say where its listing continues; it cannot be used", uri)
        parameters.update({name: str(value) for name, value in following.items() if value})


def put_parts(call: Callable[..., Mapping[str, Any]], bucket: str, key: str, data: bytes) -> None:
    """Write a large object in parts; it is there whole or not at all.

    Because s3fs would send all parts again when one fails, its own upload is not used.

    Args:
        call: sends one request of this name with these parameters, with retries.
        bucket: of the object.
        key: of the object.
        data: its bytes.

    Raises:
        ObjectNotFoundError: the bucket is not there, or the answer to the last request was lost and the upload is gone.
        StorageError: a part or the end failed for good; nothing is left behind.
    """
    place = {"Bucket": bucket, "Key": key}
    upload = {**place, "UploadId": call("create_multipart_upload", **place)["UploadId"]}

    def put(number: int) -> dict[str, Any]:
        body = data[(number - 1) * _PART_BYTES : number * _PART_BYTES]
        return {"PartNumber": number, "ETag": call("upload_part", **upload, PartNumber=number, Body=body)["ETag"]}

    try:
        with ThreadPoolExecutor(_PARALLEL_PARTS) as pool:
            parts = list(pool.map(put, range(1, 1 + -(-len(data) // _PART_BYTES))))
        call("complete_multipart_upload", **upload, MultipartUpload={"Parts": parts})
    except BaseException:
        with contextlib.suppress(StorageError):  # because the first error says more
            call("abort_multipart_upload", **upload)
        raise


def delete_keys(fs: fsspec.AbstractFileSystem, bucket: str, keys: Sequence[str]) -> bool:
    """Delete up to 1,000 keys in one request; those that do not exist are fine.

    Because the bulk delete of s3fs expands wildcards in names and ignores refused keys, it is not used.

    Returns:
        False if the store has no bulk deletes or cannot take a key; nothing was deleted.

    Raises:
        OSError: a key was refused; s3fs's translation of S3's code.
    """
    errors = _delete_objects(fs, bucket, [{"Key": key} for key in keys])
    for refused in errors or ():
        raise _refusal(refused)
    return errors is not None


def delete_versions(
    fs: fsspec.AbstractFileSystem, bucket: str, objects: Sequence[tuple[str, str]]
) -> Mapping[tuple[str, str], str] | None:
    """Delete up to 1,000 versions, (key, version id) each, in one request; those that do not exist are fine.

    Returns:
        What the store refused for good -> what it said; None if it has no bulk deletes or cannot take a key.

    Raises:
        OSError: the store refused one for now; s3fs's translation of S3's code.
    """
    errors = _delete_objects(fs, bucket, [{"Key": key, "VersionId": own} for key, own in objects])
    if errors is None:
        return None
    refused = {}
    for own in errors:
        fault = translate(_refusal(own), f"s3://{bucket}/{own.get('Key')}")
        if fault.retryable or isinstance(fault, CredentialsError):
            raise _refusal(own)
        key, version_id = own.get("Key"), own.get("VersionId")  # which some stores leave out
        for name in objects:
            if name[0] == key and version_id in (None, name[1]):
                refused[name] = f"{own.get('Code')}: {own.get('Message')}"
    return refused


def _delete_objects(
    fs: fsspec.AbstractFileSystem, bucket: str, objects: Sequence[Mapping[str, str]]
) -> Sequence[Mapping[str, str]] | None:
    """Send one DeleteObjects request; return what was refused, None if the store cannot do it at all."""
    try:
        answer = fs.call_s3("delete_objects", Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
    except (OSError, NotImplementedError) as exc:
        if isinstance(exc, NotImplementedError) or answer_of(exc).code in _NO_BULK_CODES:
            return None
        raise
    finally:
        fs.invalidate_cache()
    return [own for own in answer.get("Errors", ()) if own.get("Code") not in _GONE_CODES]


def _refusal(refused: Mapping[str, str]) -> Exception:
    from botocore.exceptions import ClientError
    from s3fs.errors import translate_boto_error

    text = f"{refused.get('Code')}: {refused.get('Message')} ({refused.get('Key')})"
    error: Exception = translate_boto_error(ClientError({"Error": dict(refused)}, "DeleteObjects"), message=text)
    return error
