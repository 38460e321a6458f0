"""Addresses: local paths and URLs."""

from __future__ import annotations

import os


def join(base: str, key: str) -> str:
    """Return the address of `key` below `base`."""
    root = base if base.endswith("://") else base.rstrip("/") + "/"
    return root + key.lstrip("/")


def is_local(uri: str) -> bool:
    """Return whether the address is a path on this machine's file system."""
    return ("://" not in uri and "::" not in uri) or uri.startswith(("file://", "local://"))


def absolute(uri: str) -> str:
    """Return the address with a local path made absolute; URLs stay as they are."""
    if not is_local(uri):
        return uri
    return os.path.abspath(os.path.expanduser(local_path(uri)))


def local_path(uri: str) -> str:
    """Return the path of a local address."""
    for scheme in ("file://", "local://"):
        uri = uri.removeprefix(scheme)
    return uri


def is_s3(uri: str) -> bool:
    """Return whether the address uses the S3 protocol."""
    return uri.startswith(("s3://", "s3a://"))


def is_http(uri: str) -> bool:
    """Return whether the address is one of a web server, which anybody may run."""
    return uri.startswith(("http://", "https://"))
