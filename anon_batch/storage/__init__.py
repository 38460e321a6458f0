"""Read and write objects at any address that fsspec knows, with retries, atomic writes and one family of errors.

An address is `s3://bucket/key`, `gs://...`, `memory://...`, `https://...` or a local path. Every object is put whole: nothing is
visible under its name before all of it is there.
"""

from anon_batch.storage.addresses import absolute, is_http, is_local, join
from anon_batch.storage.listing import ObjectInfo
from anon_batch.storage.local import PARTIAL_PREFIX
from anon_batch.storage.objects import Storage
from anon_batch.storage.s3 import ObjectVersion, RefusedVersion

__all__ = [
    "PARTIAL_PREFIX",
    "ObjectInfo",
    "ObjectVersion",
    "RefusedVersion",
    "Storage",
    "absolute",
    "is_http",
    "is_local",
    "join",
]
