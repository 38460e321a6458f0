"""Addresses: local paths and URLs."""

from __future__ import annotations

import os


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
    return os.path.abspath(os.path.expanduser(local_path(uri)))


def local_path(uri: str) -> str:
    """The path of a local address."""
    for scheme in ("file://", "local://"):
        uri = uri.removeprefix(scheme)
    return uri


def is_s3(uri: str) -> bool:
    """Whether the address is one of S3's protocol."""
    return uri.startswith(("s3://", "s3a://"))
