"""What S3 does better than through the folders of fsspec: flat listings, deletes in bulk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import fsspec

from anon_batch.config import StorageConfig
from anon_batch.errors import ObjectNotFoundError, StorageError
from anon_batch.storage.faults import s3_code
from anon_batch.storage.listing import ObjectInfo

DELETE_KEYS = 1000  # that one DeleteObjects takes
# A store that has no bulk deletes, or a key that XML cannot hold.
_NO_BULK_CODES = frozenset({"NotImplemented", "MethodNotAllowed", "MalformedXML"})


def with_defaults(options: Mapping[str, Any], config: StorageConfig) -> dict[str, Any]:
    """s3fs's options, with what this package needs where the user says nothing else."""
    return {
        "use_listings_cache": False,
        **options,
        "config_kwargs": {
            "retries": {"max_attempts": 0},
            "max_pool_connections": 64,
            **options.get("config_kwargs", {}),
        },
        "s3_additional_kwargs": {**_encryption(config), **options.get("s3_additional_kwargs", {})},
    }


def tune(fs: fsspec.AbstractFileSystem) -> None:
    """Sets what s3fs takes as attributes only."""
    fs.retries = 1  # one layer of retries, ours: s3fs times botocore would ask 25 times
    fs.max_concurrency = 1  # else each `read` asks for the size first: two requests for every small picture


def list_below(call: Callable[..., Mapping[str, Any]], bucket: str, root: str, uri: str) -> Iterator[ObjectInfo]:
    """All objects below a prefix: one LIST for a page of (mostly 1,000) keys, and one where there is nothing.

    fsspec's own ways cost more: `ls` asks a level at a time, and both it and `find` ask again elsewhere when nothing is there.

    Args:
        call: asks `list_objects_v2` with these parameters once, retries included.
        bucket: its name.
        root: the prefix without the slash at its end; "" for the whole bucket.
        uri: the address that an error names.

    Yields:
        In the store's order: S3's is that of the keys' UTF-8 bytes. Zero-byte objects that only mark a folder are left out.

    Raises:
        StorageError: no bucket, or a listing that breaks off.
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
            return  # no such bucket
        for entry in page.get("Contents", ()):
            key, size = str(entry["Key"])[len(prefix) :], int(entry["Size"])
            if key and not (key.endswith("/") and size == 0):
                yield ObjectInfo(key, size)
        if not page.get("IsTruncated"):
            return
        token = page.get("NextContinuationToken")
        if not token or token == parameters.get("ContinuationToken"):
            raise StorageError("the store says that its listing goes on, but not where; it cannot be used", uri)
        parameters["ContinuationToken"] = token


def delete_keys(fs: fsspec.AbstractFileSystem, bucket: str, keys: Sequence[str]) -> bool:
    """Asks once to remove up to 1,000 keys; those that are not there are fine.

    s3fs's own bulk delete takes wildcards in names for patterns and passes over the keys that were refused.

    Returns:
        False if the store, or a key, is not fit for it: nothing was removed.

    Raises:
        OSError: a key was refused; what s3fs makes of S3's code.
    """
    objects = [{"Key": key} for key in keys]
    try:
        answer = fs.call_s3("delete_objects", Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
    except (OSError, NotImplementedError) as exc:
        if isinstance(exc, NotImplementedError) or s3_code(exc) in _NO_BULK_CODES:
            return False
        raise
    finally:
        fs.invalidate_cache()
    for refused in answer.get("Errors", ()):
        if refused.get("Code") != "NoSuchKey":
            raise _refusal(refused)
    return True


def _refusal(refused: Mapping[str, str]) -> Exception:
    from botocore.exceptions import ClientError
    from s3fs.errors import translate_boto_error

    text = f"{refused.get('Code')}: {refused.get('Message')} ({refused.get('Key')})"
    error: Exception = translate_boto_error(ClientError({"Error": dict(refused)}, "DeleteObjects"), message=text)
    return error


def _encryption(config: StorageConfig) -> Mapping[str, str]:
    kwargs = {}
    if config.sse:
        kwargs["ServerSideEncryption"] = config.sse
    if config.sse_kms_key_id:
        kwargs["SSEKMSKeyId"] = config.sse_kms_key_id
    return kwargs
